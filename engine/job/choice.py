"""Which students are handed back, and which one is chosen.

What is known best counts: the loss after the longest training, the measured latency where there is one. The rule of
the front is the engine's own, `objectives.front`.

Notation: n complete trials, M objectives: the loss, then the latency on each machine.
"""

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from distilsearch.architecture import Architecture
from distilsearch.arrays import FloatArray

from .. import objectives
from ..report.schema import member_key
from .ledger import Entry
from .served import served_of, student_of


class Known(Protocol):
    """What is known best of a latency, in ms."""

    @property
    def best(self) -> float:
        """The measurement, else the prediction."""


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


def longest(entries: Sequence[Entry]) -> list[Entry]:
    """Of the complete trials of each pair the one of the longest training; all others as they are."""
    best: dict[str, int] = {}
    for entry in entries:
        if entry.state == "complete":
            best[pair_key(entry)] = max(best.get(pair_key(entry), 0), entry.facts["tokens"])
    return [e for e in entries if e.state != "complete" or e.facts["tokens"] == best[pair_key(e)]]


def points(entries: Sequence[Entry], machines: Sequence[Machine]) -> FloatArray:
    """Objectives (n, M) of complete trials, all to be minimised."""
    rows = [[e.values[0], *(m.latency(e.architecture).best for m in machines)] for e in entries]
    return np.array(rows, dtype=np.float64).reshape(len(rows), 1 + len(machines))


def front(entries: Sequence[Entry], machines: Sequence[Machine]) -> list[Entry]:
    """The complete trials within the limits that no other one dominates, fastest first."""
    complete = [e for e in entries if e.state == "complete" and all(m.keeps(e.architecture) for m in machines)]
    values = points(complete, machines)
    limits = [math.inf, *(math.inf if m.limit_ms is None else m.limit_ms for m in machines)]
    members = np.flatnonzero(objectives.front(values, limits))
    return [complete[i] for i in sorted(members, key=lambda i: float(values[i, 1]))]


def knee(front: Sequence[Entry], machines: Sequence[Machine], loss_at_most: float | None) -> Entry | None:
    """The chosen member: the fastest one that keeps `loss_at_most`, else the farthest from the chord.

    The chord joins the ends of the front in (log latency of the first machine, loss), each scaled to its range. Where
    no member keeps the loss asked for, the most accurate one is chosen.
    """
    if not front:
        return None
    values = points(front, machines)
    if loss_at_most is not None:
        keeping = np.flatnonzero(values[:, 0] <= loss_at_most)
        return front[int(keeping[0])] if len(keeping) else front[int(values[:, 0].argmin())]
    plane = np.column_stack([np.log(values[:, 1]), values[:, 0]])
    plane = (plane - plane.min(axis=0)) / np.maximum(np.ptp(plane, axis=0), 1e-12)
    along = plane[-1] - plane[0]
    offset = plane - plane[0]
    distance = along[1] * offset[:, 0] - along[0] * offset[:, 1]  # positive below the chord
    return front[int(distance.argmax())]
