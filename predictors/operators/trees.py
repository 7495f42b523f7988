"""XGBoost on log utilisation, starting from the laws, and how many trees help on shapes never seen.

Trees learn log(roofline / measured) with the law's log utilisation as base margin: what they add up to is a factor
on the law's seconds. They are constant outside what they were trained on. One thread, no sampling: the same
table gives the same trees.
"""

from collections.abc import Sequence

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray

from distilsearch.arrays import FloatArray
from distilsearch.operators import Operator

from . import features
from .features import Sample, Setting
from .roofline import Ceilings, Laws, by_law, fit_laws, seconds

ROUNDS = (0, 10, 25, 50, 100, 150)
DEEP_ROUNDS = (0, 50, 150, 300)
MANY = 1000  # samples from which more and deeper trees pay
FOLDS = 5
UNVALIDATED = 0.3  # log spread of unmeasured operators where too few shapes were measured to tell
PARAMETERS = {
    "objective": "reg:squarederror",
    "base_score": 0.0,
    "eta": 0.1,
    "max_depth": 4,
    "lambda": 1.0,
    "tree_method": "exact",
    "nthread": 1,
}


def boost(samples: Sequence[Sample], ceilings: Ceilings, laws: Laws, rounds: int, seed: int) -> xgb.Booster:
    """`rounds` trees trained on all samples."""
    rows, base, target = _table(samples, ceilings, laws)
    size = {"max_depth": 6, "tree_method": "hist"} if len(samples) >= MANY else {}
    return xgb.train({**PARAMETERS, **size, "seed": seed}, _data(rows, base, target), num_boost_round=rounds)


def correction(
    booster: xgb.Booster, operators: Sequence[Operator], terms: FloatArray, law: FloatArray, setting: Setting
) -> FloatArray:
    """The factor (n,) on the law's seconds (n,) of n operators with the roofline terms (n, 3).

    Trees see the columns that they were trained with: those that came later are none of theirs.
    """
    roof = seconds(terms)
    base = np.log(roof / law).astype(np.float32)
    columns = booster.feature_names or features.names()
    rows = features.matrix(operators, roof, setting)[:, [features.names().index(name) for name in columns]]
    margin = booster.predict(_data(rows, base, columns=columns), output_margin=True)
    factor: FloatArray = np.exp(base.astype(np.float64) - margin)
    return factor


def choose(samples: Sequence[Sample], ceilings: Ceilings, seed: int) -> tuple[int, dict[str, float]]:
    """The number of trees with the least mean error on left-out shapes, and the spread of each kind with them.

    A spread is a root mean square error in logs, shrunk towards UNVALIDATED where few operators tell; the mean of
    absolute errors chooses, so that one odd operator does not choose for all. Below ten shapes: no trees.
    """
    residuals = left_out(samples, ceilings, seed)
    if residuals is None:
        return 0, dict.fromkeys((sample.operator.kind for sample in samples), UNVALIDATED)
    best = int(np.argmin(np.abs(residuals).mean(axis=1)))
    kinds = np.array([sample.operator.kind for sample in samples])
    spreads = {}
    for kind in np.unique(kinds).tolist():
        squares = residuals[best, kinds == kind] ** 2
        spreads[kind] = float(np.sqrt((squares.sum() + UNVALIDATED**2) / (len(squares) + 1)))
    return _rounds(len(samples))[best], spreads


def left_out(samples: Sequence[Sample], ceilings: Ceilings, seed: int = 0) -> FloatArray | None:
    """log(measured / predicted), (rounds, n), of every sample, trained without any sample of its shape.

    A shape is an operator without its batch and sequence: neighbours in token count would tell too much. None below
    ten shapes.
    """
    shapes = [_shape(sample.operator) for sample in samples]
    distinct = sorted(set(shapes))
    if len(distinct) < 2 * FOLDS:
        return None
    order = np.random.default_rng(seed).permutation(len(distinct)) % FOLDS
    fold_of = dict(zip(distinct, order.tolist(), strict=True))
    fold = np.array([fold_of[shape] for shape in shapes])
    residuals = np.empty((len(_rounds(len(samples))), len(samples)))
    for index in range(FOLDS):
        train = [sample for sample, f in zip(samples, fold, strict=True) if f != index]
        held = [sample for sample, f in zip(samples, fold, strict=True) if f == index]
        residuals[:, fold == index] = _fold(train, held, ceilings, seed, _rounds(len(samples)))
    return residuals


def _rounds(n: int) -> tuple[int, ...]:
    """The numbers of trees that are tried on n samples."""
    return DEEP_ROUNDS if n >= MANY else ROUNDS


def _fold(
    train: Sequence[Sample], held: Sequence[Sample], ceilings: Ceilings, seed: int, tried: Sequence[int]
) -> FloatArray:
    """Log residuals (len(tried), len(held)) for every number of trees."""
    laws = fit_laws(train, ceilings)
    booster = boost(train, ceilings, laws, tried[-1], seed)
    rows, base, target = _table(held, ceilings, laws)
    data = _data(rows, base)
    guesses = [
        booster.predict(data, output_margin=True, iteration_range=(0, rounds)) if rounds else base for rounds in tried
    ]
    return np.asarray(guesses, dtype=np.float64) - target


def _table(samples: Sequence[Sample], ceilings: Ceilings, laws: Laws) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Features (n, d), log utilisation (n,) by law and as measured."""
    rows = np.empty((len(samples), len(features.names())))
    law, roof = np.empty(len(samples)), np.empty(len(samples))
    settings = {sample.setting for sample in samples}
    for setting in settings:
        own = [index for index, sample in enumerate(samples) if sample.setting == setting]
        operators = [samples[index].operator for index in own]
        terms = ceilings.terms(operators, setting)
        roof[own], law[own] = seconds(terms), by_law(operators, terms, setting, laws)[0]
        rows[own] = features.matrix(operators, roof[own], setting)
    measured = np.array([sample.seconds for sample in samples])
    return rows, np.log(roof / law), np.log(roof / measured)


def _data(
    rows: FloatArray,
    base: NDArray[np.floating],
    target: FloatArray | None = None,
    columns: Sequence[str] | None = None,
) -> xgb.DMatrix:
    """Rows (n, d) for XGBoost; `columns` (d,) are those of `features.names` unless told."""
    return xgb.DMatrix(rows, label=target, base_margin=base, feature_names=columns or features.names(), nthread=1)


def _shape(operator: Operator) -> str:
    sizes = [f"{name}={value}" for name, value in operator.sizes.items() if name not in ("batch", "sequence")]
    return f"{operator.kind}({','.join(sizes)})"
