"""Teacher and front are measured side by side, again until two calm sessions agree, or it is said that none do.

One session says nothing of its own error: on a machine with other work one model took 0.9 and 1.6 ms within minutes.
Of the two sessions that are closest the calmer one counts; by how much they differ is kept for each model, so that a
page need not print digits that another session would change.
"""

import math
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Generic, TypeVar

from distilsearch.architecture import Architecture
from distilsearch.errors import TrialError
from distilsearch.profiling.clock import Measured
from distilsearch.progress import Progress

from ...report.doubts import AGREED, CALM
from ..executors import Executor
from ..executors.persistent import first_line
from ..ledger import Ledger
from ..machines.machines import Profiled
from .choice import front

MOST_SESSIONS = 3
UNMEASURED = "unmeasured"  # what the ledger calls the causes, by objective

Time = Callable[[float], bool]
"""Whether there is time for so many seconds."""


def always(seconds: float) -> bool:
    """There is."""
    return True


K = TypeVar("K", bound=Hashable)


def measure_front(
    ledger: Ledger,
    machines: Sequence[Profiled],
    teacher: Architecture,
    executor: Executor,
    progress: Progress,
    time_for: Time = always,
) -> None:
    """Measure teacher and front side by side, once for a set of trials; the ledger keeps what came out.

    A measurement may open the front to students not measured yet, so this goes on until none is left.
    """
    complete = sum(entry.state == "complete" for entry in ledger.entries())
    if ledger.noted("measured_after") == complete:
        for machine in machines:
            machine.repeats.update((ledger.noted("repeats") or {}).get(machine.objective, {}))
        return
    causes: dict[str, str] = {}
    for machine in machines:
        try:
            _measure_on(machine, ledger, machines, teacher, executor, progress, time_for)
        except TrialError as error:  # students that are trained are not lost for it
            causes[machine.objective] = first_line(error)
            progress(f"the front was not measured as {machine.objective} ({error}); another call tries again", 0, 0)
    for name in ("measured", "slowness", "repeats", "requests"):
        ledger.note(name, {machine.objective: getattr(machine, name) for machine in machines})
    ledger.note(UNMEASURED, causes)
    if not causes:
        ledger.note("measured_after", complete)


def _measure_on(
    machine: Profiled,
    ledger: Ledger,
    machines: Sequence[Profiled],
    teacher: Architecture,
    executor: Executor,
    progress: Progress,
    time_for: Time,
) -> None:
    """Measure teacher and front on one machine, and who comes into the front by that."""
    lacking = [teacher]
    while lacking and machine.local:
        members = [entry.architecture for entry in front(ledger.entries(), machines)]
        models = list(dict.fromkeys([*lacking, *members]))
        measure_together(machine, models, executor, progress, time_for)
        members = [entry.architecture for entry in front(ledger.entries(), machines)]
        lacking = [member for member in members if not machine.complete(member) and member not in models]


@dataclass(frozen=True)
class Session(Generic[K]):
    """Models that were measured side by side: groups of their names, each with its answers."""

    groups: Sequence[tuple[Sequence[K], Sequence[Measured]]]

    @property
    def slowness(self) -> float:
        """How many times slower than when quiet the machine ran, by the sentinel; infinite where nothing ran."""
        usable = [one for _, answers in self.groups for one in answers if one.usable]
        return max((one.sentinel_ratio for one in usable), default=math.inf)

    @property
    def seconds(self) -> dict[K, float]:
        """The latency of each model that ran."""
        pairs = [pair for names, answers in self.groups for pair in zip(names, answers, strict=True)]
        return {name: one.seconds_p10 for name, one in pairs if one.usable}


def measure_together(
    machine: Profiled,
    models: Sequence[Architecture],
    executor: Executor,
    progress: Progress,
    time_for: Time = always,
) -> None:
    """Measure models side by side, in sessions, and note on the machine what counts of them."""

    def session() -> Session[Architecture]:
        return Session([(group, executor.submit(job, progress).result()) for group, job in machine.jobs(models)])

    counting, factors = agreed(session, time_for)
    for group, measurements in counting.groups:
        machine.take(group, measurements)
    machine.repeats.update({model.key: factor for model, factor in factors.items()})


def agreed(session: Callable[[], Session[K]], time_for: Time = always) -> tuple[Session[K], dict[K, float]]:
    """Measure until two sessions agree, a few times at most; the one that counts, and `repeats` of the two closest.

    Two calm sessions in which no latency differs by more than `AGREED` agree. Where there is time for one alone, it
    counts, and nothing is known of how it repeats.
    """
    sessions: list[Session[K]] = []
    while True:
        started = time.monotonic()
        sessions.append(session())
        pairs = list(combinations(sessions, 2))
        if len(sessions) == MOST_SESSIONS or any(_calm(pair) and _apart(pair) <= AGREED for pair in pairs):
            break
        if not time_for(time.monotonic() - started):
            break
    if not pairs:
        return sessions[0], {}
    closest = min(pairs, key=lambda pair: (not _calm(pair), _apart(pair)))
    return min(closest, key=lambda one: one.slowness), repeats(*closest)


def repeats(one: Session[K], other: Session[K]) -> dict[K, float]:
    """By which factor, 1 or more, each model's latency differs between two sessions."""
    mine, theirs = one.seconds, other.seconds
    return {name: max(mine[name] / theirs[name], theirs[name] / mine[name]) for name in mine if name in theirs}


def _calm(pair: tuple[Session[K], Session[K]]) -> bool:
    return all(session.slowness <= CALM for session in pair)


def _apart(pair: tuple[Session[K], Session[K]]) -> float:
    return max(repeats(*pair).values(), default=math.inf)
