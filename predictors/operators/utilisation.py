"""Seconds of single operators: measured ones as measured, the others by a law and by trees on what the law leaves.

Every operator has a tier: `exact` (measured), `interpolated` (within the measured sizes of its kind),
`extrapolated` (outside, or with a choice nobody measured), `analytic` (the table has no operators at all, only the
ceilings of the device). Outside the measured range the trees keep the nearest utilisation and the law scales it.
How many trees help is decided by predicting whole shapes that were left out; with few rows it is often none.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray

from distilsearch.arrays import FloatArray
from distilsearch.errors import LackingError
from distilsearch.operators import Operator

from ..uncertainty.liars import Distrusted
from . import features, trees
from .features import Sample, Setting
from .roofline import UNMEASURED, Ceilings, Law, believable, by_law, fit_laws

IntArray = NDArray[np.int64]

TIERS = ("exact", "interpolated", "extrapolated", "analytic")
EXACT, INTERPOLATED, EXTRAPOLATED, ANALYTIC = range(len(TIERS))
WIDER = np.array([0.0, 1.0, 2.0, 4.0])  # by tier: how many times the left-out error of its kind a prediction errs
LEAST_SPREAD = 0.02
FARTHER = 0.25  # by each power of two outside the measured sizes, as a share of the spread just outside


@dataclass(frozen=True)
class Estimates:
    """Of n operators: `seconds`, `least` seconds they cannot go below, `tier` as index into TIERS, log `spread`.

    The spread is what predicting an operator adds to the error of a model: 0 for measured ones, and of those outside
    the measured sizes the more the farther they are.
    """

    seconds: FloatArray
    least: FloatArray
    tier: IntArray
    spread: FloatArray


@dataclass
class OperatorModel:
    """A fitted model of operator seconds.

    `laws` are per (setting, kind); `booster` is None where trees do not help; `spreads` are the log errors of each kind
    on left-out shapes. `distrusted` are the measurements that the fit has left out.
    """

    ceilings: Ceilings
    samples: tuple[Sample, ...]
    laws: dict[tuple[Setting, str], Law]
    booster: xgb.Booster | None
    spreads: dict[str, float]
    distrusted: tuple[Distrusted, ...] = ()
    exact: dict[tuple[Setting, str], float] = field(init=False)
    ranges: dict[tuple[Setting, tuple[str, ...]], FloatArray] = field(init=False)

    def __post_init__(self) -> None:
        self.exact = {(s.setting, s.operator.signature): s.seconds for s in self.samples}
        self.ranges = _ranges(self.samples)

    @classmethod
    def fit(cls, samples: Sequence[Sample], ceilings: Ceilings, seed: int = 0) -> "OperatorModel":
        """From measured operators, in any order; without any the law's prior answers and every tier is analytic."""
        ordered = sorted(samples, key=lambda s: (s.operator.signature, str(s.setting)))
        samples, liars = believable(ordered, ceilings)
        untold = {(s.setting, s.operator.kind): UNMEASURED for s in ordered}  # kinds of liars alone
        laws = untold | fit_laws(samples, ceilings)
        rounds, spreads = trees.choose(samples, ceilings, seed)
        booster = trees.boost(samples, ceilings, laws, rounds, seed) if rounds else None
        return cls(ceilings, tuple(samples), laws, booster, spreads, liars)

    @property
    def settings(self) -> list[Setting]:
        """The settings that were measured, in a fixed order."""
        return sorted({setting for setting, _ in self.laws}, key=str)

    def check(self, operators: Sequence[Operator], setting: Setting) -> None:
        """Raise a `LackingError` that names the regime or the kinds of operators which the table lacks."""
        if self.samples and setting not in self.settings:
            there = "; ".join(str(other) for other in self.settings)
            raise LackingError(f"the latency table has no rows for {setting} (it has {there})", setting.cure)
        missing = self.missing(operators, setting)
        if missing:
            kinds = {kind for at, kind in self.laws if at == setting}
            raise LackingError(
                f"the latency table has no operators of kind {', '.join(missing)} for {setting} "
                f"(it has {', '.join(sorted(kinds))})",
                f"{setting.cure}; without a --budget or again, for each call goes on",
            )

    def missing(self, operators: Sequence[Operator], setting: Setting) -> list[str]:
        """The kinds among the operators that the table lacks under a setting; none without any measured operators."""
        kinds = {kind for at, kind in self.laws if at == setting}
        return sorted({operator.kind for operator in operators} - kinds) if self.samples else []

    def estimate(self, operators: Sequence[Operator], setting: Setting) -> Estimates:
        """Seconds of n operators under one setting; `LackingError` for kinds or settings that the table lacks."""
        self.check(operators, setting)
        terms = self.ceilings.terms(operators, setting)
        value, least = by_law(operators, terms, setting, self.laws)
        if self.booster is not None and operators:
            value = value * trees.correction(self.booster, operators, terms, value, setting)
        value = np.maximum(value, least)
        places = [self._place(operator, setting) for operator in operators]
        tier = np.array([place[0] for place in places], dtype=np.int64)
        beyond = np.array([place[1] for place in places], dtype=np.float64)
        for index in np.flatnonzero(tier == EXACT).tolist():
            value[index] = self.exact[setting, operators[index].signature]
        kinds = [max(self.spreads.get(o.kind, trees.UNVALIDATED), LEAST_SPREAD) for o in operators]
        return Estimates(
            value, np.minimum(least, value), tier, WIDER[tier] * np.asarray(kinds) * (1.0 + FARTHER * beyond)
        )

    def beyond(self, operators: Sequence[Operator], setting: Setting) -> float:
        """How many times the farthest size of some operators lies outside what was measured; 1 within."""
        return float(2.0 ** max((self._place(operator, setting)[1] for operator in operators), default=0.0))

    def _place(self, operator: Operator, setting: Setting) -> tuple[int, float]:
        """The tier of an operator, and by how many powers of two a size of it lies outside the measured ones."""
        if (setting, operator.signature) in self.exact:
            return EXACT, 0.0
        if not self.samples:
            return ANALYTIC, 0.0
        place, fixed = features.shape(operator)
        limits = self.ranges.get((setting, fixed))
        if limits is None:
            return EXTRAPOLATED, 0.0
        outside = float(np.maximum(limits[0] - place, place - limits[1]).max(initial=0.0))
        return (INTERPOLATED, 0.0) if outside <= 1e-9 else (EXTRAPOLATED, outside)


def _ranges(samples: Sequence[Sample]) -> dict[tuple[Setting, tuple[str, ...]], FloatArray]:
    """Smallest and largest log2 sizes (2, d) measured, for every setting and set of choices."""
    places: dict[tuple[Setting, tuple[str, ...]], list[FloatArray]] = {}
    for sample in samples:
        place, fixed = features.shape(sample.operator)
        places.setdefault((sample.setting, fixed), []).append(place)
    return {key: np.stack([np.min(value, axis=0), np.max(value, axis=0)]) for key, value in places.items()}
