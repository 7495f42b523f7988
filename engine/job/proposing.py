"""The engine of a run: its objectives, its reference, what its surrogate sees beside the genes, and its limits."""

from collections.abc import Callable, Sequence

import numpy as np

from distilsearch.architecture import Architecture
from distilsearch.errors import InputError
from distilsearch.lowering import FloatArray, tabulate
from distilsearch.operators import Serving
from distilsearch.space import Codes, SearchSpace

from ..engine import Engine
from ..objectives import Expensive, limited
from ..pool import bred
from ..strategies import find_strategy
from .config import Run
from .machines import Profiled

LIMIT_DRAWS = 20_000


def new_engine(run: Run, space: SearchSpace, machines: Sequence[Profiled], teacher: Architecture) -> Engine:
    """An engine that knows nothing yet: its loss must be learnt, the latency on each machine is predicted."""
    return Engine(
        space,
        [Expensive("loss"), *(machine.known(space) for machine in machines)],
        seed=run.seed,
        reference={m.objective: m.limit_ms or m.latency(teacher).best for m in machines},
        strategy=find_strategy(run.strategy.name, run.strategy.options),
        features=size_features(space, machines[0].serving),
    )


def size_features(space: SearchSpace, serving: Serving) -> Callable[[Codes], FloatArray]:
    """Surrogate features (n, 2) of codes: the logarithms of parameters and FLOPs."""
    figures = tabulate(space, serving, lambda operators: np.array([[o.parameters, o.flops] for o in operators]))
    return lambda codes: np.log(figures(codes))


def check_limits(run: Run, space: SearchSpace, machines: Sequence[Profiled]) -> None:
    """Refuse limits that nothing is predicted to keep, before any student is trained."""
    small = space.listed <= LIMIT_DRAWS
    rng = np.random.default_rng(run.seed)
    codes = space.grid(LIMIT_DRAWS) if small else space.sample(LIMIT_DRAWS, rng)
    for machine in machines:
        known = machine.known(space)
        fastest = float(known.bounds(codes if small else bred(space, limited([known]), codes, rng)).min())
        if machine.limit_ms is not None and fastest > machine.limit_ms:
            raise InputError(
                f"no student is predicted to keep {machine.objective} <= {machine.limit_ms} ms with confidence: the"
                f" fastest one is bounded by {fastest:.3g} ms; raise the limit, or allow smaller students"
            )
