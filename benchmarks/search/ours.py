"""This project's engine on the same problems, and what each of its parts is worth.

As in the main job, the surrogate is given the logarithms of parameters and multiplications where a problem knows them.

An ablated engine is the same engine with one part taken out: those sizes, the known cost (learnt like the quality), the
choice of a kernel and warp, or the cost among the surrogate's features.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from unittest.mock import patch

from search.peers import Evaluated, Method, told_of
from search.problems import Problem

import distilsearch.engine.beliefs as beliefs
from distilsearch.engine.engine import Engine
from distilsearch.engine.objectives import Expensive, Known, Objective
from distilsearch.engine.view import View

Change = Callable[[], AbstractContextManager[object]]


def engine(known: bool = True, change: Change = nullcontext, same_start: bool = False, sizes: bool = True) -> Method:
    """The engine with its defaults, one proposal at a time; or with the initial design of the others."""

    def run(problem: Problem, seed: int, budget: int) -> Evaluated:
        told = told_of(problem, seed)
        cost: Objective = Known("cost", problem.cost) if known else Expensive("cost")
        search = Engine(
            problem.space,
            [Expensive("loss"), cost],
            seed,
            initial=problem.space.decode(problem.initial(seed)) if same_start else None,
            reference=dict(zip(("loss", "cost"), map(float, problem.reference), strict=True)),
            features=problem.sizes if sizes else None,
        )
        for _ in range(budget):
            start = time.perf_counter()
            with change():
                (architecture,) = search.ask()
            took = time.perf_counter() - start
            row = problem.space.encode([architecture])
            values = dict(zip(("loss", "cost"), told(row)[0].tolist(), strict=True))
            search.tell(architecture, values if not known else {"loss": values["loss"]})
            yield row, took

    return run


def one_surrogate() -> AbstractContextManager[object]:
    """A Matern process without warps, whatever the data say."""
    return patch.object(beliefs, "fit_surrogate", partial(beliefs.fit_surrogate, kernels=("matern",), warps=False))


def no_cost_feature() -> AbstractContextManager[object]:
    """Genes and size alone as features."""
    further = View.further
    return patch.object(View, "further", lambda self, codes: further(self, codes)[:, len(self.known) :])


OURS: dict[str, Method] = {
    "distilsearch": engine(),
    "distilsearch-same-start": engine(same_start=True),
    "without-sizes": engine(sizes=False),
    "without-known-cost": engine(known=False),
    "without-choice": engine(change=one_surrogate),
    "without-cost-feature": engine(change=no_cost_feature),
}
