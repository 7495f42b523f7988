"""Predicted latencies: of a few architectures, and as a function over all codes of a space.

The function looks sums over operators up in tables over the genes that the operators depend on, so that a million
architectures take about a second. Its intervals are the predictor's own and move with every observed winner.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distilsearch.arrays import FloatArray
from distilsearch.space import Codes

from .composition import Composition
from .intervals import Intervals

MS = 1e3
CHUNK = 1 << 15  # rows at a time: what is gathered stays in the cache


@dataclass(frozen=True)
class Prediction:
    """Predicted latency of n architectures: mean, bounds and standard deviation (n,) in ms, and the tier (n,) of each.

    The tier of an architecture is the worst of its operators': exact, interpolated, extrapolated or analytic.
    """

    mean_ms: FloatArray
    lower_ms: FloatArray
    upper_ms: FloatArray
    spread_ms: FloatArray
    tier: NDArray[np.str_]


@dataclass(frozen=True)
class CompiledLatency:
    """Latency over one space and serving, vectorised: codes (n, d) to ms (n,), equal to `LatencyPredictor.predict`."""

    table: Callable[[Codes], FloatArray]
    composition: Composition
    launch: float
    intervals: Intervals
    within: float
    apart: float = 0.0

    def __call__(self, codes: Codes) -> FloatArray:
        """Mean latency (n,) in ms."""
        return self._each(codes, lambda mean, scale: mean)

    def spread(self, codes: Codes) -> FloatArray:
        """Standard deviation (n,) in ms."""
        return self._each(codes, lambda mean, scale: mean * self.intervals.deviation(scale))

    def upper(self, codes: Codes) -> FloatArray:
        """Upper bound (n,) of the interval in ms: what a limit is held against."""
        return self._each(codes, lambda mean, scale: mean * self.intervals.factor(scale))

    def _each(self, codes: Codes, figure: Callable[[FloatArray, FloatArray], FloatArray]) -> FloatArray:
        out = np.empty(len(codes))
        for start in range(0, len(codes), CHUNK):
            totals = self.table(codes[start : start + CHUNK])
            mean, spread = self.composition.finish(totals, self.launch)
            out[start : start + CHUNK] = figure(mean * MS, scale_of(np.hypot(spread, self.apart), self.within))
        return out


def scale_of(spread: FloatArray, within: float) -> FloatArray:
    """Interval scale (n,) >= 1: what operators add to the spread that models of measured ones have anyway."""
    scale: FloatArray = np.hypot(1.0, spread / within)
    return scale
