"""How far predictions carry beyond what was measured: intervals that grow with the distance.

Left-out models lie among those that stay, so their errors say nothing of slower or faster ones than any measured. What
does is leaving out the largest third and the largest half, and the smallest: each held-out model, predicted from the
others, errs at a known distance from them. The growth that covers `level` of those errors is the one of new models.

    g (n,)   predicted seconds                low, high   the range of the measured seconds that were fitted
    d (n,)   log(g / high) above it, log(low / g) below it, 0 within
    h (n,)   log half-width of an interval that knows of no distance, = q s with quantile q and scale s
    k        growth: the half-width at a distance is hypot(h, k d), on either side its own k
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilsearch.arrays import FloatArray

from ..reading import checked

SHARES = (1 / 3, 1 / 2)  # held out of a side at once
FEWEST = 9  # measured models from which a third says something
PRIOR = 0.15  # growth per e-fold where nothing tells, and never less
LEAST_DISTANCE, NEAR = 0.05, 0.3  # in logs, and as a share of the farthest: nearer an error says nothing of growth
MOST, MOST_READ = 50.0, 1e6

Refitted = Callable[[NDArray[np.int64], NDArray[np.int64]], tuple[FloatArray, FloatArray]]
"""From the places of some models to fit and of others to predict: their predicted seconds and h, a row each."""


@dataclass(frozen=True)
class Reach:
    """The range that was fitted, in seconds, and the growth of log half-widths per log distance below and above it."""

    low: float = 0.0
    high: float = math.inf
    below: float = PRIOR
    above: float = PRIOR

    @classmethod
    def fit(cls, seconds: FloatArray, refitted: Refitted, level: float) -> "Reach":
        """From measured seconds (n,), n >= 1, and what a fit to some of them says of the others."""
        low, high = float(seconds.min()), float(seconds.max())
        below, above = (_growth(seconds, refitted, level, rising) for rising in (False, True))
        return cls(low, high, below, above)

    def growth(self, predicted: FloatArray) -> FloatArray:
        """k d (n,): what the distance of predicted seconds (n,) adds to their log half-width; 0 within the range."""
        if not math.isfinite(self.high) or self.low <= 0:
            return np.zeros(len(predicted))
        above, below = np.log(predicted / self.high), np.log(self.low / predicted)
        added: FloatArray = np.maximum(0.0, np.maximum(self.above * above, self.below * below))
        return added

    def in_units_of(self, unit: float) -> "Reach":
        """The same with growth counted in `unit`s of log half-width."""
        return Reach(self.low, self.high, self.below / unit, self.above / unit)

    def scaled(self, factor: float) -> "Reach":
        """The same on a machine that takes `factor` times as long."""
        return Reach(self.low * factor, self.high * factor, self.below, self.above)

    def to_json(self) -> dict[str, float] | None:
        """Plain JSON; None where nothing was measured."""
        return dict(vars(self)) if math.isfinite(self.high) else None

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | None) -> "Reach":
        """The inverse of `to_json`; `ValueError` where it makes no sense."""
        if data is None:
            return cls()
        said = checked.fields("the reach", data, cls.__dataclass_fields__)
        low, high = (checked.positive(said[name], checked.LONGEST_SECONDS) for name in ("low", "high"))
        return cls(low, high, *(checked.number(said[name], 0.0, MOST_READ) for name in ("below", "above")))


def _growth(seconds: FloatArray, refitted: Refitted, level: float, rising: bool) -> float:
    """k of one side: the least with which `level` of all held-out errors lie within hypot(h, k d)."""
    needed = [np.empty(0), *(_needed(*split) for split in _splits(seconds, refitted, rising))]
    each = np.sort(np.concatenate(needed))
    rank = min(math.ceil((len(each) + 1) * level - 1e-9), len(each))
    return min(max(PRIOR, float(each[rank - 1]) if len(each) else 0.0), MOST)


def _splits(
    seconds: FloatArray, refitted: Refitted, rising: bool
) -> Iterator[tuple[FloatArray, FloatArray, FloatArray]]:
    """Absolute log errors, distances and h of the models of one end, fitted without them."""
    if len(seconds) < FEWEST:
        return
    order = np.argsort(seconds if rising else -seconds, kind="stable")
    for share in SHARES:
        kept = len(order) - round(share * len(order))
        rest, held = np.sort(order[:kept]), np.sort(order[kept:])
        predicted, width = refitted(rest, held)
        end = seconds[rest].max() if rising else seconds[rest].min()
        distance = np.log(predicted / end) if rising else np.log(end / predicted)
        yield np.abs(np.log(seconds[held] / predicted)), distance, width


def _needed(error: FloatArray, distance: FloatArray, width: FloatArray) -> FloatArray:
    """The least k (m,) of those held-out models that tell: near the others an error says nothing of growth."""
    far = distance > max(LEAST_DISTANCE, NEAR * float(distance.max(initial=0.0)))
    needed: FloatArray = np.sqrt(np.maximum(error[far] ** 2 - width[far] ** 2, 0.0)) / distance[far]
    return needed
