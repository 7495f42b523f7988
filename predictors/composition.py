"""From operators to whole models: a small non-negative fit of operator-group sums, with a prior.

Operators do not add up: in a model they find other data in the caches, run between other kernels, and the host pays
for every call. The correction is kept linear in sums over operators, so that it folds into look-up tables, and non-
negative, so that more work never takes less time. Its prior is a little more than the plain sum: each coefficient
shrinks towards a common factor, and that factor towards 1. With no measured model the prior answers, with three
mainly the common factor is learnt, with twenty the groups come apart. Relative errors are weighted, not seconds,
and outliers are down-weighted (Huber).

    S_g   sum of the operator seconds of group g            N   number of operator calls
    w     seconds of moving all weights once                g   common factor, shrunk towards 1
    t     = sum_g c_g S_g + c_w w + c_n l N + c_0 l,        c >= 0,   l the launch floor
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from distilsearch.arrays import FloatArray
from distilsearch.operators import DTYPE_BYTES, PHASES, Operator, Serving

from .operators.features import Setting
from .operators.roofline import Ceilings
from .reading import checked
from .uncertainty import liars
from .uncertainty.reach import Reach

GROUPS = {
    "linear": "matrix",
    "attention": "attention",
    "rotary": "attention",
    "norm": "pointwise",
    "gate": "pointwise",
    "embedding": "ends",
    "pooling": "ends",
    "head": "head",
}
SUMS = ("matrix", "attention", "pointwise", "ends", "head")
COLUMNS = (*SUMS, "weights", "calls", "model")
PRIOR = np.array([1.1, 1.2, 1.1, 1.2, 1.1, 0.0, 1.0, 10.0])  # what eager models take more than their operators
SPREAD = np.array([0.25, 0.35, 0.5, 0.5, 0.25, 1.0, 10.0, 20.0])  # standard deviation of each coefficient: eager calls
# take tens of launches, and weights that come from afar as long as several copies in the cache
COMMON_SPREAD = 0.4
PADDED = "padded"
COMPOSED = (*PHASES, PADDED)  # of servings that have a composition of their own in each setting
NOISE = 0.03
HUBER = 2.0
ITERATIONS = 4


def composed_as(serving: Serving) -> str:
    """Which composition a serving has: that of its phase, or of padded batches, where attention reads a mask."""
    padded = serving.padded or (serving.lengths is not None and serving.batch > 1)
    return PADDED if padded else serving.phase


def columns(operators: Sequence[Operator], seconds: FloatArray, ceilings: Ceilings, setting: Setting) -> FloatArray:
    """What one call of each of n operators adds to the columns, (n, len(COLUMNS)), in seconds; `model` stays 0."""
    _, bandwidth, launch = ceilings.of(setting)
    out = np.zeros((len(operators), len(COLUMNS)))
    for index, operator in enumerate(operators):
        out[index, COLUMNS.index(GROUPS[operator.kind])] = seconds[index]
        if operator.kind == "linear":
            out[index, COLUMNS.index("weights")] = operator.parameters * DTYPE_BYTES[setting.dtype] / bandwidth
    out[:, COLUMNS.index("calls")] = launch
    return out


@dataclass(frozen=True)
class Composition:
    """Coefficients (len(COLUMNS),) of the columns; `models` is how many measured models they rest on.

    `floor` is the share of the operators' rooflines that no measured model went below, `reach` the range that was
    measured and how errors grow beyond it, as log spread per log distance.
    """

    coefficients: tuple[float, ...]
    models: int = 0
    floor: float = 1.0
    reach: Reach = field(default_factory=Reach)

    @classmethod
    def prior(cls) -> "Composition":
        """What is assumed of models when none was measured."""
        return cls(tuple(PRIOR.tolist()))

    @classmethod
    def fit(
        cls, sums: FloatArray, least: FloatArray, measured: FloatArray, centre: "Composition | None" = None
    ) -> "Composition":
        """From column sums (n, len(COLUMNS)), sums of rooflines (n,) and measured seconds (n,) of n models.

        `centre` replaces the prior, up to a factor: the composition of another device.
        """
        if not len(measured):
            return centre or cls.prior()
        middle = np.asarray((centre or cls.prior()).coefficients)
        ratio = float(np.median(measured / (sums @ middle))) if centre else 1.0
        weights = np.ones(len(measured))
        solution = middle
        for _ in range(ITERATIONS):
            solution = _solve(sums, measured, middle * ratio, ratio, weights)
            off = np.abs(sums @ solution / measured - 1.0) / NOISE
            weights = np.minimum(1.0, HUBER / np.maximum(off, 1e-9))
        return cls(tuple(solution.tolist()), len(measured), min(1.0, float((measured / least).min())))

    def per_operator(self, columns: FloatArray, least: FloatArray, spread: FloatArray) -> FloatArray:
        """Figures (n, 3) of n operators that add up to a model's: seconds, seconds x log spread, least seconds."""
        value = columns @ np.asarray(self.coefficients)
        return np.stack([value, value * spread, least * self.floor], axis=1)

    def finish(self, totals: FloatArray, launch: float) -> tuple[FloatArray, FloatArray]:
        """From summed figures (n, 3): seconds (n,) of whole models, and the log spread (n,) that operators cause.

        The spread is the mean of the operators' own, weighted with their shares of the latency (operators of one kind
        err together), and grows beyond the measured range.
        """
        value = totals[:, 0] + self.coefficients[-1] * launch
        mean = np.maximum(value, totals[:, 2])
        return mean, np.hypot(totals[:, 1] / value, self.reach.growth(mean))

    def scaled(self, factor: float) -> "Composition":
        """The same composition on a machine that takes `factor` times as long."""
        coefficients = tuple(c * factor for c in self.coefficients)
        return replace(self, coefficients=coefficients, reach=self.reach.scaled(factor))

    def to_json(self) -> dict[str, Any]:
        """Coefficients by column name."""
        named = dict(zip(COLUMNS, self.coefficients, strict=True))
        reach = self.reach.to_json()
        more = {} if reach is None else {"reach": reach}
        return {"coefficients": named, "models": self.models, "floor": self.floor, **more}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Composition":
        """The inverse of `to_json`; `ValueError` where it makes no sense."""
        named = checked.fields("a composition", data["coefficients"], COLUMNS)
        coefficients = tuple(checked.number(named[name], 0.0) for name in COLUMNS)
        reach = Reach.from_json(data.get("reach"))
        return cls(coefficients, checked.whole(data["models"]), checked.number(data["floor"], 0.0), reach)


