"""The corner that hypervolumes are measured from, as far as nobody has said it.

Whatever lies beyond the corner adds nothing to any volume and is therefore never proposed. So a known objective's
corner is the worst of the space, which needs no trial, and never the worst that happened to be told; a learnt one's is
the worst told. Both stand off by a margin, or the worst itself would be worth nothing.

Notation: m values to be minimised; a space is looked through where it is small, else its ends are climbed to.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distilsearch.arrays import FloatArray
from distilsearch.space import SearchSpace

from .objectives import Bools, Cap, Codes, Known, Outcome
from .pool import bred

MARGIN = 0.1  # of the range of values
LISTED = 1 << 16  # rows that are looked through
DRAWS = 1 << 13
STARTS, STEPS = 4, 256  # of a climb


def beyond(values: FloatArray, share: float = MARGIN) -> float:
    """The worst of some values (m,) to be minimised, and a share of their range; of their size where all are equal."""
    worst, reach = float(values.max()), float(np.ptp(values))
    return worst + share * (reach or abs(worst) or 1.0)


def beyond_levels(values: FloatArray) -> float:
    """The same for all values that there can be: where they are a few levels, the margin is as wide as the mean step
    from one to the next, so that the worst level is worth as much as any other."""
    levels = len(np.unique(values))
    return beyond(values, max(MARGIN, 1.0 / (levels - 1)) if levels > 1 else MARGIN)


class NothingToGain(UserWarning):
    """No candidate can add to the hypervolume; the search goes on with a farther reference."""


def warn_nothing(names: Sequence[str]) -> None:
    """Say that a score is zero everywhere, and what would change that."""
    warnings.warn(
        f"nothing can be gained below the reference of {', '.join(names)}: all candidates lie beyond it; proposing what"
        " is best with a farther one; `converged` is true; give a `reference` that some architecture is better than",
        NothingToGain,
        stacklevel=2,
    )


@dataclass(frozen=True)
class Ends:
    """Where the known objectives of a space end, among what keeps the limits and can run."""

    space: SearchSpace
    limited: tuple[Cap, ...]

    def corner(self, objective: Known, outcomes: Sequence[Outcome]) -> float | None:
        """The corner of a known objective, to be minimised; None where nothing keeps the limits.

        Where measurements are slower than the function says, it moves by their median factor: not by the wildest one.
        """
        rows = self._rows
        rows = rows[self._good(objective, rows)]
        if not len(rows):
            return None
        if not self._small:
            rows = np.concatenate([rows, *(self._climbed(objective, rows, sign) for sign in (1.0, -1.0))])
        worst = beyond_levels(objective.sign * objective.values(rows))
        return worst * max(1.0, self._factor(objective, outcomes)) if worst > 0 else worst

    @property
    def _small(self) -> bool:
        return self.space.listed <= LISTED

    @property
    def _rows(self) -> Codes:
        if self._small:
            return self.space.grid(LISTED)
        rng = np.random.default_rng(0)
        return bred(self.space, self.limited, self.space.sample(DRAWS, rng), rng)

    def _good(self, objective: Known, rows: Codes) -> Bools:
        """Which rows keep every limit and can run."""
        kept = [limit.within(rows) for limit in self.limited]
        return np.asarray(np.all([np.isfinite(objective.values(rows)), *kept], axis=0))

    def _climbed(self, objective: Known, rows: Codes, sign: float) -> Codes:
        """The rows that changes of single genes lead to from the highest ones given, as far up as they go."""

        def highest(codes: Codes, n: int) -> Codes:
            codes = np.unique(codes, axis=0)
            return codes[np.argsort(-sign * objective.values(codes), kind="stable")[:n]]

        best = highest(rows, STARTS)
        for _ in range(STEPS):
            near = self._near(best)
            higher = highest(np.concatenate([best, near[self._good(objective, near)]]), STARTS)
            if np.array_equal(higher, best):
                break
            best = higher
        return best

    def _near(self, rows: Codes) -> Codes:
        """All valid rows one gene away."""
        parts = []
        for column, parameter in enumerate(self.space.parameters):
            near = np.repeat(rows, len(parameter.choices), axis=0)
            near[:, column] = np.tile(np.arange(len(parameter.choices), dtype=np.int16), len(rows))
            parts.append(near)
        codes = self.space.canonical(np.concatenate(parts))
        return codes[self.space.valid(codes)]

    def _factor(self, objective: Known, outcomes: Sequence[Outcome]) -> float:
        """The median ratio of what was measured to what the function says; one where nothing was."""
        told = [o for o in outcomes if objective.name in o.measured]
        said = objective.values(self.space.encode([o.architecture for o in told]))
        ratios = [o.values[objective.name] / x for o, x in zip(told, said.tolist(), strict=True) if 0 < x < np.inf]
        return float(np.median(ratios)) if ratios and objective.goal == "min" else 1.0
