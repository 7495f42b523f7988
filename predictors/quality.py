"""How good a predictor is: relative errors, rank agreement, and the coverage of its intervals.

Everything here compares predicted with measured values of the same unit, shape (n,), and returns plain numbers. A
relative error is |predicted / measured - 1|, the figure of the published predictors ("within 10 %"). Ranks are
compared with Kendall's tau-b and Spearman's rho, which know ties. Coverage comes with its exact binomial interval,
because "87 % of 30" does not contradict 90 %.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from distilsearch.arrays import FloatArray
from distilsearch.errors import InputError


@dataclass(frozen=True)
class Errors:
    """Relative errors of n predictions, as fractions (0.03 is 3 %); `bias` is the mean of predicted / measured - 1."""

    n: int
    median: float
    mean: float
    p90: float
    p99: float
    worst: float
    within_5: float
    within_10: float
    bias: float

    def __str__(self) -> str:
        return (
            f"n {self.n}  median {self.median:.1%}  mean {self.mean:.1%}  p90 {self.p90:.1%}  p99 {self.p99:.1%}"
            f"  within 5 % {self.within_5:.1%}  within 10 % {self.within_10:.1%}  bias {self.bias:+.1%}"
        )


@dataclass(frozen=True)
class Coverage:
    """How many of n measured values lie inside their intervals, with the binomial interval of that share."""

    n: int
    inside: int
    lower: float
    upper: float

    @property
    def share(self) -> float:
        """The observed share, in [0, 1]."""
        return self.inside / self.n

    def agrees(self, level: float) -> bool:
        """Whether the nominal `level` (0.9 for a 90 % interval) lies inside the binomial interval."""
        return self.lower <= level <= self.upper

    def __str__(self) -> str:
        return f"{self.share:.1%} of {self.n} inside (binomial {self.lower:.1%} to {self.upper:.1%})"


def errors(predicted: ArrayLike, measured: ArrayLike) -> Errors:
    """Statistics of the relative errors of `predicted` (n,) against `measured` (n,), both positive, same unit.

    >>> errors([1.0, 2.2], [1.0, 2.0]).within_5
    0.5
    """
    p, m = _pair(predicted, measured)
    if not ((p > 0).all() and (m > 0).all()):
        raise InputError("relative errors need positive predicted and measured values; got some that are not")
    relative = p / m - 1.0
    size = np.abs(relative)
    slack = 1e-12  # 1.1 / 1.0 - 1 is a hair above 0.1 in floating point, and counts as within 10 %
    return Errors(
        n=size.size,
        median=float(np.median(size)),
        mean=float(size.mean()),
        p90=float(np.quantile(size, 0.9)),
        p99=float(np.quantile(size, 0.99)),
        worst=float(size.max()),
        within_5=float((size <= 0.05 + slack).mean()),
        within_10=float((size <= 0.10 + slack).mean()),
        bias=float(relative.mean()),
    )


def kendall(predicted: ArrayLike, measured: ArrayLike) -> float:
    """Kendall's tau-b in [-1, 1]; 0 where one side is constant and orders nothing."""
    p, m = _pair(predicted, measured)
    return _orders(p, m) and float(stats.kendalltau(p, m).statistic)


def spearman(predicted: ArrayLike, measured: ArrayLike) -> float:
    """Spearman's rho in [-1, 1]; 0 where one side is constant and orders nothing."""
    p, m = _pair(predicted, measured)
    return _orders(p, m) and float(stats.spearmanr(p, m).statistic)


def coverage(lower: ArrayLike, upper: ArrayLike, measured: ArrayLike, confidence: float = 0.95) -> Coverage:
    """How often `lower <= measured <= upper` (all (n,)), with the Clopper-Pearson interval at `confidence`."""
    low, value = _pair(lower, measured)
    high, _ = _pair(upper, measured)
    inside = int(((low <= value) & (value <= high)).sum())
    interval = stats.binomtest(inside, value.size).proportion_ci(confidence, method="exact")
    return Coverage(n=value.size, inside=inside, lower=float(interval.low), upper=float(interval.high))


def _pair(a: ArrayLike, b: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Both as finite float64 arrays (n,) of one length, n >= 1."""
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape or x.size == 0:
        raise InputError(f"expected two arrays of one length, one value or more; got shapes {x.shape} and {y.shape}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError("expected finite values; got NaN or infinity: drop failed measurements first")
    return x, y


def _orders(a: FloatArray, b: FloatArray) -> float:
    """1.0 where both sides hold at least two different values, else 0.0 (a rank correlation is undefined there)."""
    return float(np.ptp(a) > 0 and np.ptp(b) > 0)
