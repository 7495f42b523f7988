"""What is known of students without a trial of its own, entered into the ledger.

Notable: a student is known for all its servings once it is trained, so a trial that has ended brings others with it;
a call that was killed before it had entered them leaves that to the next one.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distilsearch.architecture import Architecture
from distilsearch.distill.store.trial import Trial

from ..ledger import Entry, Ledger, is_imported
from ..machines.machines import Profiled
from ..preparing.recall import planned_tokens
from ..serving.judging import Judging
from ..serving.losses import Losses
from ..serving.served import ServedSpace, student_of
from .flights import FACTS, facts_of


@dataclass(frozen=True)
class Entering:
    """Enters what is known, and gives what others have not entered before, to be told; `flash_tokens` of new trials."""

    ledger: Ledger
    machines: Sequence[Profiled]
    served: ServedSpace
    flash_tokens: int
    judging: Judging | None = None

    def known(self, trials: Iterable[Trial]) -> Iterator[Entry]:
        """What other runs have trained the same way, in all its servings; what of it is not judged yet is.

        A student that the ledger knows at that length, in whatever serving, is left to its trial.
        """
        present = {(student_of(entry.architecture), self._length(entry)) for entry in self.ledger.entries()}
        new = [
            trial
            for trial in trials
            if self.served.students.contains(trial.architecture)
            and (trial.architecture, trial.training.tokens) not in present
        ]
        judged = self.judging.of(new) if self.judging else [Losses(trial.loss) for trial in new]
        for trial, losses in zip(new, judged, strict=True):
            yield from self._members(trial.architecture, losses, facts_of(trial), set(), "known")

    def unfinished(self) -> Iterator[Entry]:
        """Students that were trained as they are served otherwise, where a call ended before it had entered them."""
        present = self._present()
        for entry in self.ledger.entries():
            if entry.state in ("complete", "failed") and entry.facts.get("source") in ("trained", "known"):
                yield from self._others(entry, present)

    def others(self, entry: Entry) -> Iterator[Entry]:
        """What a trial that has just ended says of its student served otherwise."""
        yield from self._others(entry, {(entry.architecture, self._length(entry))})

    def _others(self, entry: Entry, present: set[tuple[Architecture, int]]) -> Iterator[Entry]:
        if (losses := Losses.noted(entry)) is None:
            return
        facts = {name: entry.facts[name] for name in FACTS if name in entry.facts}
        yield from self._members(student_of(entry.architecture), losses, facts, present)

    def _members(
        self,
        student: Architecture,
        losses: Losses,
        facts: Mapping[str, Any],
        present: set[tuple[Architecture, int]],
        source: str = "served",
    ) -> Iterator[Entry]:
        """Enter a student in every serving that it can have and that is not present yet.

        Args:
            source: of the first one; the others are the same student "served" otherwise, and count as no trial.
        """
        tokens = int(facts.get("asked", self.flash_tokens))
        for member in self.served.outcomes_of(student):
            loss = losses.of(self.served.artefact(member))
            if loss is None or (member, tokens) in present:
                continue
            entry = self._added(member, loss, {**facts, **losses.facts, "source": source}, tokens)
            source = "served"
            if entry is not None:  # else another has entered it, and it is heard of him
                yield entry

    def _added(self, member: Architecture, loss: float, facts: Mapping[str, Any], tokens: int) -> Entry | None:
        whole = {**facts, "latencies": latencies_of(member, self.machines)}

        def absent(entries: Sequence[Entry]) -> bool:
            there = (e for e in entries if e.architecture == member and self._length(e) == tokens)
            return all(e.state == "failed" or is_imported(e) for e in there)

        return self.ledger.add(member, objectives_of(loss, whole, self.machines), whole, absent)

    def _present(self) -> set[tuple[Architecture, int]]:
        return {(entry.architecture, self._length(entry)) for entry in self.ledger.entries()}

    def _length(self, entry: Entry) -> int:
        return planned_tokens(entry, self.flash_tokens)


# Latencies of a trial, as the ledger keeps them


def latencies_of(member: Architecture, machines: Sequence[Profiled]) -> dict[str, Any]:
    """As they are known before anything is learnt from this trial."""
    return {machine.objective: machine.latency(member).to_json() for machine in machines}


def with_measured(entry: Entry, machines: Sequence[Profiled]) -> dict[str, Any]:
    """What was predicted at the ask, with what has been measured since."""
    before = entry.facts.get("latencies") or latencies_of(entry.architecture, machines)
    return {m.objective: before[m.objective] | m.noted(entry.architecture) for m in machines}


def objectives_of(loss: float, facts: Mapping[str, Any], machines: Sequence[Profiled]) -> list[float]:
    """The objectives of a trial, latencies as they are known best."""
    latencies = [facts["latencies"][machine.objective] for machine in machines]
    return [loss, *(one["predicted"] if one["measured"] is None else one["measured"] for one in latencies)]
