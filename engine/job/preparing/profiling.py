"""The tables of a serving machine: a pass for every serving of its choices, into the table of its runtime."""

from distilsearch.profiling import LatencyTable, find_table
from distilsearch.profiling.cases.left_out import left_out
from distilsearch.progress import Progress

from ..executors import Executor
from ..jobs import Profile
from ..machines.machines import Declared, Profiled
from ..source import bounds_of
from ..work.tables import receive
from .prepare import Prepared

PROFILE_SHARE = 0.25  # of a run's minutes, at most; what is timed first is worth most


def profiled(declared: Declared, prepared: Prepared, executor: Executor, progress: Progress) -> Profiled:
    """Time what the tables of a machine lack (nothing, when all is there), and fit a predictor to each."""
    section = declared.section
    if declared.local:
        tables = _timed(declared, prepared, executor, progress)
    else:
        stored = {runtime: find_table(section.device, runtime=runtime) for runtime in section.runtimes}
        tables = {runtime: table for runtime, table in stored.items() if table is not None}  # all: it was checked
    return Profiled(declared, tables, prepared.served)


def omitted(machine: Profiled, prepared: Prepared) -> str:
    """What profiling has left out of the tables of a machine here, in words; "" of nothing."""
    if not machine.local:
        return ""
    servings, students, said = machine.declared.section.servings, prepared.served.students, []
    for runtime, table in machine.tables.items():
        words = left_out(table, students, [one for one in servings if one.runtime == runtime]).words
        said += [f"{machine.objective}{f', {runtime}' if len(machine.tables) > 1 else ''}: {words}"] if words else []
    return "; ".join(said)


def _timed(declared: Declared, prepared: Prepared, executor: Executor, progress: Progress) -> dict[str, LatencyTable]:
    """The table of each runtime, after a pass for each of its servings; passes share the time there is."""
    run, section, depot = prepared.run, declared.section, declared.depot
    share = PROFILE_SHARE * run.minutes / len(prepared.machines) or None
    minutes = min(filter(None, (share, section.profile_minutes)), default=None)
    seconds = None if minutes is None else 60 * minutes / len(section.servings)
    genes, facts, source = run.space.genes, prepared.facts, bounds_of(run)
    places: dict[str, tuple[str, str]] = {}
    for serving in section.servings:
        where = (section.device, serving, depot, run.plugins, seconds)
        job = Profile(run.space.family, genes, facts, *where, source)
        places[serving.runtime] = executor.submit(job, progress).result()
    return {runtime: LatencyTable.read(receive(depot, *place)) for runtime, place in places.items()}
