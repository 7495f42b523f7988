"""Latency of architectures nobody has run: operators from a table, composed, with intervals, for one or for millions.

Everything predicted is linear in sums over operators, up to a final maximum with the roofline. So one function from
operators to three figures serves both paths: `predict` adds them up operator by operator, `compile` folds them into
look-up tables over the genes of a space. Latency is that of the undisturbed machine (`seconds_p10`), in milliseconds.

The intervals are the only part that changes in place: `observe` widens or narrows them after each measured winner,
and whatever was compiled before sees it. `fit`, `calibrate` and `load` return new predictors.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from distilsearch.architecture import Architecture
from distilsearch.arrays import FloatArray
from distilsearch.errors import InputError
from distilsearch.lowering import operators, tabulate
from distilsearch.operators import ENCODE, Operator, Serving
from distilsearch.profiling.tables.table import LatencyTable, ModelRow
from distilsearch.space import SearchSpace

from . import composition, source
from .composition import COLUMNS, Composition
from .operators.features import Setting
from .operators.totals import Lowered
from .operators.utilisation import TIERS, OperatorModel
from .prediction import MS, CompiledLatency, Prediction, scale_of
from .told import Sums, Told
from .uncertainty.intervals import Intervals
from .uncertainty.liars import Distrusted

Key = tuple[Setting, str]  # a composition's: setting, and phase or "padded"

WITHIN = 0.2  # log spread of whole models of measured operators, before more than two were measured
LEAST_WITHIN, MOST_WITHIN = 0.01, 0.1
ALONE = 10.0  # where no operator was measured, all are known alike, and models left out tell all that can be told
APART = 0.1  # log spread that a phase adds in which no whole model was measured


class LatencyPredictor:
    """Predicts serving latency on the device of a table; made by `fit`, `calibrate` or `load`.

    `distrusted` are the measurements, wrong by orders of magnitude, that it was fitted without.
    """

    def __init__(
        self,
        model: OperatorModel,
        compositions: dict[Key, Composition],
        intervals: Intervals,
        machine: source.Machine,
        within: float = WITHIN,
        distrusted: tuple[Distrusted, ...] = (),
    ) -> None:
        self.model = model
        self.compositions = compositions
        self.intervals = intervals
        self.machine = machine
        self.within = within
        self.distrusted = distrusted

    @classmethod
    def fit(
        cls, table: LatencyTable, models: Sequence[ModelRow] = (), seed: int = 0, level: float = 0.9
    ) -> "LatencyPredictor":
        """From a latency table and further measured whole models of the same device.

        A table without operator rows is used for its ceilings alone; where it has none either, its whole models imply
        them. Measured models of regimes or operators that the table lacks say nothing of the rest and are left aside,
        and so is what a busy machine measured, where there is something else to go by. `level` is the share of
        measurements that the intervals
        shall hold. Raises `TableError` where the table holds no usable peak.
        """
        machine = source.machine(table)
        model = OperatorModel.fit(source.samples(table, machine), source.ceilings(table, models), seed)
        empty = cls(model, {}, Intervals.fit([], [], level), machine, distrusted=model.distrusted)
        rows = [row for row in (*table.models, *models) if row.measured.usable and empty._covers(row)]
        rows = source.calm_models(rows)
        seconds = np.array([row.measured.seconds_p10 for row in rows])
        return empty._fitted([row.architecture for row in rows], [row.serving for row in rows], seconds)

    def predict(self, architectures: Sequence[Architecture], serving: Serving) -> Prediction:
        """Latency of n architectures; `TableError` names operators or regimes the table lacks: none is skipped."""
        lowered = Lowered.of(architectures, serving)
        mean, scale = self._finished(lowered, serving)
        tier = self.model.estimate(lowered.distinct, self.setting(serving)).tier
        factor = self.intervals.factor(scale)
        return Prediction(
            mean_ms=mean,
            lower_ms=mean / factor,
            upper_ms=mean * factor,
            spread_ms=mean * self.intervals.deviation(scale),
            tier=np.asarray(TIERS)[lowered.worst(tier)],
            p50_ms=self._at(architectures, serving, "p50"),
            p99_ms=self._at(architectures, serving, "p99"),
        )

    def compile(self, space: SearchSpace, serving: Serving) -> CompiledLatency:
        """The same latency as a function of codes, a million and more a second; `TableError` as in `predict`."""
        table = tabulate(space, serving, lambda distinct: self._figures(distinct, serving))
        composed, apart = self._composition(serving)
        return CompiledLatency(table, composed, self._launch(serving), self.intervals, self.within, apart, space)

    def calibrate(
        self, architectures: Sequence[Architecture], serving: Serving, measured_ms: ArrayLike
    ) -> "LatencyPredictor":
        """A predictor for the device that these whole models (n,) were measured on, in ms; 10 to 20 of them do.

        What this predictor knows becomes the prior, up to a common factor; the intervals are fitted to the new
        measurements alone, with whole models left out. Other regimes and phases get the same factor.
        """
        seconds = _positive(measured_ms, len(architectures)) / MS
        guess, _ = self._finished(Lowered.of(architectures, serving), serving)
        factor = float(np.median(seconds * MS / guess))
        scaled = {key: fitted.scaled(factor) for key, fitted in self.compositions.items()}
        level = self.intervals.level
        other = LatencyPredictor(
            self.model, scaled, Intervals.fit([], [], level), self.machine, distrusted=self.distrusted
        )
        return other._fitted(architectures, [serving] * len(seconds), seconds)

    def observe(self, architecture: Architecture, serving: Serving, measured_ms: float) -> "LatencyPredictor":
        """Adapt the intervals, in place, to one measured model that a search had picked; returns itself."""
        measured = float(_positive([measured_ms], 1)[0])
        mean, scale = self._finished(Lowered.of([architecture], serving), serving)
        self.intervals.observe(float(np.log(measured / mean[0])), float(scale[0]))
        return self

    def beyond(self, architecture: Architecture, serving: Serving) -> float:
        """How many times the farthest size of an architecture lies outside the measured ones; 1 within."""
        return self.model.beyond([o for o, _ in operators(architecture, serving)], self.setting(serving))

    def setting(self, serving: Serving) -> Setting:
        """The regime of the table that `serving` asks for; no thread count means the largest one in the table."""
        return self.machine.setting(serving, self.model.settings)

    def save(self, folder: Path | str) -> Path:
        """Write `predictor.json` and, where trees help, `operators.ubj` into a folder; returns it."""
        from .storage import save

        return save(self, Path(folder))

    @classmethod
    def load(cls, folder: Path | str) -> "LatencyPredictor":
        """A saved predictor, with the same predictions; `TableError` for foreign, newer or damaged files."""
        from .storage import load

        return load(Path(folder))

    def _covers(self, row: ModelRow) -> bool:
        """Whether the table has what a measured model is made of."""
        setting = self.setting(row.serving)
        has_regime = not self.model.samples or setting in self.model.settings
        return has_regime and not self.model.missing([o for o, _ in operators(row.architecture, row.serving)], setting)

    def _composition(self, serving: Serving) -> tuple[Composition, float]:
        """The composition of a serving, and the log spread that taking another phase's or regime's adds."""
        setting = self.setting(serving)
        own = setting, composition.composed_as(serving)
        if own in self.compositions:
            return self.compositions[own], 0.0
        near = (ENCODE, composition.PADDED) if serving.phase == ENCODE else (serving.phase,)
        nearest = sorted(self.compositions, key=lambda key: (key[0] != setting, key[1] not in near, str(key)))
        for other, phase in nearest:
            if (other.mode, other.runtime) == (setting.mode, setting.runtime):
                return self.compositions[other, phase], APART
        return Composition.prior(), 0.0  # the intervals start as wide as the prior is wrong

    def _launch(self, serving: Serving) -> float:
        return self.model.ceilings.of(self.setting(serving))[2]

    def _figures(self, distinct: Sequence[Operator], serving: Serving) -> FloatArray:
        """Figures (m, 3) of m operators that add up to a model's; see `Composition.per_operator`."""
        setting = self.setting(serving)
        estimates = self.model.estimate(distinct, setting)
        columns = composition.columns(distinct, estimates.seconds, self.model.ceilings, setting)
        return self._composition(serving)[0].per_operator(columns, estimates.least, estimates.spread)

    def _at(self, architectures: Sequence[Architecture], serving: Serving, quantile: str) -> FloatArray | None:
        """Mean (n,) in ms of requests of a quantile of the lengths; None where all are of one."""
        if serving.lengths is None:
            return None
        one = serving.at(getattr(serving.lengths, quantile))
        return self._finished(Lowered.of(architectures, one), one)[0]

    def _finished(self, lowered: Lowered, serving: Serving) -> tuple[FloatArray, FloatArray]:
        """Mean (n,) in ms and interval scale (n,)."""
        totals = lowered.sums(self._figures(lowered.distinct, serving))
        composed, apart = self._composition(serving)
        mean, spread = composed.finish(totals, self._launch(serving))
        return mean * MS, scale_of(np.hypot(spread, apart), self.within)

    def _fitted(
        self, architectures: Sequence[Architecture], servings: Sequence[Serving], seconds: FloatArray
    ) -> "LatencyPredictor":
        """Compositions and intervals fitted to measured models (n,), with the present ones as their prior."""
        told, liars = self._told(architectures, servings, seconds)
        residuals = np.concatenate([np.empty(0), *(each.left_out() for each in told.values())])
        within = self._within(residuals)
        scales = scale_of(np.concatenate([np.empty(0), *(each.sums.spread for each in told.values())]), within)
        floor = max(self.machine.noise_floor, 1e-3)
        intervals = Intervals.fit(residuals, scales, self.intervals.level, floor=floor)
        fitted = self.compositions | {key: each.composition(within, intervals) for key, each in told.items()}
        return LatencyPredictor(self.model, fitted, intervals, self.machine, within, (*self.distrusted, *liars))

    def _told(
        self, architectures: Sequence[Architecture], servings: Sequence[Serving], seconds: FloatArray
    ) -> tuple[dict[Key, Told], list[Distrusted]]:
        """The measured models (n,) by their composition's key, without those that lie; and those."""
        keys = [(self.setting(serving), composition.composed_as(serving)) for serving in servings]
        told, liars = dict[Key, Told](), list[Distrusted]()
        for key in dict.fromkeys(keys):
            own = np.array([index for index, other in enumerate(keys) if other == key])
            sums = self._sums([architectures[i] for i in own], [servings[i] for i in own])
            centre = self.compositions.get(key)
            lies, times = composition.lying(sums.columns, sums.least, seconds[own], centre)
            for i in np.flatnonzero(lies).tolist():
                liars.append(Distrusted(_named(architectures[own[i]], servings[own[i]]), float(times[i])))
            groups = [architectures[i].key for i in own[~lies]]
            told[key] = Told(sums.only(~lies), seconds[own[~lies]], groups, centre)
        return told, liars

    def _within(self, residuals: FloatArray) -> float:
        """The log spread of models of measured operators; models of badly predicted operators do not set it."""
        if not self.model.samples and len(residuals):
            return ALONE
        if len(residuals) <= 2:
            return WITHIN
        typical = 1.4826 * float(np.median(np.abs(residuals)))
        return min(max(typical, self.machine.noise_floor, LEAST_WITHIN), MOST_WITHIN)

    def _sums(self, architectures: Sequence[Architecture], servings: Sequence[Serving]) -> Sums:
        """Sums over the operators of n models of one regime."""
        rows = []
        for architecture, serving in zip(architectures, servings, strict=True):
            setting, lowered = self.setting(serving), Lowered.of([architecture], serving)
            estimates = self.model.estimate(lowered.distinct, setting)
            columns = composition.columns(lowered.distinct, estimates.seconds, self.model.ceilings, setting)
            own = np.stack([estimates.least, estimates.seconds, estimates.seconds * estimates.spread], axis=1)
            total = lowered.sums(np.hstack([columns, own]))[0]
            total[len(COLUMNS) - 1] = self._launch(serving)
            rows.append(total)
        table, k = np.asarray(rows), len(COLUMNS)
        return Sums(table[:, :k], table[:, k], table[:, k + 2] / table[:, k + 1])


def _named(architecture: Architecture, serving: Serving) -> str:
    """A whole model in words."""
    genes = " ".join(f"{gene}={value}" for gene, value in architecture.values.items())
    return f"the model {genes} at {serving.batch} x {serving.sequence} {serving.dtype}"


def _positive(values: ArrayLike, n: int) -> FloatArray:
    """Measured values (n,) in ms, checked."""
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (n,) or n == 0 or not (np.isfinite(array) & (array > 0)).all():
        raise InputError(f"expected {n or 'some'} positive measured latencies in ms; got {array.tolist()}")
    return array
