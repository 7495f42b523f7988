"""The questions that the page and the terminal ask of a result.

Notable: a speedup compares like with like: measured against measured, else predicted against predicted. It rests on
predictions too where the machine was disturbed and they are surer than what was measured (`doubts`).

Notation
    entry      a front member, a trial or the teacher
    equals     front members are compared after equal training; what they are handed back with may be a longer one
    objective  the name of a latency in the result: "latency_ms", "latency_ms_2", ...
    quality    1 - loss where the result's quality is of `UPWARDS` (more is better), else the loss (less is better)
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .doubts import best_words, disturbed, ms_of, surer_foretold
from .schema import (
    ONE_LABEL,
    Entry,
    EvaluationEntry,
    Latency,
    MachineEntry,
    Member,
    ResultFile,
    Scores,
    StudentEntry,
    TeacherEntry,
    TrialEntry,
)
from .words import counted, roughly, score, sentence, served_words, short_name

CHOICE_WORDS = {  # by `choose` of the result
    "knee": "the knee of the front",
    "quality": "the best quality",
    "fastest": "the fastest",
    "loss_at_most": "the fastest that keeps loss_at_most",
}
AGREEMENT = "agreement"
UPWARDS = (AGREEMENT, "accuracy of words and next sentences")  # qualities of which more is better
PARTS = {"words": "words", "next_sentence": "next sentences"}  # what the second one is the mean of
LESS_IS_BETTER = ("loss", "perplexity")  # in the names of scores
SERVED = "served"  # the source of a trial that serves the student of another one
SPEARMAN = "spearman"  # of an evaluation on pairs
LEADING_GENES = ("layers", "width", "heads", "ffn", "inherit")


@dataclass(frozen=True)
class Speedup:
    """How many times faster than the teacher, and what both sides of the ratio are."""

    ratio: float
    kind: str  # "measured", "predicted" or "partly predicted"
    disturbed: bool = False
    instead: float | None = None  # the measured ratio that this predicted one stands for: the machine was disturbed

    @property
    def words(self) -> str:
        """The ratio in as many digits as are known, such as "3.4" or "≈20", "~" before what rests on a prediction."""
        if self.disturbed:
            return roughly(self.ratio)
        return f"{'' if self.kind == 'measured' else '~'}{self.ratio:.1f}"


@dataclass(frozen=True)
class Reading:
    """A result with the questions a report asks of it."""

    result: ResultFile

    @property
    def upwards(self) -> bool:
        """Whether more of the quality is better: it is 1 - loss."""
        return self.result.quality in UPWARDS

    @property
    def quality_name(self) -> str:
        """The name of what `quality` returns."""
        return self.result.quality.replace("mlm ", "MLM ", 1)

    @property
    def latencies(self) -> tuple[str, ...]:
        """The latency objectives, the first one leading; never empty."""
        return tuple(name for name in self.result.objectives if name.startswith("latency")) or ("latency_ms",)

    @property
    def teacher(self) -> TeacherEntry:
        """The teacher's entry."""
        return self.result.teacher

    @property
    def trials(self) -> list[TrialEntry]:
        """All trials by number."""
        return sorted(self.result.trials, key=lambda trial: trial.number)

    @property
    def front(self) -> list[Member]:
        """The front, fastest first; members without a latency last."""
        return sorted(self.result.front, key=lambda member: (ms_of(self.latency(member)) or math.inf, member.key))

    @property
    def front_keys(self) -> frozenset[str]:
        """The keys of the front."""
        return frozenset(member.key for member in self.result.front)

    @property
    def knee(self) -> Member | None:
        """The front member that the result names as the chosen one."""
        return next((member for member in self.front if self.is_knee(member)), None)

    def is_knee(self, student: StudentEntry) -> bool:
        """Whether this is the chosen one, or a trial of it."""
        return student.key == self.result.knee

    def equal_loss(self, member: Member) -> float:
        """The loss by which a member is on the front: after the training that its rivals had, too."""
        return member.loss if member.flash_loss is None else member.flash_loss

    def finished(self, member: Member) -> bool:
        """Whether a member is handed back after a longer training than the one it was compared by."""
        return member.loss != self.equal_loss(member) or (member.flash_tokens or math.inf) < (member.tokens or 0)

    @property
    def heldout_blocks(self) -> int:
        """On how many held-out blocks losses were taken; 0 where that is not known."""
        blocks = self.result.environment.get("heldout_blocks")
        return blocks if type(blocks) is int and blocks > 0 else 0

    @property
    def choice_words(self) -> str:
        """What the chosen one is, such as "the best quality within the limit"."""
        rule = CHOICE_WORDS.get(self.result.choose or "", "the chosen one")
        rule += " within the limit" if any(map(self.limit_ms, self.latencies)) else ""
        return f"{rule}, by the proxy task {self.result.proxy.task}" if self.merits and self.result.proxy else rule

    @property
    def merits(self) -> Mapping[str, float]:
        """Scores on the proxy task by key, of those who have one: what the choice then follows."""
        return self.result.proxy.merits if self.result.proxy else {}

    def latency(self, entry: Entry, objective: str | None = None) -> Latency:
        """The entry's latency for `objective` (the leading one by default); only positive figures can be drawn."""
        latency = entry.latencies.get(objective or self.latencies[0], Latency())
        figures = {name: getattr(latency, name) for name in Latency.model_fields if name != "left_out"}
        figures = {name: ms for name, ms in figures.items() if ms is not None and ms > 0}
        return Latency(**figures, left_out=latency.left_out)

    def quality(self, loss: float | None) -> float | None:
        """1 - loss or the loss, as the result's quality says; None where the loss is missing."""
        return 1.0 - loss if loss is not None and self.upwards else loss

    @property
    def teacher_quality(self) -> float | None:
        """The teacher's quality; it agrees with itself by definition."""
        quality = self.quality(self.teacher.loss)
        return 1.0 if quality is None and self.result.quality == AGREEMENT else quality

    def speedup(self, entry: Entry, objective: str | None = None) -> Speedup | None:
        """Teacher latency over the entry's; None unless both are known."""
        own, other = self.latency(entry, objective), self.latency(self.teacher, objective)
        measured = other.measured / own.measured if own.measured and other.measured else None
        if measured and not surer_foretold(own, other):
            return Speedup(measured, "measured", disturbed(own) or disturbed(other))
        if own.predicted and other.predicted:
            return Speedup(other.predicted / own.predicted, "predicted", instead=measured)
        mine, theirs = ms_of(own), ms_of(other)
        unsure = disturbed(own) or disturbed(other)
        return Speedup(theirs / mine, "partly predicted", unsure) if mine and theirs else None

    @property
    def first_machine(self) -> MachineEntry | None:
        """Whose latency the first objective is."""
        return self.machine(self.latencies[0]) if self.latencies else None

    def machine(self, objective: str) -> MachineEntry | None:
        """The serving machine of a latency objective."""
        return next((machine for machine in self.result.targets if machine.objective == objective), None)

    @property
    def ways(self) -> list[str]:
        """The ways of serving that were compared, such as "onnxruntime, int8"; none where all are served alike."""
        served = (served_words(student.served) for student in (*self.trials, *self.front) if student.served)
        return sorted(set(served))

    @property
    def searched(self) -> frozenset[str]:
        """What of the serving students have several of, such as "runtime"."""
        return frozenset(name for student in (*self.trials, *self.front) for name in student.served)

    def limit_ms(self, objective: str) -> float | None:
        """What a latency may be at most; None where there is no limit that could be drawn."""
        machine = self.machine(objective)
        limit = machine.limit_ms if machine else None
        return limit if limit is not None and limit > 0 else None

    def on_probe(self, member: Member) -> tuple[float | None, float] | None:
        """A member's losses on the probe, before its training and after it; None where the second is not known."""
        taken = self.result.probe.students.get(member.key) if self.result.probe else None
        return None if taken is None or taken.after is None else (taken.before, taken.after)

    def on_pairs(self, member: Member) -> dict[str, tuple[float | None, float]]:
        """By the title of each evaluation on pairs, a member's Spearman before its training and after it."""
        pairs = {}
        for entry in self.result.evaluations:
            before, after = entry.untrained.get(member.key), entry.students.get(member.key)
            if before and after and SPEARMAN in after.values:
                pairs[entry.title] = (before.values.get(SPEARMAN), after.values[SPEARMAN])
        return pairs

    def genes(self) -> tuple[str, ...]:
        """The genes worth a column: the leading ones that occur, and those that differ between architectures."""
        seen = [student.architecture.values for student in (*self.front, *self.trials)]
        names = {name for values in seen for name in values}
        differing = {name for name in names if len({str(values.get(name)) for values in seen}) > 1}
        leading = tuple(name for name in LEADING_GENES if name in names)
        return leading + tuple(sorted(differing - set(leading)))


