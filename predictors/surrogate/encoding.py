"""Codes as numbers a Gaussian process can compare: one column per ordered gene, one per choice of a categorical one.

Columns are centred, and two different choices of a categorical gene are as far apart as the two ends of an
ordered one, so that relabelling the choices changes no distance and no inner product. Further columns (the
logarithm of each known cost, parameters, FLOPs, training length) are scaled by the range the trials cover.

Notation: n rows, d genes, p columns, g groups (one a gene, one a further column).
"""

import math
from collections.abc import Container
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from distilsearch.arrays import FloatArray
from distilsearch.space import Codes, Parameter, SearchSpace


@dataclass(frozen=True)
class Encoding:
    """Maps codes (n, d) and further columns (n, k) to features (n, p); made by `Encoding.of`."""

    parameters: tuple[Parameter, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    @classmethod
    def of(cls, space: SearchSpace, further: FloatArray, ignored: Container[str] = ()) -> "Encoding":
        """The encoding whose further columns run from -1 to 1 over the rows (n, k) given; some genes have no column."""
        rows = further if len(further) else np.zeros((1, further.shape[1]))
        parameters = tuple(_unseen(p) if p.name in ignored else p for p in space.parameters)
        return cls(parameters, tuple(rows.min(axis=0).tolist()), tuple(rows.max(axis=0).tolist()))

    @cached_property
    def groups(self) -> tuple[int, ...]:
        """The group of each column; genes without a choice have none."""
        widths = [table.shape[1] for table in self._tables]
        genes = [g for g, width in enumerate(w for w in widths if w) for _ in range(width)]
        first = 1 + max(genes, default=-1)
        return (*genes, *range(first, first + len(self.low)))

    @cached_property
    def _tables(self) -> list[FloatArray]:
        return [_table(parameter) for parameter in self.parameters]

    def __call__(self, codes: Codes, further: FloatArray, dtype: torch.dtype = torch.float64) -> Tensor:
        """Features (n, p) of codes (n, d) and further columns (n, k)."""
        kind = np.float32 if dtype == torch.float32 else np.float64
        features = np.empty((len(codes), len(self.groups)), dtype=kind)
        column = 0
        for gene, table in enumerate(self._tables):
            width = table.shape[1]
            if width:
                features[:, column : column + width] = table.astype(kind)[codes[:, gene]]
            column += width
        low, high = np.array(self.low), np.array(self.high)
        half = np.where(high > low, (high - low) / 2, 1.0)
        features[:, column:] = (further - (low + high) / 2) / half
        return torch.from_numpy(features)


def _unseen(parameter: Parameter) -> Parameter:
    """A gene without a choice, which has no column."""
    return Parameter(parameter.name, parameter.choices[:1], parameter.ordered)


def _table(parameter: Parameter) -> FloatArray:
    """Columns (c, w) of each of a gene's c choices: w = 0 for one choice, 1 for ordered genes, c for categorical."""
    c = len(parameter.choices)
    if c == 1:
        return np.zeros((1, 0))
    if parameter.ordered:
        return np.linspace(-1.0, 1.0, c)[:, None]
    return np.asarray(math.sqrt(2.0) * (np.eye(c) - 1.0 / c))
