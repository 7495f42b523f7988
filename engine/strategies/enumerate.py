"""Every architecture of a small space, once, in an order that looks random, so that a part is a fair sample.

For spaces whose trials cost next to nothing: sub-networks of a trained super-network, rows of a table.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from distilsearch.errors import InputError
from distilsearch.space import SearchSpace

from ..objectives import Codes, Objective
from ..pool import GRID, candidates, one_of_twins
from ..view import View


class Enumerate:
    """Asks for all architectures within the limits."""

    name = "enumerate"
    needs_design = False

    def options(self) -> dict[str, Any]:
        """There are none."""
        return {}

    def check(self, space: SearchSpace, objectives: Sequence[Objective]) -> None:
        """Refuse a space that is too large to enumerate."""
        if space.listed > GRID:
            raise InputError(
                f"this space has {space.size} architectures, too many to enumerate (at most {GRID:,});"
                " use strategy 'ehvi', or give the genes fewer choices"
            )

    def propose(self, view: View, n: int, rng: np.random.Generator) -> Codes:
        """The next n free codes; `check` says of what spaces."""
        self.check(view.space, view.objectives)
        return one_of_twins(view, candidates(view, view.codes[:0], rng))[:n]