def parts_words(entry: Entry) -> str:
    """What a loss was made of, such as "words 0.412, next sentences 0.731"; nothing where it is one figure."""
    return ", ".join(f"{PARTS.get(name, name)} {score(value)}" for name, value in entry.parts.items())


def teacher_share(entry: EvaluationEntry, scores: Scores, name: str) -> float | None:
    """A score as a share of the teacher's; None where less is better, or the teacher's own is nothing.

    None too where one of the two gave every row the same label: the shares of labels are nobody's merit.
    """
    if ONE_LABEL in scores.values or ONE_LABEL in entry.teacher.values:
        return None
    own, theirs = scores.values.get(name), entry.teacher.values.get(name)
    falling = any(word in name for word in LESS_IS_BETTER)
    return None if own is None or not theirs or theirs < 0 or falling else own / theirs


def trials_words(reading: Reading, trials: Sequence[TrialEntry]) -> str:
    """How many trials these are, such as "3 trials"; where students are served in several ways, how many pairs too."""
    trained = counted(sum(trial.source != SERVED for trial in trials), "trial")
    return f"{trained} ({counted(len(trials), 'pair')} of student and serving)" if reading.ways else trained


def kind_words(speedup: Speedup | None) -> str:
    """What a speedup rests on, such as "measured"; "?" of none."""
    if speedup is None or speedup.disturbed:
        return "disturbed" if speedup else "?"
    instead = f"; measured {roughly(speedup.instead)}× on a disturbed machine" if speedup.instead else ""
    return f"{speedup.kind}{instead}"


