"""The machines students are to be served on: declared by the run file, then profiled.

A machine that is not this one is named by the fingerprint of its table; its latencies stay predictions until
`distilsearch measure` runs there. What a machine needs done it says as a job; who runs it is not its business.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from distilsearch import profiling
from distilsearch.architecture import Architecture
from distilsearch.arrays import FloatArray
from distilsearch.growth import grown
from distilsearch.operators import Serving
from distilsearch.predictors.latency import LatencyPredictor
from distilsearch.predictors.uncertainty.intervals import Intervals
from distilsearch.predictors.uncertainty.liars import named
from distilsearch.profiling.clock import DISTURBED, Measured
from distilsearch.profiling.devices import DEVICES
from distilsearch.profiling.tables.remarks import remarks
from distilsearch.profiling.tables.table import LatencyTable
from distilsearch.space import Codes

from ...objectives import Known
from ..jobs import Measure
from ..outcome.facts import MachineFacts
from ..preflight import check_target
from ..runfile.config import Run
from ..runfile.sections import TargetSection
from ..serving.combinations import refused
from ..serving.served import ServedSpace, student_of
from ..work.tables import receive
from .limits import within

BY_RUNTIME = "by_runtime"


MEASURED_REQUESTS = ("measured_p50", "measured_p99")
SLOWNESS = "slowness"  # beside a trial's latency: of its measurement
LATENCY_ADDED: Mapping[str, Any] = dict.fromkeys(  # fields of `Latency` that came later; see `distilsearch.growth`
    ("predicted_p50", "predicted_p99", *MEASURED_REQUESTS)
)


@dataclass(frozen=True)
class Latency:
    """Latency of one student on one machine, in ms; `measured` is None where it was only predicted.

    Where requests are of many lengths that is their mean, and `..._p50` and `..._p99` are what those of the median
    length and of the 99th percentile take; None else.
    """

    predicted: float
    lower: float
    upper: float
    measured: float | None = None
    predicted_p50: float | None = None
    predicted_p99: float | None = None
    measured_p50: float | None = None
    measured_p99: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; of requests of one length without what is of many."""
        return grown(vars(self), LATENCY_ADDED)

    @property
    def best(self) -> float:
        """What is known best: the measurement, else the prediction."""
        return self.predicted if self.measured is None else self.measured

    def times(self, other: "Latency") -> float:
        """How many times as fast as another one, like with like: as measured where both are, else as predicted."""
        if self.measured is None or other.measured is None:
            return other.predicted / self.predicted
        return other.measured / self.measured


@dataclass(frozen=True)
class Declared:
    """A serving machine as the run file names it: what can be known of it before anything is timed.

    `objective` names it in the search: `latency_ms`, then `latency_ms_2` and so on. `depot` and `plugins` are the
    run's: whoever measures needs them.
    """

    objective: str
    section: TargetSection
    serving: Serving
    depot: str = ""
    plugins: tuple[str, ...] = ()

    @property
    def local(self) -> bool:
        """Whether it can be measured from here."""
        return self.section.device in (*DEVICES, "auto")

    def check(self) -> None:
        """Refuse a device that is not here, or a machine nobody has profiled, or a damaged table."""
        check_target(self.section)
        if self.local:
            refused(self.section.servings, profiling.open_device(self.section.device).regime)


