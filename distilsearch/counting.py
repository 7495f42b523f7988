"""Exact counting and uniform sampling of the rows that a set of truth tables allows.

Variable elimination, as in any discrete graphical model: summing a gene out of the factors that mention it
leaves a factor over its neighbours. Counts are Python integers, so sizes beyond 2^63 stay exact; sampling runs
the elimination backwards, so every allowed row is equally likely.

| symbol | meaning |
| --- | --- |
| factor | a table over a few genes: how many completions each combination has (truth: 0 or 1) |
| width | the number of entries of the largest factor met on the way |
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from .arrays import FloatArray

MAX_WIDTH = 1 << 20


class TooWide(Exception):  # noqa: N818  (control flow inside the ground floor, never shown to a user)
    """The rules are too entangled to be counted exactly."""


@dataclass(frozen=True)
class Factor:
    """A table over the genes `columns`, one axis each."""

    columns: tuple[int, ...]
    table: npt.NDArray[np.generic]


class Counter:
    """Counts and samples the rows of genes with `radix` choices each that all `factors` allow."""

    def __init__(self, radix: Sequence[int], factors: Sequence[Factor]) -> None:
        self.radix = list(radix)
        self.factors = list(factors)

    @cached_property
    def total(self) -> int:
        """The exact number of allowed rows; raises `TooWide`."""
        return math.prod(int(f.table.item()) for f in self._elimination[1])

    @cached_property
    def _elimination(self) -> tuple[list[tuple[int, Factor]], list[Factor]]:
        """The steps (gene, product of the factors that mentioned it), and the constants left at the end."""
        factors = [Factor(f.columns, f.table.astype(object)) for f in self.factors]
        waiting, steps = set(range(len(self.radix))), []
        while waiting:
            gene = min(waiting, key=lambda g: (self._width(g, factors), g))
            product = self._product(gene, [f for f in factors if gene in f.columns])
            rest = tuple(c for c in product.columns if c != gene)
            summed = product.table.sum(axis=product.columns.index(gene))
            factors = [f for f in factors if gene not in f.columns]
            factors.append(Factor(rest, np.asarray(summed, dtype=object)))
            steps.append((gene, product))
            waiting.remove(gene)
        return steps, factors

    def _width(self, gene: int, factors: Sequence[Factor]) -> int:
        genes = {gene}.union(*(f.columns for f in factors if gene in f.columns))
        return math.prod(self.radix[g] for g in genes)

    def _product(self, gene: int, factors: Sequence[Factor]) -> Factor:
        if self._width(gene, factors) > MAX_WIDTH:
            raise TooWide
        columns = tuple(sorted({gene}.union(*(f.columns for f in factors))))
        table = np.ones([self.radix[c] for c in columns], dtype=object)
        for factor in factors:
            order = np.argsort(factor.columns)
            shape = [self.radix[c] if c in factor.columns else 1 for c in columns]
            table = table * factor.table.transpose(order).reshape(shape)
        return Factor(columns, table)

    def sample(self, n: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Rows (n, d), each uniform over the allowed ones; raises `TooWide`."""
        rows = np.zeros((n, len(self.radix)), dtype=np.int64)
        for gene, cumulative in reversed(self._conditionals):
            columns, table = cumulative
            draws = rng.random(n)
            given = np.broadcast_to(table[tuple(rows[:, c] for c in columns)], (n, table.shape[-1]))
            rows[:, gene] = (draws[:, None] >= given[:, :-1]).sum(axis=1)
        return rows

    @cached_property
    def _conditionals(self) -> list[tuple[int, tuple[tuple[int, ...], FloatArray]]]:
        """For each step the cumulative probability of the gene's choices given the genes chosen after it."""
        result = []
        for gene, product in self._elimination[0]:
            table = np.moveaxis(product.table, product.columns.index(gene), -1)
            totals = table.sum(axis=-1, keepdims=True)
            shares = np.where(totals == 0, 0, table / np.where(totals == 0, 1, totals)).astype(np.float64)
            columns = tuple(c for c in product.columns if c != gene)
            result.append((gene, (columns, np.cumsum(shares, axis=-1))))
        return result
