"""What measured whole models of one regime and phase teach: a composition, its errors, how far it carries."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from distilsearch.arrays import FloatArray

from . import composition
from .composition import Composition
from .prediction import scale_of
from .uncertainty.intervals import Intervals
from .uncertainty.reach import Reach


@dataclass(frozen=True)
class Sums:
    """Of n models: `columns` (n, k) and `least` (n,) in seconds, log `spread` (n,) that their operators cause."""

    columns: FloatArray
    least: FloatArray
    spread: FloatArray

    def only(self, rows: NDArray[np.bool_]) -> "Sums":
        """Of some of the models."""
        return Sums(self.columns[rows], self.least[rows], self.spread[rows])


@dataclass(frozen=True)
class Told:
    """n models that are believed: their sums, `seconds` (n,), keys, and the composition that is the fit's prior."""

    sums: Sums
    seconds: FloatArray
    groups: Sequence[str]
    centre: Composition | None

    def left_out(self) -> FloatArray:
        """Log residuals (n,) of each model, fitted without any of its architecture."""
        return composition.left_out(self.sums.columns, self.sums.least, self.seconds, self.groups, self.centre)

    def composition(self, within: float, intervals: Intervals) -> Composition:
        """The fit to all of them, which knows how far it carries; errors are measured against given intervals."""
        fitted = Composition.fit(self.sums.columns, self.sums.least, self.seconds, self.centre)
        if not len(self.seconds):
            return fitted
        width = intervals.quantile * scale_of(self.sums.spread, within)

        def refitted(rest: NDArray[np.int64], held: NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
            sums, least = self.sums.columns, self.sums.least
            part = Composition.fit(sums[rest], least[rest], self.seconds[rest], self.centre)
            seconds = np.maximum(sums[held] @ np.asarray(part.coefficients), least[held] * part.floor)
            return seconds, width[held]

        reach = Reach.fit(self.seconds, refitted, intervals.level)
        return replace(fitted, reach=reach.in_units_of(intervals.quantile / within))
