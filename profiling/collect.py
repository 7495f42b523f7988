"""The two things a caller asks for: a table that covers a space, and the latency of given architectures."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from distilsearch.architecture import Architecture
from distilsearch.arrays import FloatArray
from distilsearch.errors import InputError, unknown
from distilsearch.home import file_lock
from distilsearch.operators import Operator, Serving
from distilsearch.places import MACHINE_LOCK
from distilsearch.progress import Progress, silent
from distilsearch.space import SearchSpace

from .cases.additions import surprising, tile_edges
from .cases.plan import MODELS, MOST_OPERATORS, Case, Plan, choose, make_plan, missing
from .clock import Clock, Measured, SystemClock, over_lengths
from .device import CACHES, Device, Regime
from .devices import open_device
from .measuring.alarms import suspects
from .measuring.emulation import warning
from .measuring.quiet import BUSY, LEAST_BUDGET_SECONDS, PATIENT_SHARE, await_quiet, patience_seconds
from .measuring.sweep import LEAST_ROUNDS, Sweep
from .tables import rounds
from .tables.store import own_store, table_folder
from .tables.table import LatencyTable, Roof

MEASURE_ROUNDS = 9
ADDED_SHARE = 0.1
MODELS_SHARE, MODELS_SECONDS = 0.2, 5.0  # of a budget, and at least, for whole models that alone are lacking

WAITING = "waiting: another run times this machine"
GUESSED_ROOF = Roof(1e11, 2e10, 1e-5)


@contextmanager
def alone_on_machine(folder: Path, progress: Progress) -> Iterator[None]:
    """Whatever times this machine does so alone; says so where another process is at it."""
    waited = False

    def waiting() -> None:
        nonlocal waited
        waited = True
        progress(WAITING, 0, 1)

    with file_lock(folder.parent / MACHINE_LOCK, waiting):
        if waited:
            progress(WAITING, 1, 1)
        yield


def profile(
    space_or_operators: SearchSpace | Iterable[SearchSpace | Operator],
    device: str | Device = "auto",
    serving: Serving | Sequence[Serving] = Serving(),  # noqa: B008  (frozen)
    store: Path | str | None = None,
    budget_seconds: float | None = None,
    progress: Progress = silent,
    models: int = MODELS,
    most_operators: int = MOST_OPERATORS,
    clock: Clock | None = None,
    seed: int = 0,
    cache: str = "hot",
) -> LatencyTable:
    """The latency table of a device, grown until it covers spaces or operators under the given servings.

    What the table holds already is not measured again, but for what a busy machine has spoilt, once it is quiet. Where
    others need the machine it is waited for, for a while (see `quiet`). With `budget_seconds` the most
    valuable cases come first and a later call continues; an operator of each kind is timed whatever it takes, so that
    latencies can be predicted. At most `most_operators` operators a serving are timed, spread
    over the space; of those left out, a tenth as many again are timed where neighbours disagree, and at tile edges.
    `models` students are timed whole, one of them at several depths. `cache` is `hot`, `cold` or `both`; cold rows are
    of operators alone.

    Raises `DeviceError` when the device is not there, `TableError` when the stored table is damaged or newer.
    """
    own_store(store)
    opened, ticking = open_device(device), clock or SystemClock()
    until = _end(budget_seconds, ticking)
    subjects = [space_or_operators] if isinstance(space_or_operators, SearchSpace) else list(space_or_operators)
    asked = [serving] if isinstance(serving, Serving) else list(serving)
    probes = Plan(probe_cases(opened, _timed(opened, asked)), 0)
    plans = _plans(opened, subjects, asked, cache, models, most_operators)
    runtime = _runtime(asked)
    folder = table_folder(opened, store, runtime)
    table, todo = _read(folder), [(opened, probes), *plans]
    if table and not _lacks(table, todo, again=True):
        return table
    lacking, rng = _lacks(table, todo), np.random.default_rng(seed)
    if budget_seconds is not None and table and _lacks_models_alone(table, todo):
        until = min(until, ticking.now() + max(MODELS_SHARE * budget_seconds, MODELS_SECONDS))
    with alone_on_machine(folder, progress):
        sweep = Sweep(opened, folder, rng, ticking, progress, known=_sentinels(table), runtime=runtime)
        again = _calm(sweep, asked[0], budget_seconds if lacking else 0.0)
        for word in filter(None, (warning(opened, each, ticking) for each in asked if lacking)):
            progress(word, 0, 0)
        if lacking or again:
            sweep.run(_waiting(_read(folder), opened, probes, again).cases)
            for each, plan in plans:
                first = probes.cases if each is opened else ()  # peaks are the best of all times
                _extend(replace(sweep, device=each), first, plan, until, most_operators, again)
    return LatencyTable.read(folder)


def _lacks(table: LatencyTable | None, todo: Sequence[tuple[Device, Plan]], again: bool = False) -> bool:
    """Whether a table lacks anything of some plans; `again` as in `_waiting`."""
    return any(_waiting(table, device, plan, again).cases for device, plan in todo)


def _lacks_models_alone(table: LatencyTable, todo: Sequence[tuple[Device, Plan]]) -> bool:
    """Whether all that a table lacks are whole models in regimes of which it has some: it predicts without them."""
    there = {regime for kind, _, regime in table.measured if kind == "model"}
    waiting = [(device, case) for device, plan in todo for case in _waiting(table, device, plan).cases]
    return all(case.kind == "model" and device.regime(case.serving) in there for device, case in waiting)


def _calm(sweep: Sweep, serving: Serving, budget_seconds: float | None) -> bool:
    """Whether the machine is quiet, now or after some waiting; a budget of some seconds leaves no time to ask."""
    if budget_seconds is not None and 0 < budget_seconds < LEAST_BUDGET_SECONDS:
        return False
    patience = patience_seconds() if budget_seconds is None else min(patience_seconds(), PATIENT_SHARE * budget_seconds)
    return await_quiet(sweep.device, serving, sweep.clock, sweep.known, patience, sweep.progress) < BUSY


def _runtime(servings: Sequence[Serving]) -> str:
    """The runtime of all servings: a table is of one."""
    runtimes = sorted({serving.runtime for serving in servings})
    if len(runtimes) != 1:
        raise InputError(f"expected servings in one runtime; got {', '.join(runtimes) or 'none'}: profile one a call")
    return runtimes[0]


def _end(budget_seconds: float | None, clock: Clock) -> float:
    if budget_seconds is not None and not budget_seconds > 0:
        raise InputError(f"expected a budget of more than 0 seconds; got {budget_seconds:g}")
    return np.inf if budget_seconds is None else clock.now() + budget_seconds


def _plans(
    device: Device,
    subjects: Sequence[SearchSpace | Operator],
    asked: Sequence[Serving],
    cache: str,
    models: int,
    most: int,
) -> list[tuple[Device, Plan]]:
    """What to time on the device, and on it with cold caches; those tell of operators alone."""
    if cache not in (*CACHES, "both"):
        raise unknown("cache", cache, (*CACHES, "both"))
    plans = []
    if cache != "cold":
        plans.append((device, make_plan(subjects, _timed(device, asked), models, most)))
    if cache != "hot":
        cold = device.cold()
        plans.append((cold, make_plan(subjects, _timed(cold, asked), 0, most)))
    if not any(plan.cases for _, plan in plans):
        raise InputError("there is nothing to profile: give a space or at least one operator")
    return plans


def _timed(device: Device, asked: Iterable[Serving]) -> list[Serving]:
    return list(dict.fromkeys(timed for serving in asked for timed in device.servings(serving)))


def _extend(sweep: Sweep, first: Sequence[Case], plan: Plan, until: float, most: int, again: bool) -> None:
    """Time `first` and what the table lacks of a plan, then some of what the plan left out, then what looks wrong."""
    device, folder = sweep.device, sweep.folder
    waiting = _waiting(_read(folder), device, plan, again)  # another process may have measured while we waited
    if not waiting.cases:
        return
    sweep.progress(_announced(waiting, device, _read(folder)), 0, 0)
    sweep.run((*first, *waiting.cases), until)
    sweep.run(_needed(LatencyTable.read(folder), device, waiting))  # however late: without, nothing could be predicted
    if waiting.count("operator"):
        sweep.run(_additions(LatencyTable.read(folder), device, plan, most), until)
    sweep.run(_suspect(LatencyTable.read(folder), device, waiting), until)


def measure(
    architectures: Sequence[Architecture],
    device: str | Device = "auto",
    serving: Serving = Serving(),  # noqa: B008  (frozen)
    store: Path | str | None = None,
    progress: Progress = silent,
    budget_seconds: float | None = None,
    rounds: int = MEASURE_ROUNDS,
    clock: Clock | None = None,
    seed: int = 0,
) -> list[Measured]:
    """The latency of whole models with random weights, in the order given, measured now and side by side.

    Models that do not settle in `rounds` rounds get up to as many more. All are added to the device's table; what
    comes back is of this call's rounds alone, so that repeated calls are repeated measurements. A model that the
    budget left no time for has the status `skipped`. Nobody waits for a quieter machine here: `Measured.disturbed`
    says how it was. Where `serving` has many lengths, each model is measured at all that stand for them, and what comes
    back is of the requests: their mean, and those of the median and 99th percentile of length.
    """
    own_store(store)
    opened, ticking = open_device(device), clock or SystemClock()
    until = _end(budget_seconds, ticking)
    parts = [part for part, _ in serving.parts]
    cases = list(dict.fromkeys(Case(a, part) for a in architectures for part in parts))
    folder = table_folder(opened, store, serving.runtime)
    with alone_on_machine(folder, progress):
        rng, levels = np.random.default_rng(seed), _sentinels(_read(folder))
        sweep = Sweep(opened, folder, rng, ticking, progress, rounds, 2 * rounds, known=levels, runtime=serving.runtime)
        timed = sweep.run(cases, until)
    latencies = {t.case: sweep.measured(t) for t in timed}
    own = [[latencies[Case(a, part)] for part in parts] for a in architectures]
    return [one[0] if serving.lengths is None else over_lengths(one, serving.lengths) for one in own]


def _read(folder: Path) -> LatencyTable | None:
    return LatencyTable.read(folder) if rounds.names(folder) else None


def _sentinels(table: LatencyTable | None) -> Mapping[str, float]:
    return table.meta.sentinel_seconds if table else {}


def probe_cases(device: Device, servings: Sequence[Serving]) -> tuple[Case, ...]:
    """The roofline probes of every regime."""
    regimes = {device.regime(serving): serving for serving in servings}
    return tuple(Case(probe, serving) for serving in regimes.values() for probe in device.probes(serving))


def _waiting(table: LatencyTable | None, device: Device, plan: Plan, again: bool = False) -> Plan:
    """The cases of a plan that a table lacks, or has too few rounds of; `again` also those that were disturbed."""
    if table is None:
        return plan
    done = {
        (kind, signature, regime)
        for (kind, signature, regime), times in table.measured.items()
        if not times.usable or (times.rounds >= LEAST_ROUNDS and not (again and times.disturbed))
    }
    return missing(plan, lambda case: (case.kind, case.signature, device.regime(case.serving)) in done)


def _needed(table: LatencyTable, device: Device, plan: Plan) -> list[Case]:
    """The most valuable operator of each kind, in each regime, that a plan's time has left a table without."""
    timed = ((regime, signature) for kind, signature, regime in table.measured if kind == "operator")
    there = {(regime, Operator.parse(signature).kind) for regime, signature in timed}
    needed: dict[tuple[Regime, str], Case] = {}
    for case in plan.cases:
        if isinstance(case.work, Operator):
            needed.setdefault((device.regime(case.serving), case.work.kind), case)
    return [case for key, case in needed.items() if key not in there]