class Profiled:
    """A serving machine with a table of each runtime, and a predictor fitted to each, refined as students are measured.

    `limit_ms` is the latency that students must keep, if any. By the key of the architecture, `measured` holds ms, and
    `slowness` how many times slower than on the quiet machine the sentinel ran meanwhile, and `repeats` the factor
    between two sessions of it, side by side with the front; and `requests`, where these are of many lengths, the ms of
    the median and of the 99th percentile of them.
    """

    def __init__(self, declared: Declared, tables: Mapping[str, LatencyTable], served: ServedSpace) -> None:
        self.declared = declared
        self.served = served
        self.tables = dict(tables)
        self.predictors = {runtime: LatencyPredictor.fit(table) for runtime, table in tables.items()}
        self._predicted: dict[Architecture, Latency] = {}  # of members, by the predictor as it is
        self.measured: dict[str, float] = {}
        self.slowness: dict[str, float] = {}
        self.repeats: dict[str, float] = {}
        self.requests: dict[str, list[float]] = {}
        self.limit_ms = declared.section.latency_ms  # where it is a share of the teacher's, known later: `shares`

    @property
    def objective(self) -> str:
        """Its name in the search."""
        return self.declared.objective

    @property
    def serving(self) -> Serving:
        """How students are served on it."""
        return self.declared.serving

    @property
    def local(self) -> bool:
        """Whether it can be measured from here."""
        return self.declared.local

    @property
    def table(self) -> LatencyTable:
        """The table of the runtime that its first serving has."""
        return self.tables[self.serving.runtime]

    def doubts(self) -> list[str]:
        """What should be told of its tables before anything rests on them; nothing of most."""
        doubts = []
        for runtime, table in self.tables.items():
            under = f"{runtime}: " if len(self.tables) > 1 else ""
            doubts += [under + doubt for doubt in remarks(table)]
            if distrusted := self.predictors[runtime].distrusted:
                doubts.append(f"{under}left out of the latency predictor: {named(distrusted)}")
        return doubts

    def known(self) -> Known:
        """Its objective, over codes of the engine's space; it follows the predictor as it is refined."""
        students, servings = self.served.students, self.declared.section.servings
        compiled = cache(lambda predictor, serving: predictor.compile(students, serving))

        def figures(what: str, codes: Codes) -> FloatArray:
            def function(serving: Serving, rows: Codes) -> FloatArray:
                latencies = compiled(self.predictors[serving.runtime], serving)
                values: FloatArray = getattr(latencies, what)(rows)
                return values

            return self.served.by_serving(codes, function, servings)

        mean, spread, upper = (partial(figures, what) for what in ("__call__", "spread", "upper"))
        return Known(self.objective, mean, at_most=self.limit_ms, spread=spread, upper=upper)

    def pair(self, member: Architecture) -> tuple[Architecture, Serving]:
        """The student of a member of the engine's space, and how it is served here; also of the teacher."""
        if self.declared.section.choices and self.served.space.contains(member):
            return self.served.split(member)
        return student_of(member), self.serving

    def latency(self, member: Architecture) -> Latency:
        """What is predicted and measured of a member, or of the teacher."""
        student, serving = self.pair(member)
        known = self._predicted.get(member)
        if known is None:
            p = self.predictors[serving.runtime].predict([student], serving)
            mean, lower, upper = (float(one[0]) for one in (p.mean_ms, p.lower_ms, p.upper_ms))
            p50, p99 = (None if one is None else float(one[0]) for one in (p.p50_ms, p.p99_ms))
            known = self._predicted[member] = Latency(mean, lower, upper, None, p50, p99)
        return replace(known, **self._told(member))

    def noted(self, member: Architecture) -> dict[str, Any]:
        """What was measured of a member, and how disturbed it was, as plain JSON; `recall` takes it over."""
        slowness = self.slowness.get(member.key)
        return self._told(member) | ({} if slowness is None else {SLOWNESS: slowness})

    def _told(self, member: Architecture) -> dict[str, Any]:
        """What was measured of a member, by the fields of `Latency`."""
        own = zip(MEASURED_REQUESTS, self.requests.get(member.key, ()), strict=False)
        return {"measured": self.measured.get(member.key), **dict(own)}

    def keeps(self, member: Architecture) -> bool:
        """Whether a member keeps the limits on parameters, memory and operations, which are exact."""
        return within(self.declared.section, *self.pair(member))

    def complete(self, member: Architecture) -> bool:
        """Whether nothing is left to measure of a member from here."""
        return not self.local or member.key in self.measured

    def jobs(self, members: Sequence[Architecture]) -> list[tuple[tuple[Architecture, ...], Measure]]:
        """What measures members: one job a serving, with the members it answers for, in order."""
        groups: dict[Serving, list[Architecture]] = {}
        for member in members:
            groups.setdefault(self.pair(member)[1], []).append(member)
        return [
            (tuple(group), self._measure(tuple(self.pair(member)[0] for member in group), serving))
            for serving, group in groups.items()
        ]

    def _measure(self, students: tuple[Architecture, ...], serving: Serving) -> Measure:
        declared = self.declared
        return Measure(students, declared.section.device, serving, declared.depot, declared.plugins)

    def take(self, members: Sequence[Architecture], measurements: Sequence[Measured]) -> None:
        """Note what measuring them gave; what did not run says nothing."""
        for architecture, one in zip(members, measurements, strict=True):
            if one.usable:
                self.measured[architecture.key] = one.seconds_p10 * 1e3
                self.slowness[architecture.key] = one.sentinel_ratio
                if one.of_requests:
                    self.requests[architecture.key] = [seconds * 1e3 for seconds in one.of_requests]

    def recall(self, architecture: Architecture, noted: Mapping[str, Any]) -> float | None:
        """Take over an earlier measurement of this run, if there is one, and return it, in ms.

        Args:
            noted: as `noted` says it, with what else a trial notes of a latency.
        """
        measured: float | None = noted["measured"]
        if measured is not None:
            self.measured[architecture.key] = measured
            if None not in (requests := [noted.get(name) for name in MEASURED_REQUESTS]):
                self.requests[architecture.key] = [float(ms) for ms in requests if ms is not None]
            if noted.get(SLOWNESS) is not None:
                self.slowness[architecture.key] = float(noted[SLOWNESS])
        return measured

    def learn(self, architecture: Architecture) -> None:
        """Refine the predictor by a student that was chosen and has been measured: intervals first, then the mean.

        The measurement is in the table by now, so the mean is fitted to it as to any other whole model. What a busy
        machine measured says nothing of the intervals.
        """
        measured, (student, serving) = self.measured.get(architecture.key), self.pair(architecture)
        folder = self.tables[serving.runtime].folder
        if measured is None or folder is None:
            return
        receive(self.declared.depot, folder.parent.name, folder.name)
        if self.slowness.get(architecture.key, 1.0) < DISTURBED:
            self.predictors[serving.runtime].observe(student, serving, measured)
        adapted = self.predictors[serving.runtime].intervals
        table = self.tables[serving.runtime] = LatencyTable.read(folder)
        predictor = self.predictors[serving.runtime] = LatencyPredictor.fit(table)
        predictor.intervals.carry_over(adapted)
        self._predicted.clear()

    def facts(self, teacher: Architecture, students: Sequence[Architecture]) -> MachineFacts:
        """What a result says of it, and what is known here of teacher and students."""
        floor = self.table.meta.noise_floor
        return MachineFacts(
            objective=self.objective,
            device=self.declared.section.device,
            serving=self.serving.to_json(),
            local=self.local,
            latencies={architecture.key: self.latency(architecture) for architecture in {teacher, *students}},
            limit_ms=self.limit_ms,
            limit=self.declared.section.latency,
            noise_floor=None if math.isnan(floor) else floor,
            table=str(self.table.folder),
            tables={runtime: str(table.folder) for runtime, table in self.tables.items() if table is not self.table},
            slowness=dict(self.slowness),
            repeats=dict(self.repeats),
            beyond=frozenset(student.key for student in students if not self.keeps(student)),
        )

    @property
    def learnt(self) -> dict[str, Any]:
        """What observed winners have taught the intervals, as plain JSON; by runtime where there are several."""
        learnt = {runtime: predictor.intervals.to_json() for runtime, predictor in self.predictors.items()}
        return {BY_RUNTIME: learnt} if len(learnt) > 1 else next(iter(learnt.values()))

    def relearn(self, learnt: Mapping[str, Any]) -> None:
        """Go on with the intervals of an earlier call of the same run."""
        for runtime, own in learnt.get(BY_RUNTIME, {self.serving.runtime: learnt}).items():
            self.predictors[runtime].intervals.carry_over(Intervals.from_json(own))
        self._predicted.clear()

    def save(self, folder: Path) -> None:
        """Write the predictor of its first serving's runtime into a folder, those of others into folders beside it."""
        for runtime, predictor in self.predictors.items():
            own = folder if runtime == self.serving.runtime else folder.with_name(f"{folder.name}-{runtime}")
            predictor.save(own)


def declared_by(run: Run) -> list[Declared]:
    """The serving machines of a run."""
    pairs = zip(run.latencies, run.target, strict=True)
    return [Declared(name, section, section.conditions, run.executor.depot, run.plugins) for name, section in pairs]
