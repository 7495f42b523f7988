"""Choosing few points that cover many: operators of one kind, or students, as points in log sizes."""

from collections.abc import Sequence

import numpy as np

from distilsearch.arrays import FloatArray
from distilsearch.operators import Operator


def farthest_first(points: FloatArray, n: int, start: Sequence[int]) -> list[int]:
    """At most `n` rows of points (m, k), each the farthest from all before it; `start` are the first ones."""
    order = list(start)
    distance: FloatArray = np.linalg.norm(points[:, None] - points[order], axis=2).min(axis=1)
    while len(order) < min(n, len(points)):
        order.append(int(np.argmax(distance)))
        np.minimum(distance, np.linalg.norm(points - points[order[-1]], axis=1), out=distance)
    return order


def size_points(members: Sequence[Operator]) -> FloatArray:
    """Operators of one kind as points: log2 of every size, and an axis for each word (m, k)."""
    sizes = [operator.sizes for operator in members]
    numbers = [k for k, v in sizes[0].items() if not isinstance(v, str)]
    words = sorted({(k, v) for s in sizes for k, v in s.items() if isinstance(v, str)})
    rows = [[np.log2(1.0 + int(s[k])) for k in numbers] + [float(s[k] == v) for k, v in words] for s in sizes]
    return np.array(rows, dtype=np.float64)
