"""Latency without tables: from (model, latency) pairs alone, with the physics of the operators as prior.

A model's latency is the sum of its operators' unknown seconds, which have the Gaussian prior of `operator_prior`. The
posterior is closed form, so 20 pairs already say something of operators that were never timed alone. The weights of
the prior's parts are those of largest marginal likelihood. Published measurements hold outliers of several times the
truth, so the noise follows a Student t law, fitted by expectation-maximisation: a pair's trust falls as it disagrees.
Errors are relative to a first fit of the latency and not to the measured one, which would reward noise.

    y (n,)       measured seconds                          s (n,)     the seconds that the prior mean says
    w (n,)       trust in each pair, 1 where it agrees     nu         degrees of freedom of the noise
    (y - N T t0) / s ~ Normal(0, sum_j v_j X K_j X' + v_f R + v_n diag(1 / w));   the rest as in `operator_prior`
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg

from distilsearch.architecture import Architecture
from distilsearch.arrays import FloatArray
from distilsearch.errors import InputError
from distilsearch.operators import Operator, Serving
from distilsearch.space import Codes, SearchSpace

from ..operators.totals import Lowered
from ..prediction import check_codes
from ..uncertainty.intervals import Intervals
from ..uncertainty.liars import MODEL_FACTOR, Distrusted, lying
from ..uncertainty.reach import Reach
from . import likelihood
from . import operator_prior as prior

Counted = Sequence[tuple[Operator, float]]

MOST_OFF = 3.0  # how far the posterior may leave the fitted rates
MOST = 400  # models that choose the weights
MOST_REFITTED, FOLDS = 100, 20
CHUNK = 1024  # models predicted together: their operators' covariance is held in memory


@dataclass(frozen=True)
class PairPrediction:
    """Of n models: mean, bounds and standard deviation (n,) in ms."""

    mean_ms: FloatArray
    lower_ms: FloatArray
    upper_ms: FloatArray
    spread_ms: FloatArray


class PairPredictor:
    """A predictor fitted to measured models that are given as operators with counts; made by `fit`.

    `distrusted` are the pairs, wrong by orders of magnitude, that it was fitted without, by their place in the list.
    """

    def __init__(
        self,
        pairs: "Pairs",
        weights: FloatArray,
        trust: FloatArray,
        intervals: Intervals,
        distrusted: tuple[Distrusted, ...] = (),
        reach: Reach = Reach(),  # noqa: B008  (frozen)
    ) -> None:
        self.pairs, self.weights, self.trust, self.intervals = pairs, weights, trust, intervals
        self.distrusted, self.reach = distrusted, reach
        covariance = prior.combined(pairs.parts(), weights) + likelihood.noise(weights, trust)
        self.factor = linalg.cholesky(covariance, lower=True)
        self.alpha = linalg.cho_solve((self.factor, True), pairs.target)

    @classmethod
    def fit(
        cls, models: Sequence[Counted], measured_ms: ArrayLike, level: float = 0.9, seed: int = 0
    ) -> "PairPredictor":
        """From n models as (operator, count) pairs and their latencies (n,) in ms; n >= 3."""
        return cls._fitted(models, measured_ms, level, seed, None)

    def calibrate(self, models: Sequence[Counted], measured_ms: ArrayLike, seed: int = 0) -> "PairPredictor":
        """A predictor for the device that these n >= 3 models were measured on, in ms; 10 to 20 of them do.

        What this predictor says of its own device becomes part of the prior mean; the intervals are fitted to the new
        measurements alone.
        """
        return self._fitted(models, measured_ms, self.intervals.level, seed, self)

    @classmethod
    def _fitted(
        cls,
        models: Sequence[Counted],
        measured_ms: ArrayLike,
        level: float,
        seed: int,
        centre: "PairPredictor | None",
    ) -> "PairPredictor":
        seconds = np.asarray(measured_ms, dtype=np.float64) / 1e3
        if seconds.shape != (len(models),) or len(models) < 3 or not (np.isfinite(seconds) & (seconds > 0)).all():
            raise InputError(f"expected three or more models with one positive latency in ms each; got {len(models)}")
        lowered = Lowered.of_operators(models)
        lies, times = Pairs.of(lowered, seconds, centre).lying()
        sound = np.flatnonzero(~lies)
        fitted = cls._weighed(_only(lowered, sound), seconds[sound], level, seed, centre)
        fitted.distrusted = tuple(
            Distrusted(f"pair {i} of {len(models)}, {seconds[i] * 1e3:g} ms", float(times[i]))
            for i in np.flatnonzero(lies).tolist()
        )
        residual, spread = fitted._left_out()
        if len(sound) <= MOST_REFITTED:  # the weights were chosen on the same models, which matters with a few
            residual, spread = _refitted(fitted, seed)
        fitted.intervals = Intervals.fit(residual, spread / fitted._typical(), level)
        fitted.reach = _reach(fitted, seed)
        return fitted

    @classmethod
    def _weighed(
        cls, lowered: Lowered, seconds: FloatArray, level: float, seed: int, centre: "PairPredictor | None"
    ) -> "PairPredictor":
        """With intervals that know of no error yet."""
        pairs = Pairs.of(lowered, seconds, centre)
        weights = pairs.few(seed).weigh()
        return cls(pairs, weights, pairs.believe(weights), Intervals.fit([], [], level))

    def predict(self, architectures: Sequence[Architecture], serving: Serving) -> PairPrediction:
        """Latency of n architectures, as the pairs were served."""
        return self._predicted(Lowered.of(architectures, serving))

    def predict_operators(self, models: Sequence[Counted]) -> PairPrediction:
        """Latency of n models that are given as operators with counts."""
        return self._predicted(Lowered.of_operators(models))

    def compile(self, space: SearchSpace, serving: Serving) -> "CompiledPairs":
        """The same latency as a function of codes, some thousand a second: its covariance folds into no table."""
        return CompiledPairs(self, space, serving)

    def _predicted(self, lowered: Lowered) -> PairPrediction:
        mean, spread = self._posterior(lowered)
        scale = self._scale(mean, spread)
        factor, mean_ms = self.intervals.factor(scale), mean * 1e3
        return PairPrediction(mean_ms, mean_ms / factor, mean_ms * factor, mean_ms * self.intervals.deviation(scale))

    def observe(self, model: Counted, measured_ms: float) -> bool:
        """Adapt the intervals, in place, to one measured model that a search had picked; whether its interval held."""
        mean, spread = self._posterior(Lowered.of_operators([model]))
        if not (np.isfinite(measured_ms) and measured_ms > 0):
            raise InputError(f"expected a positive latency in ms; got {measured_ms}")
        return self.intervals.observe(float(np.log(measured_ms / (1e3 * mean[0]))), float(self._scale(mean, spread)[0]))

    def save(self, folder: Path | str) -> Path:
        """Write `pairs.json` into a folder; returns it."""
        from .storage import save

        return save(self, Path(folder))

    @classmethod
    def load(cls, folder: Path | str) -> "PairPredictor":
        """A saved predictor, with the same predictions; `TableError` for foreign, newer or damaged files."""
        from .storage import load

        return load(Path(folder))

    def _posterior(self, new: Lowered) -> tuple[FloatArray, FloatArray]:
        """Seconds (n,) and their relative standard deviation (n,), noise included."""
        pairs, plain = self.pairs, self.pairs.plain(new)
        between = prior.parts(new, pairs.lowered, plain, pairs.scale, pairs.units)
        cross = prior.combined(between, self.weights)
        mean = plain * np.clip(1.0 + cross @ self.alpha, 1.0 / MOST_OFF, MOST_OFF)
        half = linalg.solve_triangular(self.factor, cross.T, lower=True)
        variance = prior.variances(new, plain, pairs.units, self.weights) - (half**2).sum(axis=0)
        return mean, np.sqrt(np.maximum(variance, 0.0) + self.weights[-1]) * plain / mean

    def _left_out(self) -> tuple[FloatArray, FloatArray]:
        """Log residuals (n,) and standard deviations (n,) of every model, predicted without it: closed form."""
        precision = np.diag(linalg.cho_solve((self.factor, True), np.eye(len(self.alpha))))
        measured = 1.0 + self.pairs.target
        predicted = np.clip(measured - self.alpha / precision, 1.0 / MOST_OFF, MOST_OFF)
        variance = 1.0 / precision + self.weights[-1] * (1.0 - 1.0 / self.trust)
        return np.log(measured / predicted), np.sqrt(np.maximum(variance, self.weights[-1])) / predicted

    def _scale(self, seconds: FloatArray, spread: FloatArray) -> FloatArray:
        """Scale (n,) of the intervals of predicted seconds (n,) with standard deviations (n,)."""
        scale: FloatArray = np.hypot(np.maximum(spread / self._typical(), 1e-3), self.reach.growth(seconds))
        return scale

    def _typical(self) -> float:
        return float(np.sqrt(self.weights[-1] + self.weights[-2]))


@dataclass(frozen=True)
class CompiledPairs:
    """Latency over one space and serving: codes (n, d) to ms (n,), equal to `PairPredictor.predict`."""

    predictor: PairPredictor
    space: SearchSpace
    serving: Serving

    def __call__(self, codes: Codes) -> FloatArray:
        """Mean latency (n,) in ms."""
        return self._each(codes, lambda prediction: prediction.mean_ms)

    def spread(self, codes: Codes) -> FloatArray:
        """Standard deviation (n,) in ms."""
        return self._each(codes, lambda prediction: prediction.spread_ms)

    def upper(self, codes: Codes) -> FloatArray:
        """Upper bound (n,) of the interval in ms: what a limit is held against."""
        return self._each(codes, lambda prediction: prediction.upper_ms)

    def _each(self, codes: Codes, figure: Callable[[PairPrediction], FloatArray]) -> FloatArray:
        check_codes(codes, self.space)
        out = np.empty(len(codes))
        for start in range(0, len(codes), CHUNK):
            members = self.space.decode(codes[start : start + CHUNK])
            out[start : start + CHUNK] = figure(self.predictor.predict(members, self.serving))
        return out


@dataclass(frozen=True)
class Pairs:
    """n models with measured `seconds` (n,), the `rates` (k,) of the prior mean, and what it says, `scale` (n,).

    The prior mean adds up launching, computing, moving, and where there is a `centre`, a predictor of another device,
    what that says times `pace`.
    """

    lowered: Lowered
    seconds: FloatArray
    units: FloatArray
    rates: FloatArray
    centre: PairPredictor | None = None
    pace: float = 1.0

    @classmethod
    def of(cls, lowered: Lowered, seconds: FloatArray, centre: PairPredictor | None = None) -> "Pairs":
        """With rates that outliers do not move."""
        pace = float(np.median(seconds / centre._posterior(lowered)[0])) if centre else 1.0
        pairs = cls(lowered, seconds, prior.units(lowered, seconds), np.ones(3 + (centre is not None)), centre, pace)
        totals, trust = pairs._totals(lowered), np.ones(len(seconds))
        for _ in range(likelihood.ITERATIONS):
            rates = prior.rates(totals, seconds, trust)
            off = np.log(seconds / (totals @ rates))
            spread = max(1.4826 * float(np.median(np.abs(off))), 1e-6)
            trust = likelihood.student((off / spread) ** 2)
        return replace(pairs, rates=rates)

    def lying(self) -> tuple[NDArray[np.bool_], FloatArray]:
        """Which pairs are wrong by orders of magnitude (n,), and how many times the expected time they claim (n,)."""
        totals = self._totals(self.lowered)

        def refit(seconds: FloatArray) -> FloatArray:
            rates: FloatArray = totals @ prior.rates(totals, seconds, np.ones(len(seconds)))
            return rates

        return lying(self.seconds, totals.mean(axis=1), refit, MODEL_FACTOR)

    @cached_property
    def scale(self) -> FloatArray:
        """s (n,)."""
        return self.plain(self.lowered)

    @property
    def target(self) -> FloatArray:
        """(n,): measured seconds relative to the prior mean, minus 1."""
        off: FloatArray = self.seconds / self.scale - 1.0
        return off

    def plain(self, lowered: Lowered) -> FloatArray:
        """Seconds (n,) of models by the prior mean."""
        seconds: FloatArray = self._totals(lowered) @ self.rates
        return seconds

    def _totals(self, lowered: Lowered) -> FloatArray:
        """What the rates (k,) are of, (n, k) in seconds."""
        physics = lowered.sums(prior.terms(lowered.distinct, self.units))
        if self.centre is None:
            return physics
        return np.hstack([physics, self.pace * self.centre._posterior(lowered)[0][:, None]])

    def parts(self) -> list[FloatArray]:
        """Parts of the prior covariance of the models' relative seconds, each (n, n)."""
        return prior.parts(self.lowered, self.lowered, self.scale, self.scale, self.units)

    def few(self, seed: int) -> "Pairs":
        """At most `MOST` of the models, chosen at random."""
        n = len(self.seconds)
        if n <= MOST:
            return self
        rows = np.sort(np.random.default_rng(seed).choice(n, MOST, replace=False))
        return replace(self, lowered=_only(self.lowered, rows), seconds=self.seconds[rows])

    def weigh(self) -> FloatArray:
        """The weights of largest marginal likelihood, given the trust in each pair that goes with them."""
        return likelihood.weigh(self.parts(), self.target)

    def believe(self, weights: FloatArray) -> FloatArray:
        """Trust (n,) in each pair under given weights."""
        return likelihood.believe(self.parts(), self.target, weights)


