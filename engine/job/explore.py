"""The trials of a run: what is known already, what is trained next, and what came of it.

A trial is one pass: propose, distil, measure, tell. It may be a new student at the flash length or, where longer
lengths are allowed, one of the told ones for longer: whichever gains more a second.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from distilsearch.architecture import Architecture
from distilsearch.distill.archive import Archive
from distilsearch.distill.flash import area
from distilsearch.distill.training import in_groups
from distilsearch.distill.trial import Trial
from distilsearch.errors import TrialError
from distilsearch.lowering import flops, parameter_count
from distilsearch.operators import Serving
from distilsearch.progress import Progress

from ..engine import Engine
from ..record import Tell
from .executors import Executor
from .imports import imported
from .jobs import Distil
from .ledger import Entry, Ledger
from .prepare import Prepared

MOST_FAILURES_IN_A_ROW = 3


class Trials:
    """Recalls, plans and runs the trials of one run; everything is in ledger and engine the moment it is known."""

    def __init__(
        self, prepared: Prepared, engine: Engine, ledger: Ledger, executor: Executor, progress: Progress,
    ) -> None:  # fmt: skip
        self.prepared = prepared
        self.run = prepared.run
        self.folder = prepared.folder
        self.targets = prepared.targets
        self.engine = engine
        self.ledger = ledger
        self.executor = executor
        self.progress = progress
        self.archive = Archive()

    def recall(self) -> None:
        """Tell the engine all that is known: this run's own trials, those of other runs, and imported results."""
        for entry in self.ledger.entries():
            if entry.state == "complete":
                self._tell(entry)
            elif entry.state == "failed":
                self.engine.fail(entry.architecture, entry.cause, entry.transient)
        present = {(e.architecture, self.length(e)) for e in self.ledger.entries()}
        for record in (t for n in self.run.train.lengths for t in self.archive.matching(self.prepared.training(n))):
            inside = self.prepared.space.contains(record.architecture)
            if inside and (record.architecture, record.training.tokens) not in present:
                self._tell(self._enter(None, record, "known"))
        own = {(e.architecture, self.length(e)) for e in self.ledger.entries() if not _imported(e)}
        entered = Counter((e.architecture, self.length(e)) for e in self.ledger.entries() if _imported(e))
        for result in imported(self.folder):
            key = result.architecture, self._told_length(result)
            if key in own or entered[key] > 0:  # ours is of this text and machine; what was entered stays so
                entered[key] -= 1
            else:
                self._tell(self._enter_imported(result))
        for target in self.targets:
            target.measured.update((self.ledger.noted("measured") or {}).get(target.objective, {}))
            target.slowness.update((self.ledger.noted("slowness") or {}).get(target.objective, {}))

    def length(self, entry: Entry) -> int:
        """The training a trial was planned for, in tokens."""
        return int(entry.facts.get("asked", self.run.train.flash_tokens))

    def _told_length(self, result: Tell) -> int:
        return int(result.fidelity or self.run.train.flash_tokens)

    def explore(self) -> None:
        """Distil and measure proposals until the asked number of trials has ended, or little more is expected."""
        for entry in self.ledger.abandoned():
            self._trial(entry)
        failures = 0
        while (ended := self._ended()) < self.run.trials and not self._converged():
            self.progress("trials", ended, self.run.trials)
            planned = self._planned()
            if planned is None:
                break
            entry = self._trial(self.ledger.open(planned[0], {"asked": planned[1]}))
            failures = failures + 1 if entry.state == "failed" else 0
            if failures >= MOST_FAILURES_IN_A_ROW:
                raise TrialError(f"{failures} trials in a row failed; the last one: {entry.cause}")
        self.progress("trials", self._ended(), self.run.trials)
        if not any(e.state == "complete" for e in self.ledger.entries()):
            raise TrialError(
                f"all {self._ended()} trials failed; raise `trials`, or mend their causes: see {self.folder}"
            )

    def _converged(self) -> bool:
        return self.run.stop_below > 0 and self.engine.converged(self.run.stop_below, self.run.train.lengths)

    def _planned(self) -> tuple[Architecture, int] | None:
        """What to train next and on how many tokens; None where nothing is left."""
        if not self.run.train.longer_tokens:
            proposals = self.engine.ask(1)
            return (proposals[0], self.run.train.flash_tokens) if proposals else None
        serving, shared = Serving(), self.prepared.recipe.shared

        def effort(architecture: Architecture, since: float, tokens: float) -> float:
            return (tokens - shared(int(since), int(tokens))) * flops(architecture, serving)

        training = self.engine.ask_training(self.run.train.lengths, effort)
        return (training.architecture, int(training.fidelity)) if training else None

    def _ended(self) -> int:
        return sum(e.ended and not _imported(e) for e in self.ledger.entries())

    def _trial(self, entry: Entry) -> Entry:
        """One pass: distil, measure, tell."""
        try:
            (record,) = self.distil([entry.architecture], self.length(entry))
            if isinstance(record, TrialError):
                raise record
            for target in self.targets:
                target.measure(self.executor, [entry.architecture], self.progress)
        except TrialError as error:
            again = error.transient and not self._failed_before(entry)
            self.engine.fail(entry.architecture, str(error), again)
            return self.ledger.fail(entry, str(error), again)
        done = self._enter(entry, record, "trained")
        self._tell(done)
        for target in self.targets:
            target.learn(entry.architecture)
        return done

    def _failed_before(self, entry: Entry) -> bool:
        """Whether it has failed already: what kills its child twice is no accident."""
        return any(e.state == "failed" and e.architecture == entry.architecture for e in self.ledger.entries())

    def distil(self, architectures: Sequence[Architecture], tokens: int) -> list[Trial | TrialError]:
        """Students from the shared trials, or distilled now in the training child, side by side; or why not."""
        training = self.prepared.training(tokens)
        made: dict[Architecture, Trial | TrialError] = {
            a: trial
            for a in architectures
            if (trial := self.archive.of(training, a)) is not None and self.archive.intact(trial)
        }
        for group in in_groups([a for a in architectures if a not in made]):
            job = Distil(
                training,
                self.prepared.recipe,
                tuple(group),
                device=self.run.train.device,
                threads=self.run.train.threads,
                cache_limit=int(self.run.storage.cache_limit_gb * 1e9),
            )
            made |= zip(group, self.executor.submit(job, self.progress).result(), strict=True)
        return [made[a] for a in architectures]

    def _enter(self, entry: Entry | None, record: Trial, source: str) -> Entry:
        """A finished trial into the ledger."""
        facts = {
            "source": source,
            "asked": record.training.tokens,
            "trial": record.key,
            "tokens": record.tokens,
            "seconds": record.seconds,
            "parameters": record.parameters,
            "curve": [list(point) for point in record.curve],
        }
        return self._entered(entry, record.architecture, record.loss, facts)

    def _enter_imported(self, result: Tell) -> Entry:
        """A result of another tool into the ledger; there is no student of it."""
        tokens, values = self._told_length(result), result.values
        facts = {"source": "imported", "asked": tokens, "tokens": tokens, "noise": result.noise}
        facts["parameters"] = parameter_count(result.architecture)
        for target in self.targets:
            target.recall(result.architecture, values.get(target.objective))
        return self._entered(None, result.architecture, values["loss"], facts)

    def _entered(self, entry: Entry | None, architecture: Architecture, loss: float, facts: dict[str, Any]) -> Entry:
        """With latencies as they are known before anything is learnt from this trial."""
        latencies = {t.objective: t.latency(architecture) for t in self.targets}
        values = [loss, *(latency.best for latency in latencies.values())]
        facts["latencies"] = {name: asdict(latency) for name, latency in latencies.items()}
        if entry is None:
            return self.ledger.add(architecture, values, facts)
        return self.ledger.complete(entry, values, facts)

    def _tell(self, entry: Entry) -> None:
        told = {"loss": entry.values[0]}
        for target in self.targets:
            known = entry.facts["latencies"][target.objective]["measured"]
            if (measured := target.recall(entry.architecture, known)) is not None:
                told[target.objective] = measured
        curve = entry.facts.get("curve")
        under = area(curve) if curve else None
        self.engine.tell(entry.architecture, told, entry.facts.get("noise"), float(self.length(entry)), under)


def _imported(entry: Entry) -> bool:
    return entry.facts.get("source") == "imported"
