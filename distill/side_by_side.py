"""Students trained side by side: a step of each after the other, with checkpoints as time goes by."""

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from distilsearch.errors import Interrupted, TrialError
from distilsearch.progress import Between, Progress

from .steps.runs import Run
from .store.trial import TRUNK
from .students.student import Student

CHECKPOINT = "checkpoint.safetensors"  # the last one, replaced as the run goes on


class SideBySide:
    """Runs of one course, all of as many steps; one that diverges stops, and the others go on."""

    def __init__(self, runs: Sequence[Run], folders: Sequence[Path | None], checkpoint_seconds: float) -> None:
        self._runs = list(zip(runs, folders, strict=True))
        self._checkpoint_seconds = checkpoint_seconds
        self._failed: dict[int, TrialError] = {}  # by the run's place
        for run in runs if len(runs) > 1 else ():
            run.label = f"{run.objective.architecture.key}/"

    def restore(self, since: Iterable[Path]) -> None:
        """Continue each run from the farthest checkpoint on its way."""
        since = list(since)
        for run, folder in self._runs:
            own = [folder / CHECKPOINT, folder / TRUNK] if folder else []
            run.restore([*own, *since])
            if folder:
                run.save_trunk(folder / TRUNK)

    def to_end(self, tokens: int, between: Between, progress: Progress) -> None:
        """All steps that are left, with checkpoints as time goes by."""
        leader, saved = self._runs[0][0], time.monotonic()
        first = min(run.step for run, _ in self._runs)
        progress("distil", min(first * leader.step_tokens, tokens), tokens)
        for run, _ in self._runs:
            run.begin()
        for step in range(first, leader.steps):
            try:
                between()
            except Interrupted:
                self._save()
                raise
            self._advance(step)
            if len(self._failed) == len(self._runs):
                break
            progress("distil", min((step + 1) * leader.step_tokens, tokens), tokens)
            for run, folder in self._going():
                if folder and run.step == step + 1:
                    run.save_trunk(folder / TRUNK)
            if time.monotonic() - saved > self._checkpoint_seconds:
                self._save()
                saved = time.monotonic()

    def students(self) -> list[Student | TrialError]:
        """What has become of each."""
        return [self._failed.get(place) or run.finish() for place, (run, _) in enumerate(self._runs)]

    def _going(self) -> list[tuple[Run, Path | None]]:
        return [pair for place, pair in enumerate(self._runs) if place not in self._failed]

    def _save(self) -> None:
        for run, folder in self._going():
            if folder:
                run.save(folder / CHECKPOINT)

    def _advance(self, step: int) -> None:
        """One step of every run that is at it; the time of the batch is shared among them."""
        at_it = {
            place: run for place, (run, _) in enumerate(self._runs) if run.step == step and place not in self._failed
        }
        if not at_it:
            return
        started = time.monotonic()
        parts = self._runs[0][0].parts(step)
        shared = (time.monotonic() - started) / len(at_it)
        for place, run in at_it.items():
            started = time.monotonic()
            try:
                run.advance(parts)
            except TrialError as error:
                self._failed[place] = error
            run.seconds += shared + time.monotonic() - started