def _additions(table: LatencyTable, device: Device, plan: Plan, most: int) -> list[Case]:
    """What to time of the operators that were left out, per serving: where neighbours disagree, and tile edges."""
    added: list[Case] = []
    for serving in dict.fromkeys(case.serving for case in plan.spare):
        spare = [c.work for c in plan.spare if c.serving == serving and isinstance(c.work, Operator)]
        timed = [c.work for c in plan.cases if c.serving == serving and isinstance(c.work, Operator)]
        count = max(1, round(ADDED_SHARE * most))
        surprises = surprising(table, device.regime(serving), spare, count)
        edges = choose(tile_edges([*timed, *spare], timed), count)
        added += [Case(operator, serving) for operator in dict.fromkeys([*surprises, *edges])]
    return added


def _suspect(table: LatencyTable, device: Device, plan: Plan) -> list[Case]:
    """The cases of a plan whose measurements raise an alarm."""
    alarms = {(row.operator.signature, row.regime) for row in suspects(table)}
    return [case for case in plan.cases if (case.signature, device.regime(case.serving)) in alarms]


def _announced(plan: Plan, device: Device, table: LatencyTable | None) -> str:
    """What is about to happen and how long it takes."""

    def roofline(operators: Sequence[Operator], serving: Serving) -> FloatArray:
        regime = device.regime(serving)
        roof = table.roof(regime) if table and table.meta.roofs else GUESSED_ROOF
        return np.array([roof.seconds(o.flops, o.bytes(serving.dtype)) for o in operators])

    seconds = plan.estimate_seconds(roofline, device.costs, LEAST_ROUNDS)
    operators, models = plan.count("operator"), plan.count("model")
    cases = f"{operators} operator{'s' * (operators != 1)} and {models} model{'s' * (models != 1)}"
    cases += " with cold caches" * any(device.regime(case.serving).cache == "cold" for case in plan.cases[:1])
    return f"{cases} on the {device.name}, about {seconds:.0f} s"
