"""Sums over operators of a few architectures, operator by operator: the slow path that the look-up tables are
checked against."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distilsearch.architecture import Architecture
from distilsearch.arrays import FloatArray
from distilsearch.lowering import operators
from distilsearch.operators import Operator, Serving


@dataclass(frozen=True)
class Lowered:
    """n architectures as counts of the `distinct` operators: `parts[i]` lists (position in distinct, count)."""

    distinct: tuple[Operator, ...]
    parts: tuple[tuple[tuple[int, float], ...], ...]

    @classmethod
    def of(cls, architectures: Sequence[Architecture], serving: Serving) -> "Lowered":
        """The operators of every architecture under one serving."""
        return cls.of_operators([operators(architecture, serving) for architecture in architectures])

    @classmethod
    def of_operators(cls, lowered: Sequence[Sequence[tuple[Operator, float]]]) -> "Lowered":
        """The same, of models that are given as operators with counts."""
        position: dict[Operator, int] = {}
        parts = [
            tuple((position.setdefault(operator, len(position)), count) for operator, count in each) for each in lowered
        ]
        return cls(tuple(position), tuple(parts))

    def sums(self, figures: FloatArray) -> FloatArray:
        """Sums (n, k) of figures (m, k) of the m distinct operators."""
        out = np.zeros((len(self.parts), figures.shape[1]))
        for index, part in enumerate(self.parts):
            for position, count in part:
                out[index] += figures[position] * count
        return out

    def worst(self, figures: NDArray[np.int64]) -> NDArray[np.int64]:
        """The largest figure (n,) of each architecture, of figures (m,) of the distinct operators."""
        largest = [max((int(figures[position]) for position, _ in part), default=0) for part in self.parts]
        return np.asarray(largest, dtype=np.int64)
