"""Limits of serving machines that are exact: how many parameters a student has, how much memory it takes, and how many
floating-point operations a forward pass.

Parameters are the weights alone, tied ones once, as `transformers` counts them. Memory, in units of 10^6 bytes, is
these at the bytes of one in the precision they are served in, and activations unless the run file leaves them out: see
`serving.memory`. Operations are those of a whole batch as it is served, in units of 10^9; a multiplication and an
addition are two.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from distilsearch.architecture import Architecture
from distilsearch.arrays import FloatArray
from distilsearch.errors import InputError
from distilsearch.lowering import flops, parameter_count, tabulate
from distilsearch.operators import DTYPE_BYTES, Serving
from distilsearch.progress import Progress
from distilsearch.space import Codes, SearchSpace

from ...objectives import Bools, Cap, Known, Limit, limited
from ...pool import bred
from ..runfile.sections import TargetSection
from ..serving.memory import MEGA, memory_counts, memory_mb
from ..serving.served import ServedSpace

if TYPE_CHECKING:  # a wrong folder is refused before anything heavy is loaded
    from ...engine import Engine
    from ..ledger import Entry, Ledger
    from .machines import Profiled

Counts = Callable[[Codes], FloatArray]
DRAWS = 20_000
GIGA = 1e9


def limits_of(sections: Sequence[TargetSection], served: ServedSpace) -> tuple[Limit, ...]:
    """The limits of a run's targets on codes of the engine's space; those of the second target end in `_2`."""
    limits: list[Limit] = []
    if any(section.limits_size for section in sections):
        counts = parameter_counts(served.students)
        for number, section in enumerate(sections, 1):
            limits += _limits(section, served, counts, "" if number == 1 else f"_{number}")
    return tuple(limits)


def parameter_counts(space: SearchSpace) -> Counts:
    """A function from codes (n, d) to numbers of weights (n,): `lowering.parameter_count`, for millions."""
    totals = tabulate(
        space, Serving(), lambda operators: np.array([[o.parameters] for o in operators], dtype=np.float64)
    )
    return lambda codes: totals(codes)[:, 0]


def operation_counts(space: SearchSpace, serving: Serving) -> Counts:
    """A function from codes (n, d) to 10^9 floating-point operations (n,) of a forward pass, for millions."""
    totals = tabulate(space, serving, lambda operators: np.array([[o.flops] for o in operators], dtype=np.float64))
    return lambda codes: totals(codes)[:, 0] / GIGA


def within(section: TargetSection, student: Architecture, serving: Serving) -> bool:
    """Whether a student keeps the limits of a target on parameters, memory and operations."""
    weights = parameter_count(student)
    memory = (
        memory_mb(student, serving) if section.memory_counts == "all" else weights * DTYPE_BYTES[serving.dtype] / MEGA
    )
    figures = ((weights, section.parameters), (memory, section.memory_mb))
    operations = () if section.gflops is None else ((flops(student, serving) / GIGA, section.gflops),)
    return all(limit is None or figure <= limit for figure, limit in (*figures, *operations))


def _limits(section: TargetSection, served: ServedSpace, counts: Counts, suffix: str) -> Iterator[Limit]:
    if section.parameters is not None:
        yield Limit(f"parameters{suffix}", served.of_students(counts), section.parameters)
    if section.memory_mb is not None:
        memory = (
            _weights_alone(counts) if section.memory_counts == "weights" else partial(memory_counts, served.students)
        )
        yield Limit(f"memory_mb{suffix}", _by_serving(section, served, memory), section.memory_mb)
    if section.gflops is not None:
        operations = partial(operation_counts, served.students)
        yield Limit(f"gflops{suffix}", _by_serving(section, served, operations), section.gflops)


def _weights_alone(counts: Counts) -> Callable[[Serving], Counts]:
    return lambda serving: lambda codes: counts(codes) * DTYPE_BYTES[serving.dtype] / MEGA


def _by_serving(section: TargetSection, served: ServedSpace, figures: Callable[[Serving], Counts]) -> Counts:
    """Figures of members, each by the serving it has."""
    tables = {serving: figures(serving) for serving in section.servings}
    return partial(served.by_serving, function=lambda s, codes: tables[s](codes), servings=section.servings)


def measured_within(ledger: "Ledger", machines: "Sequence[Profiled]") -> int:
    """How many complete trials keep the latency limits of all machines by measurement, and their other limits."""
    last = ledger.noted("measured") or {}  # side by side, at the end of an earlier call

    def keeps(entry: "Entry", machine: "Profiled") -> bool:
        latency = (entry.facts.get("latencies") or {}).get(machine.objective, {}).get("measured")
        latency = last.get(machine.objective, {}).get(entry.architecture.key, latency)
        within = machine.limit_ms is None or (latency is not None and latency <= machine.limit_ms)
        return within and machine.keeps(entry.architecture)

    return sum(e.state == "complete" and all(keeps(e, machine) for machine in machines) for e in ledger.entries())


def check_limits(
    engine: "Engine",
    machines: "Sequence[Profiled]",
    seed: int,
    ledger: "Ledger",
    folder: Path,
    progress: Progress,
) -> None:
    """Refuse limits that no student keeps; where nothing has been trained, the mended file is as good as new.

    A run that has measured students within its limits goes on with those, whatever is predicted of others.
    """
    limits = limited(engine.objectives, engine.limits)
    try:
        check_kept(engine.space, limits, seed)
        if words := room_within(engine.space, limits, seed):
            progress(words, 0, 0)
    except InputError as error:
        if within := measured_within(ledger, machines):
            progress(f"{error}; going on, for {within} measured students of this run keep it", 0, 0)
            return
        from distilsearch.profiling.tables.remarks import busy  # which loads tables, and the other one Optuna

        from ..plans.phases import forgotten

        forgotten(ledger, folder)

        tables = [table for machine in machines for table in machine.tables.values()]
        spoilt = [words for table in tables if (words := busy(table))]
        raise InputError(f"{error}. Mind: {'; '.join(spoilt)}" if spoilt else str(error)) from None


def check_kept(space: SearchSpace, limited: Sequence[Cap], seed: int) -> None:
    """Refuse limits that no student keeps, alone or together, before any student is trained.

    Args:
        space: what the engine searches.
        limited: all that candidates must keep: `objectives.limited`.
        seed: of the draws, where the space is too large to be looked through.

    Raises:
        InputError: it names the limit, and how near the nearest student comes.
    """
    small, rng = space.listed <= DRAWS, np.random.default_rng(seed)
    codes = space.grid(DRAWS) if small else space.sample(DRAWS, rng)
    for limit in limited:
        least = float(limit.bounds(codes if small else bred(space, [limit], codes, rng)).min())
        if least > limit.at_most:
            raise InputError(_broken(limit, least))
    together = codes if small or not limited else bred(space, limited, codes, rng)
    if limited and not np.all([limit.within(together) for limit in limited], axis=0).any():
        names = " and ".join(map(str, limited))
        raise InputError(f"no student was found that keeps {names} at once, though each alone can be kept; raise one")


def room_within(space: SearchSpace, limited: Sequence[Cap], seed: int, gene: str = "layers") -> str:
    """What share of the students of each depth keeps all limits, in words; "" where there is no limit or no depth."""
    names = [parameter.name for parameter in space.parameters]
    if not limited or gene not in names:
        return ""
    codes = space.grid(DRAWS) if space.listed <= DRAWS else space.sample(DRAWS, np.random.default_rng(seed))
    keeps = np.all([limit.within(codes) for limit in limited], axis=0)
    column, choices = codes[:, names.index(gene)], space.parameters[names.index(gene)].choices
    depths = [(choice, keeps[column == place]) for place, choice in enumerate(choices)]
    shares = [f"{choice}: {_share(kept)}" for choice, kept in depths if len(kept)]
    return f"students within {' and '.join(map(str, limited))}, by {gene}: {', '.join(shares)}"


def _share(kept: Bools) -> str:
    """A share in per cent; a few are not said to be none."""
    share = float(kept.mean())
    return "none" if share == 0 else "< 1 %" if share < 0.01 else f"{share:.0%}".replace("%", " %")


def _broken(limit: Cap, least: float) -> str:
    if isinstance(limit.source, Known):
        return (
            f"no student is predicted to keep {limit} with confidence: the fastest one is"
            f" bounded by {least:.3g}; raise the limit, or allow smaller students"
        )
    return (
        f"no student keeps {limit.source.name} <= {_figure(limit.at_most)}: the smallest one has {_figure(least)};"
        " raise the limit, or allow smaller students"
    )


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.4g}"
