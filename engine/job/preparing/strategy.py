"""The strategy that a run file names, as a value; what it cannot search is refused before anything is trained."""

import numpy as np

from distilsearch.space import SearchSpace

from ...objectives import Expensive, Known, Objective
from ...strategies import Strategy, find_strategy
from ..runfile.config import Run


def strategy_of(run: Run) -> Strategy:
    """The strategy with its options."""
    return find_strategy(run.strategy.name, run.strategy.options)


def check_strategy(run: Run, space: SearchSpace) -> None:
    """Refuse a strategy that cannot search the engine's space for one loss and the run's latencies.

    Raises:
        InputError: it says what the strategy needs.
    """
    latencies = [Known(f"latency {i}", lambda codes: np.zeros(len(codes))) for i in range(len(run.target))]
    objectives: list[Objective] = [Expensive("loss"), *latencies]
    strategy_of(run).check(space, objectives)
