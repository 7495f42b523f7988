"""Which students are timed whole: what a model takes beyond its operators is learnt from them.

One student of middling cost comes at a few depths: the difference is the cost of a layer where it runs. The others
are as unlike each other as the space allows: in a space of a million, twelve unlike models predicted held-out students
with 5 % error (90th percentile), four models at three depths each with 8 %.
"""

import numpy as np
import numpy.typing as npt

from distilsearch.architecture import Architecture
from distilsearch.arrays import FloatArray
from distilsearch.lowering import flops, operators
from distilsearch.operators import Operator, Serving
from distilsearch.space import SearchSpace

from .spread import farthest_first

DEPTHS = (1, 2, 4)
DEPTH_GENE = "layers"
DRAWS = 256


def whole_models(space: SearchSpace, serving: Serving, count: int) -> list[Architecture]:
    """`count` students of a space, the first of them at the depths nearest to 1, 2 and 4; without duplicates."""
    if count < 1:
        return []
    codes = np.unique(space.sample(DRAWS, np.random.default_rng(0)), axis=0)
    drawn = space.decode(codes)
    costs = [flops(architecture, serving) for architecture in drawn]
    middle = int(np.argsort(costs, kind="stable")[len(costs) // 2])
    unlike = farthest_first(_points(drawn, serving), count, [middle])
    return list(dict.fromkeys([*_depths(space, codes[middle]), *(drawn[i] for i in unlike[1:])]))


def _points(drawn: list[Architecture], serving: Serving) -> FloatArray:
    """Students as points: the log of FLOPs, bytes and calls of each kind of operator, each axis on one scale."""
    lowered = [operators(architecture, serving) for architecture in drawn]
    kinds = sorted({o.kind for parts in lowered for o, _ in parts})
    rows = [[figure for kind in kinds for figure in _work(parts, kind, serving)] for parts in lowered]
    points = np.log1p(np.array(rows, dtype=np.float64))
    spread = points.std(axis=0)
    scaled: FloatArray = points[:, spread > 0] / spread[spread > 0]
    return scaled


def _work(parts: list[tuple[Operator, float]], kind: str, serving: Serving) -> tuple[float, float, float]:
    own = [(o, n) for o, n in parts if o.kind == kind]
    moved = sum(n * o.bytes(serving.dtype) for o, n in own)
    return sum(n * o.flops for o, n in own), moved, sum(n for _, n in own)


def _depths(space: SearchSpace, row: npt.NDArray[np.int16]) -> list[Architecture]:
    if DEPTH_GENE not in space.names:
        return space.decode(row[None])
    column = space.column(DEPTH_GENE)
    choices = np.array([float(c) for c in space.parameters[column].choices])
    rows = np.repeat(row[None], len(DEPTHS), axis=0)
    rows[:, column] = [int(np.abs(np.log(choices / depth)).argmin()) for depth in DEPTHS]
    rows = space.canonical(rows)
    return space.decode(rows[space.valid(rows)])
