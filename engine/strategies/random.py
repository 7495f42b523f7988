"""Random search: every free architecture is as likely as any other, whatever was told. The baseline of the others.

A space too large to list is drawn from until enough of what comes is free and within the limits. Where limits are so
tight that draws hardly ever keep them, the rest is taken from the pool that is bred towards them: no longer even.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from distilsearch.space import SearchSpace

from ..objectives import Codes, Objective
from ..pool import candidates, distinct, is_grid, one_of_twins
from ..view import View

DRAWN = 4_096  # rows of a large space at a time
TIMES = 64


class Random:
    """Asks for architectures drawn evenly from the space, none twice."""

    name = "random"
    needs_design = False

    def options(self) -> dict[str, Any]:
        """There are none."""
        return {}

    def check(self, space: SearchSpace, objectives: Sequence[Objective]) -> None:
        """Any space and objectives will do."""

    def propose(self, view: View, n: int, rng: np.random.Generator) -> Codes:
        """At most n free codes; fewer when the space is exhausted."""
        drawn = view.codes[:0] if is_grid(view) else _drawn(view, n, rng)
        if len(drawn) >= n:
            return drawn[:n]
        rest = candidates(view, view.codes[:0], rng)
        rest = distinct(view.space, rest, drawn, view.apart)
        rest = one_of_twins(view, rest[rng.permutation(len(rest))])
        return np.concatenate([drawn, rest])[:n]


def _drawn(view: View, n: int, rng: np.random.Generator) -> Codes:
    """Free rows (at most n, d) among even draws, in the order drawn."""
    chosen = view.codes[:0]
    for _ in range(TIMES):
        rows = view.space.sample(DRAWN, rng)
        rows = rows[view.within(rows)]
        rows = distinct(view.space, rows, np.concatenate([view.taken, chosen]), view.apart)
        rows = one_of_twins(view, rows[rng.permutation(len(rows))])
        chosen = np.concatenate([chosen, rows])
        if len(chosen) >= n:
            break
    return chosen[:n]
