"""Which students are handed back, and which one is chosen.

The front is one of equals: who was trained for longer hides nobody who would beat it after the same training. A student
hides another one where it is no slower and no worse, and better in one, both as they are known best and after the
longest training that both have had. Where all were trained for the same length that is the usual front, and in any case
the engine's front is part of it. What students are finished on after the search is none of this.

The choice is one rule: of the front, which keeps the limits, the fastest that keeps `loss_at_most`, where that is asked
for and kept; else the one that `choose` names. Who is trained longer follows from the choice, never the other way.

Notation: n students, M objectives: the loss, then the latency on each machine; L lengths of training.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from distilsearch.architecture import Architecture
from distilsearch.arrays import FloatArray

from ... import objectives
from ...report.budgets import SPEEDS, Fast, surest
from ...report.schema import member_key
from ..ledger import Entry
from ..serving.served import served_of, student_of

Bools = npt.NDArray[np.bool_]


class Known(Protocol):
    """What is known of a latency, in ms."""

    @property
    def best(self) -> float:
        """The measurement, else the prediction."""

    @property
    def measured(self) -> float | None:
        """The measurement alone."""

    def times(self, other: Any, /) -> float:
        """How many times as fast as another one, like with like."""


class Machine(Protocol):
    """A serving machine, as far as a choice needs it."""

    @property
    def limit_ms(self) -> float | None:
        """What a latency may be at most."""

    def latency(self, architecture: Architecture, /) -> Known:
        """What is known of a student here."""

    def keeps(self, architecture: Architecture, /) -> bool:
        """Whether a student keeps the limits on parameters and memory."""


def pair_key(entry: Entry) -> str:
    """The name of a trial's pair (student, served)."""
    return member_key(student_of(entry.architecture).key, served_of(entry.architecture))


def points(entries: Sequence[Entry], machines: Sequence[Machine]) -> FloatArray:
    """Objectives (n, M) of complete trials, all to be minimised."""
    rows = [[e.values[0], *(m.latency(e.architecture).best for m in machines)] for e in entries]
    return np.array(rows, dtype=np.float64).reshape(len(rows), 1 + len(machines))


# The front


def front(entries: Iterable[Entry], machines: Sequence[Machine]) -> list[Entry]:
    """The pairs within the limits that no other one hides, fastest first: of each its trial of the longest training."""
    students = _by_length(entries, machines)
    known = [trials[max(trials)] for trials in students]
    values = points(known, machines)
    limits = [math.inf, *(math.inf if m.limit_ms is None else m.limit_ms for m in machines)]
    within = np.flatnonzero((values <= np.array(limits)).all(axis=1))
    seen = _seen(values[within], _losses([students[i] for i in within]))
    return [known[i] for i in sorted(within[seen], key=lambda i: (values[i, 1], values[i, 0]))]


def _by_length(entries: Iterable[Entry], machines: Sequence[Machine]) -> list[dict[int, Entry]]:
    """The complete trials of each pair that keeps the limits on size, by the length that was asked for, in tokens."""
    pairs: dict[Architecture, dict[int, Entry]] = {}
    for entry in entries:
        if entry.state == "complete":
            length = int(entry.facts.get("asked", entry.facts.get("tokens", 0)))
            trials = pairs.setdefault(entry.architecture, {})
            if length not in trials or entry.values[0] < trials[length].values[0]:  # a replicate of another tool
                trials[length] = entry
    return [trials for pair, trials in pairs.items() if all(machine.keeps(pair) for machine in machines)]


def _losses(students: Sequence[Mapping[int, Entry]]) -> FloatArray:
    """Losses (n, L), lengths rising; NaN where a student had no such training."""
    lengths = sorted({length for trials in students for length in trials})
    rows = [[trials[length].values[0] if length in trials else math.nan for length in lengths] for trials in students]
    return np.array(rows, dtype=np.float64).reshape(len(students), len(lengths))


def _seen(values: FloatArray, losses: FloatArray) -> Bools:
    """Which students (n,) nobody hides, by what is known best (n, M) and after each training (n, L)."""
    if losses.shape[1] <= 1:
        return objectives.nondominated(values)
    return np.array([not _hiding(values, losses, j).any() for j in range(len(values))], dtype=bool)