def _refitted(fitted: PairPredictor, seed: int) -> tuple[FloatArray, FloatArray]:
    """Log residuals (n,) and standard deviations (n,) of every model, everything fitted anew without its fold."""
    pairs = fitted.pairs
    n = len(pairs.seconds)
    fold = np.random.default_rng(seed).permutation(n) % min(FOLDS, n // 2)
    residual, spread = np.empty(n), np.empty(n)
    for index in range(fold.max() + 1):
        held, rest = np.flatnonzero(fold == index), np.flatnonzero(fold != index)
        if len(rest) < 2:
            held, rest = np.arange(n), np.arange(n)
        lowered, level = _only(pairs.lowered, rest), fitted.intervals.level
        again = PairPredictor._weighed(lowered, pairs.seconds[rest], level, seed, pairs.centre)
        mean, spread[held] = again._posterior(_only(pairs.lowered, held))
        residual[held] = np.log(pairs.seconds[held] / mean)
    return residual, spread


def _reach(fitted: PairPredictor, seed: int) -> Reach:
    """How far a fit carries, told by fits to parts of at most `MOST_REFITTED` of its pairs."""
    pairs, level, n = fitted.pairs, fitted.intervals.level, len(fitted.pairs.seconds)
    some = np.sort(np.random.default_rng(seed).permutation(n)[:MOST_REFITTED])

    def refitted(rest: NDArray[np.int64], held: NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
        part = _only(pairs.lowered, some[rest])
        again = PairPredictor._weighed(part, pairs.seconds[some[rest]], level, seed, pairs.centre)
        seconds, spread = again._posterior(_only(pairs.lowered, some[held]))
        return seconds, fitted.intervals.quantile * spread / fitted._typical()

    reach = Reach.fit(pairs.seconds[some], refitted, level).in_units_of(fitted.intervals.quantile)
    return replace(reach, low=float(pairs.seconds.min()), high=float(pairs.seconds.max()))


def _only(lowered: Lowered, rows: NDArray[np.int64]) -> Lowered:
    return Lowered(lowered.distinct, tuple(lowered.parts[i] for i in rows.tolist()))
