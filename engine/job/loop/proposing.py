"""The engine of a run: its objectives, its reference, its limits, what its surrogate sees, and what it is asked."""

from collections.abc import Callable, Sequence

import numpy as np

from distilsearch.architecture import Architecture
from distilsearch.lowering import FloatArray, tabulate
from distilsearch.operators import Serving
from distilsearch.space import Codes, SearchSpace

from ...engine import Engine
from ...objectives import Expensive, Objective, kept, limited
from ..machines.limits import limits_of
from ..machines.machines import Profiled
from ..plans.budget import size
from ..preparing.strategy import strategy_of
from ..runfile.config import Run
from ..serving.served import ServedSpace
from .nearest import first_students


def new_engine(
    run: Run,
    served: ServedSpace,
    machines: Sequence[Profiled],
    teacher: Architecture,
    further: Callable[[Codes], FloatArray] | None = None,
) -> Engine:
    """An engine that knows nothing yet: its loss must be learnt, the latency on each machine is predicted.

    It begins with the students nearest to their teacher, see `nearest`.

    Args:
        further: codes (n, d) of students -> columns (n, k) that the surrogate sees beside genes and sizes.
    """
    sizes = size_features(served.students, machines[0].serving)

    def features(codes: Codes) -> FloatArray:
        students = served.student_codes(codes)
        return sizes(students) if further is None else np.column_stack([sizes(students), further(students)])

    loss = Expensive("loss", ignores=served.ignores, together=served.together)
    objectives: list[Objective] = [loss, *(machine.known() for machine in machines)]
    limits = limits_of(run.target, served)
    caps = limited(objectives, limits)
    return Engine(
        served.space,
        objectives,
        seed=run.seed,
        reference={m.objective: m.limit_ms or m.latency(teacher).best for m in machines},
        strategy=strategy_of(run),
        features=features,
        limits=limits,
        first=first_students(served.space, teacher, lambda codes: kept(caps, codes)),
    )


def size_features(space: SearchSpace, serving: Serving) -> Callable[[Codes], FloatArray]:
    """Surrogate features (n, 2) of codes: the logarithms of parameters and FLOPs."""
    figures = tabulate(space, serving, lambda operators: np.array([[o.parameters, o.flops] for o in operators]))
    return lambda codes: np.log(figures(codes))


def propose(
    engine: Engine, lengths: Sequence[int], shared: Callable[[int, int], int]
) -> tuple[Architecture, int] | None:
    """What to train next and on how many tokens; None where nothing is left."""
    if len(lengths) == 1:
        proposals = engine.ask(1)
        return (proposals[0], lengths[0]) if proposals else None

    def effort(architecture: Architecture, since: float, tokens: float) -> float:
        return (tokens - shared(int(since), int(tokens))) * size(architecture)

    training = engine.ask_training(lengths, effort)
    return (training.architecture, int(training.fidelity)) if training else None
