"""Random search: even over the space, blind to what was told, in spaces of any size."""

from collections import Counter

import numpy as np
import pytest

from distilsearch.engine.engine import Engine
from distilsearch.engine.objectives import Codes, Expensive, Known
from distilsearch.space import Parameter, SearchSpace
from distilsearch.testing.strategies import cost, loss, small_space


def large_space() -> SearchSpace:
    """A space of 8^9 architectures: too many to list."""
    return SearchSpace("generic", [Parameter(f"gene{i}", tuple(range(8))) for i in range(9)])


def summed(codes: Codes) -> np.ndarray:
    return 1.0 + codes.sum(axis=1)


def test_every_architecture_is_as_likely_as_any_other() -> None:
    space = small_space()
    draws = Counter(
        architecture.key
        for seed in range(600)
        for architecture in Engine(space, [Expensive("loss"), cost(space)], seed, strategy="random").ask(3)
    )
    even = 600 * 3 / int(space.size)
    assert len(draws) == space.size
    chi = sum((count - even) ** 2 / even for count in draws.values())
    assert chi < 2 * int(space.size)  # expected about its size, less one


def test_what_was_told_does_not_move_it() -> None:
    space, proposals = small_space(), []
    for sign in (1.0, -1.0):
        engine = Engine(space, [Expensive("loss"), cost(space)], 5, strategy="random")
        for _ in range(6):
            (architecture,) = engine.ask()
            engine.tell(architecture, {"loss": sign * loss(architecture)})
        proposals.append(engine.ask(4))
    assert proposals[0] == proposals[1]


@pytest.mark.parametrize("at_most", [None, 20.0, 3.0])
def test_a_space_too_large_to_list_is_drawn_within_its_limit(at_most: float | None) -> None:
    space = large_space()
    engine = Engine(space, [Expensive("loss"), Known("ms", summed, at_most=at_most)], 0, strategy="random")
    asked = [architecture for _ in range(3) for architecture in engine.ask(4)]
    assert len(set(asked)) == 12
    costs = summed(space.encode(asked))
    assert at_most is None or (costs <= at_most).all()
    if at_most is None:
        assert 20 < costs.mean() < 45  # 32.5 over the whole space
