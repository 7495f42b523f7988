"""Predicted latencies: of a few architectures, and as a function over all codes of a space.

The function looks sums over operators up in tables over the genes that the operators depend on, so that a million
architectures take about a second. Its intervals are the predictor's own and move with every observed winner.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distilsearch.arrays import FloatArray
from distilsearch.errors import InputError
from distilsearch.space import Codes, SearchSpace

from .composition import Composition
from .uncertainty.intervals import Intervals

MS = 1e3
CHUNK = 1 << 15  # rows at a time: what is gathered stays in the cache


@dataclass(frozen=True)
class Prediction:
    """Predicted latency of n architectures: mean, bounds and standard deviation (n,) in ms, and the tier (n,) of each.

    The tier of an architecture is the worst of its operators': exact, interpolated, extrapolated or analytic. Where
    requests are of many lengths, all of that is of their mean, and `p50_ms` and `p99_ms` (n,) are what requests of the
    median length and of the 99th percentile take.
    """

    mean_ms: FloatArray
    lower_ms: FloatArray
    upper_ms: FloatArray
    spread_ms: FloatArray
    tier: NDArray[np.str_]
    p50_ms: FloatArray | None = None
    p99_ms: FloatArray | None = None


@dataclass(frozen=True)
class CompiledLatency:
    """Latency over one space and serving, vectorised: codes (n, d) to ms (n,), equal to `LatencyPredictor.predict`.

    Codes of a space of other genes are refused, by an engine from their choices, else as far as codes show it.
    """

    table: Callable[[Codes], FloatArray]
    composition: Composition
    launch: float
    intervals: Intervals
    within: float
    apart: float = 0.0
    space: SearchSpace | None = None

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
        check_codes(codes, self.space)
        out = np.empty(len(codes))
        for start in range(0, len(codes), CHUNK):
            totals = self.table(codes[start : start + CHUNK])
            mean, spread = self.composition.finish(totals, self.launch)
            out[start : start + CHUNK] = figure(mean * MS, scale_of(np.hypot(spread, self.apart), self.within))
        return out


def check_codes(codes: Codes, space: SearchSpace | None) -> None:
    """An `InputError` where codes (n, d) cannot be of a space."""
    if space is None:
        return
    shape = np.shape(codes)
    if len(shape) != 2 or shape[1] != space.d:
        raise InputError(f"expected codes of the genes {', '.join(space.names)}, (n, {space.d}); got shape {shape}")
    choices = np.array([len(p.choices) for p in space.parameters])
    beyond = (codes.max(axis=0) >= choices) | (codes.min(axis=0) < 0) if len(codes) else choices < 0
    if beyond.any():
        wrong = int(beyond.argmax())
        raise InputError(
            f"codes of {space.names[wrong]!r} run from 0 to {choices[wrong] - 1} in the space that this latency was"
            f" compiled for; got {codes[:, wrong].min()} to {codes[:, wrong].max()}; compile it for the codes' space"
        )


def scale_of(spread: FloatArray, within: float) -> FloatArray:
    """Interval scale (n,) >= 1: what operators add to the spread that models of measured ones have anyway."""
    scale: FloatArray = np.hypot(1.0, spread / within)
    return scale
