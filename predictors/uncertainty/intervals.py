"""Intervals around predicted latencies: one pooled conformal quantile, adapted after every observed winner.

A prediction errs by a factor, so errors are taken in logarithms, and by a larger one where less was measured, so
each is divided by the scale of its tier before all of them are pooled into one quantile (pooling keeps the quantile
usable with a dozen measured models). The searched-for winners are not exchangeable with the measured ones: whoever
picks the fastest of a million predictions picks the optimistic errors. So after each measured winner the quantile
is moved: up by a large step when the interval missed, down by a small one when it held (quantile tracking,
Angelopoulos et al. 2023, after the adaptive conformal inference of Gibbs and Candes 2021); the long-run share of
misses converges to 1 - level whatever selected the winners.

    r   log(measured / predicted), cross-validated          s   tier scale of a prediction, >= 1
    e   |r| / s, the score                                  q   quantile of the scores
    n   number of scores                                    a   1 - level, the share allowed outside
    interval: predicted * exp(-q s) .. predicted * exp(+q s)
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from distilsearch.arrays import FloatArray
from distilsearch.errors import InputError

from ..reading import checked

MOST_SHIFT, MOST_QUANTILE = 300.0, 100.0  # of what is read: beyond any interval that says something
PRIOR_FREEDOM = 3.0  # how many measured models the prior spread is worth


@dataclass
class Intervals:
    """A quantile `quantile` of scores at `level`, and how far observed winners have moved it (`shift`, in logs).

    The one part of a predictor that changes in place: whatever was compiled from the predictor sees the update.
    """

    level: float
    quantile: float
    scores: int = 0
    shift: float = 0.0
    observed: int = 0
    missed: int = 0
    step: float = 0.35

    @classmethod
    def fit(
        cls, residuals: ArrayLike, scales: ArrayLike, level: float = 0.9, prior: float = 0.2, floor: float = 1e-3
    ) -> "Intervals":
        """From log residuals (n,) and their tier scales (n,).

        With enough scores (9 at a level of 90 %) the split-conformal quantile, the ceil((n + 1) level)-th smallest,
        which covers whatever the distribution; with fewer the predictive quantile of a normal law whose spread starts
        at `prior` (a standard deviation in logs). Never below `floor`, the noise of the measurements.
        """
        if not 0.5 <= level < 1:
            raise InputError(f"expected an interval level in [0.5, 1), got {level}: 0.9 is usual")
        r, s = np.asarray(residuals, dtype=np.float64), np.asarray(scales, dtype=np.float64)
        if r.shape != s.shape or not np.isfinite(r).all() or not (s > 0).all():
            raise InputError("expected finite log residuals with one positive tier scale each")
        e = np.abs(r) / s
        rank = math.ceil((e.size + 1) * level - 1e-9)
        quantile = float(np.sort(e)[rank - 1]) if 0 < rank <= e.size else _predictive(e, level, prior)
        return cls(level=level, quantile=max(quantile, floor), scores=e.size)

    @property
    def width(self) -> float:
        """q: half the width of an interval of scale 1, in logs, after all observed winners."""
        return self.quantile * math.exp(self.shift)

    def factor(self, scale: FloatArray) -> FloatArray:
        """exp(q s), (n,) >= 1: an interval runs from predicted / factor to predicted * factor."""
        return np.exp(self.width * scale)

    def deviation(self, scale: FloatArray) -> FloatArray:
        """Standard deviation in logs, (n,): that of the normal law with the same quantile."""
        return self.width / float(stats.norm.ppf(0.5 + self.level / 2)) * scale

    def observe(self, residual: float, scale: float) -> bool:
        """Learn from one measured winner; returns whether its interval held."""
        held = abs(residual) <= self.width * scale
        self.observed += 1
        self.missed += not held
        self.shift += self.step * (float(not held) - (1.0 - self.level))
        return held

    def carry_over(self, other: "Intervals") -> None:
        """Take over what observed winners taught an earlier fit of the same device."""
        self.shift, self.observed, self.missed = other.shift, other.observed, other.missed

    def to_json(self) -> dict[str, float]:
        """Plain numbers."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Intervals":
        """The inverse of `to_json`; `ValueError` where it makes no sense."""
        said = checked.fields("the intervals", values, cls.__dataclass_fields__)
        if not 0.5 <= checked.number(said["level"]) < 1:
            raise ValueError(f"expected an interval level in [0.5, 1); got {said['level']}")
        shift, step = checked.number(said["shift"], -MOST_SHIFT, MOST_SHIFT), checked.number(said["step"], 0.0, 10.0)
        counts = {name: checked.whole(said[name]) for name in ("scores", "observed", "missed")}
        quantile = checked.positive(said["quantile"], MOST_QUANTILE)
        return cls(float(said["level"]), quantile, shift=shift, step=step, **counts)


def _predictive(e: FloatArray, level: float, prior: float) -> float:
    """Two-sided predictive quantile of a centred normal law with an inverse-chi-square prior on its variance."""
    freedom = PRIOR_FREEDOM + e.size
    variance = (PRIOR_FREEDOM * prior**2 + float((e**2).sum())) / freedom
    return float(stats.t.ppf(0.5 + level / 2, freedom)) * math.sqrt(variance)
