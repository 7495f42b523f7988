"""Which operators to time beyond the first choice: where neighbours disagree, and at the edges of tiles.

| symbol | meaning |
| --- | --- |
| u | log(roofline / measured) of a timed operator: its utilisation |
| e | abs(u - the distance-weighted mean of its K nearest neighbours of the same kind), left out |
| score | e of the nearest timed operator x the distance to it, in log2 of sizes |
"""

import math
from collections.abc import Sequence

import numpy as np

from distilsearch.arrays import FloatArray
from distilsearch.operators import Operator, Size

from ..device import Regime
from ..tables.table import LatencyTable
from .spread import size_points

NEIGHBOURS = 4
LEAST_TIMED = 6
EDGES: dict[str, tuple[str, ...]] = {"linear": ("inputs", "outputs"), "gate": ("width",), "norm": ("width",)}


def surprising(table: LatencyTable, regime: Regime, spare: Sequence[Operator], count: int) -> list[Operator]:
    """Up to `count` operators that nobody timed, of which the timed ones tell the least; most surprising first."""
    kinds: dict[str, list[Operator]] = {}
    for operator in spare:
        kinds.setdefault(operator.kind, []).append(operator)
    scored = [pair for kind, members in kinds.items() for pair in _scored(table, regime, kind, members, count)]
    return [operator for _, operator in sorted(scored, key=lambda pair: -pair[0])[:count]]


def _scored(
    table: LatencyTable, regime: Regime, kind: str, members: Sequence[Operator], count: int
) -> list[tuple[float, Operator]]:
    """Candidates of one kind with their scores; one that was taken counts as near to the next."""
    rows = [r for r in table.operators if r.operator.kind == kind and r.regime == regime and r.measured.usable]
    if len(rows) < LEAST_TIMED:
        return []
    points = size_points([*(row.operator for row in rows), *members])
    timed, free = points[: len(rows)], points[len(rows) :]
    u = np.array([math.log(row.roofline_seconds / row.measured.seconds_p10) for row in rows])
    errors = _left_out(timed, u)
    apart = np.linalg.norm(free[:, None] - timed[None], axis=2)  # (m, n)
    nearest, distance = apart.argmin(axis=1), apart.min(axis=1)
    candidates = []
    for _ in range(min(count, len(members))):
        scores = errors[nearest] * distance
        best = int(scores.argmax())
        if scores[best] <= 0:
            break
        candidates.append((float(scores[best]), members[best]))
        distance = np.minimum(distance, np.linalg.norm(free - free[best], axis=1))
    return candidates


def _left_out(points: FloatArray, u: FloatArray) -> FloatArray:
    """e of each timed operator."""
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    near = np.argsort(apart, axis=1, kind="stable")[:, :NEIGHBOURS]
    weights = 1 / np.maximum(np.take_along_axis(apart, near, axis=1), 1e-3)
    errors: FloatArray = np.abs(u - (weights * u[near]).sum(axis=1) / weights.sum(axis=1))
    return errors


def tile_edges(found: Sequence[Operator], timed: Sequence[Operator]) -> list[Operator]:
    """At 2^k and 2^k + 1 within the range of each width, where a space leaves gaps: kernels jump there."""
    edges: dict[Operator, None] = {}
    for kind, names in EDGES.items():
        members = [operator for operator in found if operator.kind == kind]
        if len(members) > sum(operator.kind == kind for operator in timed):
            edges |= {edge: None for name in names for edge in _along(members, name)}
    return [edge for edge in edges if edge not in set(timed)]


def _along(members: Sequence[Operator], name: str) -> list[Operator]:
    values = np.array([int(operator.sizes[name]) for operator in members])
    powers = range(math.ceil(math.log2(values.min())), math.floor(math.log2(values.max())) + 1)
    edges = []
    for power in powers:
        near = members[int(np.abs(np.log2(values) - power).argmin())]
        sizes: dict[str, Size] = dict(near.sizes)
        edges += [Operator(near.kind, {**sizes, name: size}) for size in (2**power, 2**power + 1)]
    return edges
