"""Asks workers what trained students lose as they are served; what the archive keeps already costs nothing."""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from distilsearch.distill.evaluate.as_served import NAME, heldout_of
from distilsearch.distill.store.trial import Trial
from distilsearch.errors import TrialError
from distilsearch.operators import Serving
from distilsearch.progress import Progress

from ..executors import Executor
from ..work.making import Making
from .losses import Losses, ServedLoss


@dataclass(frozen=True)
class Judging:
    """Judges students in some ways of serving, one of each artefact."""

    servings: tuple[Serving, ...]
    making: Making
    executor: Executor
    progress: Progress

    def begin(self, trial: Trial) -> "Future[Losses]":
        """The losses of a trained student, taken where it is trained or found at once."""
        future: Future[Losses] = Future()
        if (kept := self._kept(trial)) is not None:
            future.set_result(kept)
            return future
        return self.executor.submit(self._job(trial), self.progress)

    def of(self, trials: Sequence[Trial]) -> list[Losses]:
        """The losses of some students, all begun at once; of one that is gone nothing but its loss as trained."""
        waiting = [self.begin(trial) for trial in trials]
        losses = []
        for done, (trial, future) in enumerate(zip(trials, waiting, strict=True)):
            self.progress("judging students as they are served", done, len(trials))
            try:
                losses.append(future.result())
            except TrialError as error:
                causes = {serving.artefact: str(error) for serving in self.servings}
                losses.append(Losses(trial.loss, causes=causes))
        self.progress("judging students as they are served", len(trials), len(trials))
        return losses

    def _kept(self, trial: Trial) -> Losses | None:
        scores = {one.artefact: trial.score(NAME, heldout_of(trial.training), one.artefact) for one in self.servings}
        served = {artefact: score.values["loss"] for artefact, score in scores.items() if score is not None}
        return Losses(trial.loss, served) if len(served) == len(self.servings) else None

    def _job(self, trial: Trial) -> ServedLoss:
        making = self.making
        return ServedLoss(
            trial.training, trial.key, self.servings, making.depot, threads=making.threads, plugins=making.plugins
        )
