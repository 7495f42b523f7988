"""Every architecture of a small space, once, in an order that looks random, so that a part is a fair sample.

For spaces whose trials cost next to nothing: sub-networks of a trained super-network, rows of a table.
"""

from typing import Any

import numpy as np

from distilsearch.errors import InputError

from ..objectives import Codes
from ..pool import GRID, candidates, is_grid
from ..view import View


class Enumerate:
    """Asks for all architectures within the limits."""

    name = "enumerate"
    needs_design = False

    def options(self) -> dict[str, Any]:
        """There are none."""
        return {}

    def propose(self, view: View, n: int, rng: np.random.Generator) -> Codes:
        """The next n free codes.

        Raises:
            InputError: the space is too large to enumerate.
        """
        if not is_grid(view):
            raise InputError(
                f"this space has {view.space.size} architectures, too many to enumerate (at most {GRID:,});"
                " use strategy 'ehvi', or give the genes fewer choices"
            )
        return candidates(view, view.codes[:0], rng)[:n]