def lying(
    sums: FloatArray, least: FloatArray, measured: FloatArray, centre: Composition | None = None
) -> tuple[NDArray[np.bool_], FloatArray]:
    """Which of n measured models are wrong by orders of magnitude (n,), and how many times the expected time (n,)."""

    def refit(seconds: FloatArray) -> FloatArray:
        fitted = Composition.fit(sums, least, seconds, centre)
        whole: FloatArray = sums @ np.asarray(fitted.coefficients)
        return whole

    middle = np.asarray((centre or Composition.prior()).coefficients)
    if centre is not None and len(measured) < liars.FEWEST:  # another device may be slower by any factor
        return np.zeros(len(measured), dtype=np.bool_), np.ones(len(measured))
    return liars.lying(measured, sums @ middle, refit, liars.MODEL_FACTOR)


def left_out(
    sums: FloatArray,
    least: FloatArray,
    measured: FloatArray,
    groups: Sequence[str],
    centre: Composition | None = None,
    folds: int = 60,
) -> FloatArray:
    """Log residuals (n,) log(measured / predicted) of each model, fitted without any model of its group.

    Each group is left out by itself, or, where there are more than `folds` of them, with every `folds`-th other.
    """
    fold_of = {group: index % folds for index, group in enumerate(dict.fromkeys(groups))}
    fold = np.array([fold_of[group] for group in groups], dtype=np.int64)
    residuals = np.empty(len(measured))
    for index in np.unique(fold):
        held = fold == index
        fitted = Composition.fit(sums[~held], least[~held], measured[~held], centre)
        guess = np.maximum(sums[held] @ np.asarray(fitted.coefficients), least[held] * fitted.floor)
        residuals[held] = np.log(measured[held] / guess)
    return residuals


def _solve(sums: FloatArray, measured: FloatArray, middle: FloatArray, scale: float, weights: FloatArray) -> FloatArray:
    """Penalised relative least squares over (coefficients, common factor), all non-negative."""
    k = len(COLUMNS)
    root = np.sqrt(weights)[:, None] / NOISE
    data = np.hstack([sums / measured[:, None] * root, np.zeros((len(measured), 1))])
    spread = SPREAD * scale
    # each coefficient is drawn to (common factor x its middle), the common factor to 1
    shrink = np.hstack([np.diag(1.0 / spread), (-middle / spread)[:, None]])
    common = np.zeros((1, k + 1))
    common[0, k] = 1.0 / COMMON_SPREAD
    target = np.concatenate([root[:, 0], np.zeros(k), [1.0 / COMMON_SPREAD]])
    solution, _ = nnls(np.vstack([data, shrink, common]), target)
    return np.asarray(solution[:k], dtype=np.float64)