def _hiding(values: FloatArray, losses: FloatArray, j: int) -> Bools:
    """Which students (n,) hide student j.

    Where two had no training in common, one is compared at its longest that is no longer than the other's.
    """
    had, rows = ~np.isnan(losses), np.arange(len(losses))
    own = int(np.flatnonzero(had[j])[-1])
    common, less = _last(had & had[j]), _last(had[:, : own + 1])
    at = np.where(common >= 0, common, less)
    mine = np.where(common >= 0, losses[j, common], losses[j, own])
    equally = (at >= 0) & (losses[rows, at] <= mine)
    better = (values <= values[j]).all(axis=1) & (values < values[j]).any(axis=1)
    return np.asarray(better & equally)


def _last(mask: Bools) -> npt.NDArray[np.int64]:
    """The last column (n,) that is true in each row (n, L); -1 where none is."""
    columns = np.arange(1, mask.shape[1] + 1)
    return np.asarray((mask * columns).max(axis=1) - 1)


# The choice


def chosen(
    front: Sequence[Entry],
    machines: Sequence[Machine],
    choose: str = "knee",
    loss_at_most: float | None = None,
    merits: Mapping[str, float] | None = None,
) -> Entry | None:
    """The chosen member of a front (fastest first), as `pick` says; None where it is empty.

    Args:
        merits: scores on a proxy task by the key of the pair, more is better. Of those who have one, and whom none of
            them hides, one is chosen, by score and latency; nobody's score is the same as no proxy.
    """
    if not front:
        return None
    scored = [entry for entry in front if pair_key(entry) in (merits or {})]
    if not merits or not scored:
        return front[pick(points(front, machines), choose, loss_at_most)]
    values = points(scored, machines)
    values[:, 0] = [-merits[pair_key(entry)] for entry in scored]
    seen = np.flatnonzero(objectives.nondominated(values))
    return scored[int(seen[pick(values[seen], choose)])]


def pick(values: FloatArray, choose: str = "knee", loss_at_most: float | None = None) -> int:
    """The one rule of choice: which point of a front (n, M), n >= 1, that keeps the limits, fastest first.

    Args:
        choose: one of `CHOICES`.
        loss_at_most: the fastest point that keeps it, whatever `choose` says; the most accurate where none does.
    """
    if loss_at_most is not None:
        keeping = np.flatnonzero(values[:, 0] <= loss_at_most)
        return int(keeping[0]) if len(keeping) else quality(values)
    return CHOICES[choose](values)


def knee(values: FloatArray) -> int:
    """The point of a front (n, M), fastest first, that is farthest below the chord.

    The chord joins the ends of the front in (log latency of the first machine, loss), each scaled to its range.
    """
    plane = np.column_stack([np.log(values[:, 1]), values[:, 0]])
    plane = (plane - plane.min(axis=0)) / np.maximum(np.ptp(plane, axis=0), 1e-12)
    along = plane[-1] - plane[0]
    offset = plane - plane[0]
    distance = along[1] * offset[:, 0] - along[0] * offset[:, 1]  # positive below the chord
    return int(distance.argmax())


def quality(values: FloatArray) -> int:
    """The point (n, M) of the least loss; the fastest of equals."""
    return int(values[:, 0].argmin())


def fastest(values: FloatArray) -> int:
    """The point (n, M) of the least latency on the first machine; the most accurate of equals."""
    return int(np.lexsort((values[:, 0], values[:, 1]))[0])


CHOICES: dict[str, Callable[[FloatArray], int]] = {"knee": knee, "quality": quality, "fastest": fastest}


def at_speeds(
    front: Sequence[Entry],
    machines: Sequence[Machine],
    teacher: Architecture,
    speeds: Iterable[float] = SPEEDS,
    merits: Mapping[str, float] | None = None,
) -> dict[float, Entry]:
    """The best member at each multiple of the teacher's speed on the first machine; without those that none reaches.

    Which one is the best is one rule for choice and report, `surest`; `merits` are scores on a proxy task.
    """
    latencies = [(entry, machines[0].latency(entry.architecture)) for entry in front]
    slow, scores = machines[0].latency(teacher) if front else None, merits or {}
    best: dict[float, Entry] = {}
    for speed in speeds:
        fast = [
            Fast(entry, entry.values[0], scores.get(pair_key(entry)), latency.measured is not None)
            for entry, latency in latencies
            if latency.times(slow) >= speed
        ]
        if fast:
            best[speed], _ = surest(fast)
    return best