def headline(reading: Reading) -> str:
    """What was found, in one sentence about the chosen student."""
    knee = reading.knee
    if knee is None:
        return "No student was chosen" if reading.front else "No student has been trained to the end yet"
    quality = reading.quality(knee.loss)
    at = "" if quality is None else f" at {quality:.2f} {reading.quality_name}"
    name, speedup, latency = sentence(short_name(knee)), reading.speedup(knee), reading.latency(knee)
    if speedup:
        verb = "is" if speedup.kind == "measured" else "is predicted to be"
        ratio = max(speedup.ratio, 1 / speedup.ratio)
        times = roughly(ratio) if speedup.disturbed else f"{ratio:.1f}"
        faster = f"{times}× {'faster' if speedup.ratio > 1 else 'slower'} than"
        return f"{name} {verb} {faster} the teacher{at}"
    return f"{name} answers in {best_words(latency)} ms{at}" if ms_of(latency) else f"{name} is the choice{at}"


@dataclass(frozen=True)
class PredictionError:
    """How far predicted latency lies from measured: relative errors of `count` entries."""

    count: int
    median: float
    worst: float
    within_tenth: float
    inside_interval: float | None


def prediction_error(latencies: Iterable[Latency]) -> PredictionError | None:
    """Relative errors |predicted / measured - 1| and the share of intervals that hold their measurement."""
    pairs = [(latency, latency.predicted, latency.measured) for latency in latencies]
    errors = [abs(predicted / measured - 1) for _, predicted, measured in pairs if predicted and measured]
    if not errors:
        return None
    held = [r.lower <= r.measured <= r.upper for r, _, _ in pairs if r.measured and r.lower and r.upper]
    within = sum(error <= 0.1 for error in errors) / len(errors)
    inside = sum(held) / len(held) if held else None
    return PredictionError(len(errors), statistics.median(errors), max(errors), within, inside)


def both_latencies(reading: Reading, objective: str) -> dict[str, tuple[StudentEntry, Latency]]:
    """By key: every student with a predicted and a measured latency; a front member stands for its trial."""
    students: dict[str, StudentEntry] = {student.key: student for student in (*reading.trials, *reading.front)}
    pairs = {key: (student, reading.latency(student, objective)) for key, student in students.items()}
    return {key: (student, ms) for key, (student, ms) in pairs.items() if ms.predicted and ms.measured}
