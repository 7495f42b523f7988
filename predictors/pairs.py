"""Latency without tables: from (model, latency) pairs alone, with the physics of the operators as prior.

A model's latency is the sum of its operators' unknown seconds. These get a Gaussian prior that knows what operators
are: within a kind, seconds are linear in launches, FLOPs and bytes with unknown rates; what deviates from that is
smooth in the logarithms of the sizes, with a rest of each operator's own; all of it proportional to the operator's
roofline terms. A whole model deviates from its sum by a small smooth factor. The posterior is closed form, so 20 pairs
already say something of operators that were never timed alone. Marginal likelihood weighs the parts.

    N (n, m)     counts of the m distinct operators in n models
    y (n,)       measured seconds                        p (n, 3)   logarithms of whole models' launches, FLOPs, bytes
    T (m, 3)     roofline terms of the operators         t0 (3,)    their rates: a non-negative fit, the prior mean
    K_j (m, m)   parts of the prior covariance of the operators' seconds, with weights v_j
    X            N / y: relative errors count            R          squared-exponential kernel
    1 - X T t0 ~ Normal(0, sum_j v_j X K_j X' + v_f R(p, p) + v_n I)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg
from scipy.optimize import minimize, nnls

from distilsearch.errors import InputError
from distilsearch.operators import KINDS, Operator

from .intervals import Intervals
from .totals import Lowered

FloatArray = NDArray[np.float64]
Counted = Sequence[tuple[Operator, int]]

PARTS = ("launches", "flops", "bytes", "smooth", "own", "factor", "noise")
START = np.log([0.3, 0.3, 0.3, 0.03, 0.003, 1e-3, 1e-4])
BOUNDS = [(-9.0, 1.0)] * 3 + [(-14.0, 0.0)] * 2 + [(-14.0, -6.5), (-14.0, -2.0)]
LENGTH = 2.0  # of the smooth parts, in powers of two
MOST_OFF = 3.0  # how far the posterior may leave the fitted rates
MOST = 400  # models that choose the weights


@dataclass(frozen=True)
class PairPrediction:
    """Of n models: mean and bounds (n,) in ms."""

    mean_ms: FloatArray
    lower_ms: FloatArray
    upper_ms: FloatArray


class PairPredictor:
    """A predictor fitted to measured models that are given as operators with counts; made by `fit`."""

    def __init__(
        self, lowered: Lowered, seconds: FloatArray, units: FloatArray, weights: FloatArray, intervals: Intervals
    ) -> None:
        self.lowered, self.seconds, self.units = lowered, seconds, units
        self.weights, self.intervals = weights, intervals
        self.rates = _rates(lowered, seconds, units)
        covariance = _combined(_parts(lowered, lowered, seconds, seconds, units), weights)
        self.factor = linalg.cho_factor(covariance + _jitter(weights, len(seconds)), lower=True)
        self.alpha = linalg.cho_solve(self.factor, _residual(lowered, seconds, units, self.rates))

    @classmethod
    def fit(
        cls, models: Sequence[Counted], measured_ms: ArrayLike, level: float = 0.9, seed: int = 0
    ) -> "PairPredictor":
        """From n models as (operator, count) pairs and their latencies (n,) in ms; n >= 3."""
        seconds = np.asarray(measured_ms, dtype=np.float64) / 1e3
        if seconds.shape != (len(models),) or len(models) < 3 or not (np.isfinite(seconds) & (seconds > 0)).all():
            raise InputError(f"expected three or more models with one positive latency in ms each; got {len(models)}")
        lowered = Lowered.of_operators(models)
        units = _units(lowered, seconds)
        weights = _chosen(lowered, seconds, units, seed)
        fitted = cls(lowered, seconds, units, weights, Intervals.fit([], [], level))
        residual, spread = fitted._left_out()
        optimism = 1.0 + len(PARTS) / len(models)  # the weights were chosen on the same models
        fitted.intervals = Intervals.fit(optimism * residual, spread / fitted._typical(), level)
        return fitted

    def predict(self, models: Sequence[Counted]) -> PairPrediction:
        """Latency of n models."""
        mean, spread = self._posterior(Lowered.of_operators(models))
        factor = self.intervals.factor(np.maximum(spread / self._typical(), 1e-3))
        return PairPrediction(mean * 1e3, mean / factor * 1e3, mean * factor * 1e3)

    def _posterior(self, new: Lowered) -> tuple[FloatArray, FloatArray]:
        """Seconds (n,) and their relative standard deviation (n,), noise included."""
        ones = np.ones(len(new.parts))
        parts = _parts(new, self.lowered, ones, self.seconds, self.units)
        plain = new.sums(_terms(new.distinct, self.units)) @ self.rates
        additive = plain + _combined(parts[:-1], self.weights[:-2]) @ self.alpha  # seconds
        relative = self.weights[-2] * parts[-1] @ self.alpha
        mean = np.clip(additive / np.clip(1.0 - relative, 0.5, 2.0), plain / MOST_OFF, plain * MOST_OFF)
        cross = _combined(_parts(new, self.lowered, mean, self.seconds, self.units), self.weights)
        prior = np.array([_own_variance(new, i, mean[i], self.units, self.weights) for i in range(len(mean))])
        half = linalg.solve_triangular(self.factor[0], cross.T, lower=True)
        variance = np.maximum(prior - (half**2).sum(axis=0), 0.0) + self.weights[-1]
        return mean, np.sqrt(variance)

    def _left_out(self) -> tuple[FloatArray, FloatArray]:
        """Log residuals (n,) and standard deviations (n,) of every model, predicted without it: closed form."""
        precision = np.diag(linalg.cho_solve(self.factor, np.eye(len(self.seconds))))
        whole = _parts(self.lowered, self.lowered, self.seconds, self.seconds, self.units)[-1]
        factor = np.clip(1.0 - self.weights[-2] * whole @ self.alpha, 0.5, 2.0)
        off = np.clip(self.alpha / precision / factor, -0.9, 0.9)  # 1 - predicted / measured
        return -np.log1p(-off), np.sqrt(1.0 / precision)

    def _typical(self) -> float:
        return float(np.sqrt(self.weights[-1] + self.weights[-2]))


def _units(lowered: Lowered, seconds: FloatArray) -> FloatArray:
    """(3,): seconds of a launch, a FLOP and a byte, if the typical measured model took nothing else."""
    work = np.array([[1.0, o.flops, o.bytes("float32")] for o in lowered.distinct])
    return np.asarray(np.median(seconds[:, None] / lowered.sums(work), axis=0))


def _rates(lowered: Lowered, seconds: FloatArray, units: FloatArray) -> FloatArray:
    """The prior mean: non-negative rates (3,) of launching, computing and moving that fit the models best."""
    totals = lowered.sums(_terms(lowered.distinct, units)) / seconds[:, None]
    # a weak pull to equal shares, so that a handful of models of one size has an answer
    solution, _ = nnls(
        np.vstack([totals, 0.01 * np.eye(3)]), np.concatenate([np.ones(len(seconds)), np.full(3, 0.01 / 3)])
    )
    return np.asarray(solution)


def _residual(lowered: Lowered, seconds: FloatArray, units: FloatArray, rates: FloatArray) -> FloatArray:
    """Share (n,) of each latency that the rates leave."""
    left: FloatArray = 1.0 - lowered.sums(_terms(lowered.distinct, units)) @ rates / seconds
    return left


def _terms(operators: Sequence[Operator], units: FloatArray) -> FloatArray:
    """(m, 3) seconds of launching, computing and moving."""
    return np.array([[1.0, o.flops, o.bytes("float32")] for o in operators]) * units


def _operator_parts(a: Sequence[Operator], b: Sequence[Operator], units: FloatArray) -> list[FloatArray]:
    """The K_j (m, m') between two lists of operators."""
    left, right = _terms(a, units), _terms(b, units)
    order = list(KINDS)
    same = np.equal.outer([order.index(o.kind) for o in a], [order.index(o.kind) for o in b]).astype(np.float64)
    parts = [same * np.outer(left[:, j], right[:, j]) for j in range(3)]
    size = np.outer(left.max(axis=1), right.max(axis=1))
    parts.append(same * size * _near(_places(a), _places(b)))
    names = {operator: index for index, operator in enumerate(b)}
    own = np.zeros_like(same)
    for index, operator in enumerate(a):
        if operator in names:
            own[index, names[operator]] = 1.0
    parts.append(own * size)
    return parts


def _places(operators: Sequence[Operator]) -> FloatArray:
    """log2 sizes (m, d), padded: within a kind all have the same sizes in the same order."""
    rows = [[np.log2(max(v, 1)) for v in o.sizes.values() if not isinstance(v, str)] for o in operators]
    longest = max(len(k.sizes) for k in KINDS.values())
    return np.array([row + [0.0] * (longest - len(row)) for row in rows]).reshape(len(rows), longest)


def _near(a: FloatArray, b: FloatArray, length: float = LENGTH) -> FloatArray:
    """Squared-exponential kernel (n, n')."""
    distance = ((a[:, None, :] - b[None, :, :]) ** 2).sum(axis=2)
    kernel: FloatArray = np.exp(-0.5 * distance / length**2)
    return kernel


def _parts(a: Lowered, b: Lowered, y_a: FloatArray, y_b: FloatArray, units: FloatArray) -> list[FloatArray]:
    """X K_j X' (n, n') for every part between operators, then R."""
    left, right = _counts(a) / y_a[:, None], _counts(b) / y_b[:, None]
    parts = [left @ part @ right.T for part in _operator_parts(a.distinct, b.distinct, units)]
    whole = [np.log2(model.sums(_terms(model.distinct, units))) for model in (a, b)]
    return [*parts, _near(whole[0], whole[1], 1.0)]


def _own_variance(lowered: Lowered, index: int, mean: float, units: FloatArray, weights: FloatArray) -> float:
    """Prior relative variance of one model, without noise."""
    one = Lowered(lowered.distinct, (lowered.parts[index],))
    used = [position for position, _ in lowered.parts[index]]
    small = Lowered(
        tuple(one.distinct[position] for position in used),
        (tuple((at, count) for at, (_, count) in enumerate(lowered.parts[index])),),
    )
    y = np.array([mean])
    return float(_combined(_parts(small, small, y, y, units), weights)[0, 0])


def _counts(lowered: Lowered) -> FloatArray:
    return lowered.sums(np.eye(len(lowered.distinct)))


def _combined(parts: Sequence[FloatArray], weights: FloatArray) -> FloatArray:
    total = np.zeros_like(parts[0])
    for part, weight in zip(parts, weights, strict=False):
        total += weight * part
    return total


def _jitter(weights: FloatArray, n: int) -> FloatArray:
    noise: FloatArray = (weights[-1] + 1e-9) * np.eye(n)
    return noise


def _chosen(lowered: Lowered, seconds: FloatArray, units: FloatArray, seed: int) -> FloatArray:
    """The weights (len(PARTS),) of largest marginal likelihood."""
    rows = np.arange(len(seconds))
    if len(rows) > MOST:
        rows = np.sort(np.random.default_rng(seed).choice(len(rows), MOST, replace=False))
    subset = Lowered(lowered.distinct, tuple(lowered.parts[i] for i in rows.tolist()))
    parts = _parts(subset, subset, seconds[rows], seconds[rows], units)
    target = _residual(subset, seconds[rows], units, _rates(lowered, seconds, units))

    def loss(log_weights: FloatArray) -> tuple[float, FloatArray]:
        return _negative_log_likelihood(parts, target, np.exp(log_weights))

    found = minimize(loss, START, jac=True, method="L-BFGS-B", bounds=BOUNDS, options={"maxiter": 60})
    return np.asarray(np.exp(found.x))


def _negative_log_likelihood(
    parts: Sequence[FloatArray], target: FloatArray, weights: FloatArray
) -> tuple[float, FloatArray]:
    """And its gradient with respect to the logarithms of the weights (len(PARTS),)."""
    n = len(parts[0])
    factor = linalg.cho_factor(_combined(parts, weights) + _jitter(weights, n), lower=True)
    inverse = linalg.cho_solve(factor, np.eye(n))
    alpha = inverse @ target
    value = 0.5 * float(alpha @ target) + np.log(np.diag(factor[0])).sum()
    slope = np.outer(alpha, alpha) - inverse
    gradient = [-0.5 * w * float((slope * part).sum()) for part, w in zip(parts, weights, strict=False)]
    gradient.append(-0.5 * float(weights[-1]) * float(np.trace(slope)))
    return float(value), np.asarray(gradient)
