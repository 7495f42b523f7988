"""The front of a run: what no other student dominates, by what is known best of each."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..objectives import nondominated
from .ledger import Entry
from .machines import Profiled


def points(entries: Sequence[Entry], machines: Sequence[Profiled]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Objectives (n, M) of complete trials, all to be minimised."""
    rows = [[e.values[0], *(m.latency(e.architecture).best for m in machines)] for e in entries]
    return np.array(rows, dtype=np.float64).reshape(len(rows), 1 + len(machines))


def front(entries: Sequence[Entry], machines: Sequence[Profiled]) -> list[Entry]:
    """The complete trials that no other one dominates, fastest first; limits hold for what is known best."""
    complete = [e for e in entries if e.state == "complete"]
    values = points(complete, machines)
    limits = np.array([math.inf, *(m.limit_ms or math.inf for m in machines)])
    within = np.flatnonzero((values <= limits).all(axis=1))
    kept = within[nondominated(values[within])] if len(within) else within
    return [complete[i] for i in sorted(kept, key=lambda i: float(values[i, 1]))]


def longest(entries: Sequence[Entry]) -> list[Entry]:
    """Of the complete trials of each architecture the one of the longest training; all others as they are."""
    best: dict[str, int] = {}
    for entry in entries:
        if entry.state == "complete":
            best[entry.architecture.key] = max(best.get(entry.architecture.key, 0), entry.facts["tokens"])
    return [e for e in entries if e.state != "complete" or e.facts["tokens"] == best[e.architecture.key]]


def knee(front: Sequence[Entry], machines: Sequence[Profiled], loss_at_most: float | None) -> Entry | None:
    """The chosen member: the fastest one that keeps `loss_at_most`, else the farthest from the chord.

    The chord joins the ends of the front in (log latency of the first target, loss), each scaled to its range. Where
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
