"""The least time an operator can take, and a three-term law of how long its kind takes in fact.

The roofline is the largest of starting, computing at the measured peak, and moving every byte once at the measured
bandwidth. The law adds up what the roofline takes the maximum of, plus a start-up time, with one non-negative
coefficient each, fitted to the relative errors of the measured operators of one kind: smooth, positive, right in
its limits, and therefore what carries a prediction outside the measured range. Where fewer than three operators
were measured the prior decides.

    F, B     FLOPs and bytes of an operator          P, W   peak FLOP/s and bandwidth
    l        launch floor of the device in seconds   roofline = max(l, F / P, B / W)
    law      t = c0 l + c1 F / P + c2 B / W,         c >= 0
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from distilsearch.arrays import FloatArray
from distilsearch.errors import LackingError
from distilsearch.operators import Operator
from distilsearch.profiling.tables.rows import Roof

from ..uncertainty.liars import FACTOR, Distrusted, lying
from .features import Sample, Setting

PRIOR = np.array([4.0, 1.5, 1.5])
PRIOR_SPREAD = np.array([8.0, 3.0, 3.0])
RELATIVE_NOISE = 0.1


@dataclass(frozen=True)
class Ceilings:
    """Measured limits of a device, by (dtype, threads)."""

    roofs: Mapping[tuple[str, int], Roof]

    def of(self, setting: Setting) -> Roof:
        """(P, W, l) of a setting; where its thread count was not measured, the best of its dtype.

        Raises `LackingError` where the dtype was not measured at all.
        """
        same = {threads: roof for (dtype, threads), roof in self.roofs.items() if dtype == setting.dtype}
        if not same:
            dtypes = ", ".join(sorted({dtype for dtype, _ in self.roofs})) or "none"
            lacks = f"the latency table has no measured peak for {setting.dtype} (it has {dtypes})"
            raise LackingError(lacks, setting.cure)
        return same.get(setting.threads) or max(same.values())

    def terms(self, operators: Sequence[Operator], setting: Setting) -> FloatArray:
        """(n, 3) seconds: launch, computing at the peak, moving every byte once."""
        work = np.array([operator.flops for operator in operators], dtype=np.float64)
        moved = np.array([operator.bytes(setting.dtype) for operator in operators], dtype=np.float64)
        return np.stack(np.broadcast_arrays(*self.of(setting).terms(work, moved)), axis=1)


def seconds(terms: FloatArray) -> FloatArray:
    """Roofline seconds (n,) of the terms (n, 3)."""
    roof: FloatArray = np.maximum(terms.max(axis=1), 1e-12)
    return roof


@dataclass(frozen=True)
class Law:
    """The coefficients c of one kind, and `floor`: the share of the roofline that no measured operator went below."""

    coefficients: tuple[float, float, float]
    floor: float = 1.0

    @classmethod
    def fit(cls, terms: FloatArray, measured: FloatArray) -> "Law":
        """From terms (n, 3) and measured seconds (n,), n >= 0: least relative squares with a prior, c >= 0."""
        data = terms / measured[:, None] / RELATIVE_NOISE
        design = np.vstack([data, np.diag(1.0 / PRIOR_SPREAD)])
        target = np.concatenate([np.full(len(measured), 1.0 / RELATIVE_NOISE), PRIOR / PRIOR_SPREAD])
        solution, _ = nnls(design, target)
        fastest = float((measured / seconds(terms)).min()) if len(measured) else 1.0
        if not solution.any():
            solution = PRIOR
        return cls((float(solution[0]), float(solution[1]), float(solution[2])), min(1.0, fastest))

    def seconds(self, terms: FloatArray) -> FloatArray:
        """Seconds (n,) by the law, never below the floor."""
        value: FloatArray = np.maximum(terms @ np.asarray(self.coefficients), self.least(terms))
        return value

    def least(self, terms: FloatArray) -> FloatArray:
        """Seconds (n,) that nothing of this kind goes below."""
        least: FloatArray = seconds(terms) * self.floor
        return least


Laws = Mapping[tuple[Setting, str], Law]
UNMEASURED = Law((float(PRIOR[0]), float(PRIOR[1]), float(PRIOR[2])))


def fit_laws(samples: Sequence[Sample], ceilings: Ceilings) -> dict[tuple[Setting, str], Law]:
    """One law per setting and kind, in a fixed order."""
    laws = {}
    for (setting, kind), members in _grouped(samples).items():
        laws[setting, kind] = Law.fit(_terms(members, ceilings), _seconds(members))
    return laws


def believable(samples: Sequence[Sample], ceilings: Ceilings) -> tuple[list[Sample], tuple[Distrusted, ...]]:
    """The samples without those that no law of their kind can explain, and those."""
    liars: dict[Sample, float] = {}
    paces: dict[Setting, list[FloatArray]] = {}
    for (setting, _), members in (groups := _grouped(samples)).items():
        paces.setdefault(setting, []).append(_seconds(members) / UNMEASURED.seconds(_terms(members, ceilings)))
    for (setting, _), members in groups.items():
        terms, pace = _terms(members, ceilings), float(np.median(np.concatenate(paces[setting])))

        def refit(seconds: FloatArray, terms: FloatArray = terms) -> FloatArray:
            return Law.fit(terms, seconds).seconds(terms)

        lies, times = lying(_seconds(members), pace * UNMEASURED.seconds(terms), refit, FACTOR)
        liars |= {members[index]: float(times[index]) for index in np.flatnonzero(lies).tolist()}
    distrusted = (Distrusted(f"{s.operator.signature} {s.setting}", times) for s, times in liars.items())
    return [sample for sample in samples if sample not in liars], tuple(distrusted)


def _grouped(samples: Sequence[Sample]) -> dict[tuple[Setting, str], list[Sample]]:
    """By setting and kind, in a fixed order."""
    groups: dict[tuple[Setting, str], list[Sample]] = {}
    for sample in samples:
        groups.setdefault((sample.setting, sample.operator.kind), []).append(sample)
    return dict(sorted(groups.items(), key=lambda item: repr(item[0])))


def _seconds(members: Sequence[Sample]) -> FloatArray:
    return np.array([member.seconds for member in members])


def _terms(members: Sequence[Sample], ceilings: Ceilings) -> FloatArray:
    return ceilings.terms([member.operator for member in members], members[0].setting)


def by_law(
    operators: Sequence[Operator], terms: FloatArray, setting: Setting, laws: Laws
) -> tuple[FloatArray, FloatArray]:
    """Seconds (n,) of operators with terms (n, 3) by the laws of their kinds, and the least they can be (n,)."""
    value, least = np.empty(len(operators)), np.empty(len(operators))
    kinds = np.array([operator.kind for operator in operators])
    for kind in np.unique(kinds):
        law, own = laws.get((setting, str(kind)), UNMEASURED), kinds == kind
        value[own], least[own] = law.seconds(terms[own]), law.least(terms[own])
    return value, least
