"""The machines students are to be served on: a table, a predictor, and measurements where the machine is this one.

A target that is not this machine is named by the fingerprint of its table; its latencies stay predictions until
`distilsearch measure` runs there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from distilsearch import profiling
from distilsearch.architecture import Architecture
from distilsearch.errors import InputError
from distilsearch.home import tables_folder
from distilsearch.operators import Serving
from distilsearch.predictors.latency import LatencyPredictor
from distilsearch.profiling.devices import DEVICES
from distilsearch.profiling.table import LatencyTable
from distilsearch.progress import Progress
from distilsearch.space import SearchSpace

from ..objectives import Known
from .config import Run, TargetSection
from .executors import Executor
from .jobs import Measure, Profile


@dataclass(frozen=True)
class Latency:
    """Latency of one student on one target, in ms; `measured` is None where it was only predicted."""

    predicted: float
    lower: float
    upper: float
    measured: float | None = None

    @property
    def best(self) -> float:
        """What is known best: the measurement, else the prediction."""
        return self.predicted if self.measured is None else self.measured


@dataclass
class Target:
    """One serving target of a run.

    By the key of the architecture, `measured` holds ms, and `slowness` how many times slower than on the quiet machine
    the sentinel ran meanwhile.

    `objective` names the target: `latency_ms`, then `latency_ms_2` and so on.
    """

    objective: str
    section: TargetSection
    serving: Serving
    table: LatencyTable | None = None
    predictor: LatencyPredictor | None = None
    measured: dict[str, float] = field(default_factory=dict)
    slowness: dict[str, float] = field(default_factory=dict)

    @property
    def local(self) -> bool:
        """Whether this machine is the target."""
        return self.section.device in (*DEVICES, "auto")

    def check(self) -> None:
        """Refuse a device that is not here, or a machine nobody has profiled, or a damaged table."""
        if self.local:
            profiling.open_device(self.section.device).regime(self.serving)
            profiling.find_table(self.section.device)
        elif profiling.find_table(self.section.device) is None:
            raise InputError(
                f"there is no table of the device {self.section.device!r}; run `distilsearch profile` on that machine"
                " and copy its folder into the tables folder"
            )

    def profile(self, executor: Executor, run: Run, facts: dict[str, Any], progress: Progress) -> None:
        """Time what the table lacks (nothing, when all is known), and fit the predictor."""
        if self.local:
            job = Profile(run.space.family, run.space.genes, facts, self.section.device, self.serving)
            device, stack = executor.submit(job, progress).result()
            self.table = LatencyTable.read(tables_folder() / device / stack)
        else:
            self.table = profiling.find_table(self.section.device)
        assert self.table is not None
        self.predictor = LatencyPredictor.fit(self.table)

    def known(self, space: SearchSpace) -> Known:
        """The objective of this target, which follows the predictor as it is refined."""
        compiled = cache(lambda predictor: predictor.compile(space, self.serving))
        return Known(
            self.objective,
            lambda codes: compiled(self.predictor)(codes),
            at_most=self.section.latency_ms,
            spread=lambda codes: compiled(self.predictor).spread(codes),
            upper=lambda codes: compiled(self.predictor).upper(codes),
        )

    def measure(self, executor: Executor, architectures: Sequence[Architecture], progress: Progress) -> None:
        """Measure whole models in a child process and learn from them; nothing on a machine that is elsewhere."""
        if not self.local or not architectures:
            return
        job = Measure(tuple(architectures), self.section.device, self.serving)
        for architecture, measured in zip(architectures, executor.submit(job, progress).result(), strict=True):
            if measured.usable:
                self.measured[architecture.key] = measured.seconds_p10 * 1e3
                self.slowness[architecture.key] = measured.sentinel_ratio

    def knows(self, architecture: Architecture) -> bool:
        """Whether nothing is left to measure of an architecture here."""
        return not self.local or architecture.key in self.measured

    def recall(self, architecture: Architecture, measured_ms: float | None) -> float | None:
        """Take over an earlier measurement of this run, if there is one, and return it."""
        if measured_ms is not None:
            self.measured[architecture.key] = measured_ms
        return measured_ms

    def learn(self, architecture: Architecture) -> None:
        """Refine the predictor by a student that was chosen and has been measured: intervals first, then the mean.

        The measurement is in the table by now, so the mean is fitted to it as to any other whole model.
        """
        measured = self.measured.get(architecture.key)
        if measured is None or self.predictor is None or self.table is None or self.table.folder is None:
            return
        adapted = self.predictor.observe(architecture, self.serving, measured).intervals
        self.table = LatencyTable.read(self.table.folder)
        self.predictor = LatencyPredictor.fit(self.table)
        self.predictor.intervals.carry_over(adapted)

    def latency(self, architecture: Architecture) -> Latency:
        """What is predicted and measured of an architecture."""
        assert self.predictor is not None
        p = self.predictor.predict([architecture], self.serving)
        measured = self.measured.get(architecture.key)
        return Latency(float(p.mean_ms[0]), float(p.lower_ms[0]), float(p.upper_ms[0]), measured)


def targets_of(run: Run) -> list[Target]:
    """The targets of a run, not yet profiled."""
    names = ["latency_ms", *(f"latency_ms_{i}" for i in range(2, len(run.target) + 1))]
    pairs = zip(names, run.target, strict=True)
    return [Target(name, section, section.conditions) for name, section in pairs]
