"""KD-NAS's episodes: random at first, then ever more of the best foreseen; nothing is kept between asks."""

import json
from typing import Any

import numpy as np
import pytest

from distilsearch.architecture import Architecture
from distilsearch.engine.engine import Engine
from distilsearch.engine.objectives import Expensive, Known
from distilsearch.engine.strategies import KDNAS, find_strategy
from distilsearch.engine.strategies.random import Random
from distilsearch.errors import InputError
from distilsearch.space import Parameter, SearchSpace
from distilsearch.testing.strategies import StrategyContract, cost, loss, small_space

QUICK: dict[str, Any] = {"candidates": 4, "steps": 20, "decay": 0.5, "pool": 20}
WIDE = SearchSpace("generic", [Parameter(f"x{i}", (0, 1, 2, 3)) for i in range(5)])
REFERENCE = {"loss": 1.0, "ms": 20.0}


class TestKDNAS(StrategyContract):
    @pytest.fixture
    def strategy(self) -> KDNAS:
        return KDNAS(**QUICK)


class TestSeveralTargets(StrategyContract):
    @pytest.fixture
    def strategy(self) -> KDNAS:
        return KDNAS(**QUICK, targets=(0.6, 0.2), beyond=-1.0)

    @pytest.fixture
    def examples(self) -> int:
        return 1


def sizes(codes: Any) -> Any:
    return 1.0 + codes.sum(axis=1)


def wide_loss(architecture: Architecture) -> float:
    return 1.0 - sum(float(x) for x in architecture.values.values()) / 20.0


def engine(strategy: KDNAS, seed: int = 0) -> Engine:
    return Engine(WIDE, [Expensive("loss"), Known("ms", sizes)], seed, reference=REFERENCE, strategy=strategy)


def told(search: Engine, trials: int) -> list[Architecture]:
    asked = []
    for _ in range(trials):
        (architecture,) = search.ask()
        search.tell(architecture, {"loss": wide_loss(architecture)})
        asked.append(architecture)
    return asked


def test_exploration_falls_from_all_of_an_episode_to_a_twentieth() -> None:
    published = KDNAS()
    shares = [sum(published.explores(episode, place) for place in range(20)) for episode in range(25)]
    assert shares == [*range(20, 1, -1), *[1] * 6]


def test_the_first_episode_is_random_search() -> None:
    search = engine(KDNAS())
    same = Engine(WIDE, search.objectives, 0, reference=REFERENCE, strategy=Random())
    assert told(search, 20) == told(same, 20)


def test_later_episodes_go_where_rewards_are_foreseen() -> None:
    strategy = KDNAS(candidates=30, decay=1.0, alpha=0.0, beyond=0.0, steps=120, rate=1e-2)
    search = engine(strategy)
    losses = [wide_loss(a) for a in told(search, 60)]
    assert np.mean(losses[32:]) < np.mean(losses[:30]) - 0.2


def test_episodes_take_the_targets_in_turn() -> None:
    strategy = KDNAS(
        candidates=20, targets=(1.0, 0.2), beyond=-3.0, alpha=0.0, decay=1.0, least=0.0, steps=120, rate=1e-2
    )
    search = engine(strategy)
    costs = [float(sizes(WIDE.encode([a]))[0]) for a in told(search, 60)]
    assert np.mean(costs[20:40]) < 8.0  # of the second target, 4
    assert np.mean(costs[40:]) > 12.0  # of the first, 20: nothing is beyond it


def test_a_search_that_was_killed_and_goes_on_proposes_the_same() -> None:
    strategy = KDNAS(**QUICK)
    whole, killed = engine(strategy), engine(strategy)
    told(whole, 11)
    told(killed, 11)
    state = json.loads(json.dumps(killed.state()))
    again = Engine.restore(WIDE, killed.objectives, state)
    assert again.strategy == strategy
    assert told(again, 6) == told(whole, 6)


def test_results_of_others_count_as_episodes_that_were() -> None:
    search = engine(KDNAS(**QUICK, exploration=1.0, least=0.0))
    for architecture in WIDE.decode(WIDE.sample(40, np.random.default_rng(3))):
        search.tell(architecture, {"loss": wide_loss(architecture)})
    view = search._view([])
    predictor = search.strategy.learnt(view, 10)  # type: ignore[attr-defined]
    assert predictor is search.strategy.learnt(view, 10)  # type: ignore[attr-defined]  # fitted once an episode
    predictor.check(WIDE)
    (asked,) = search.ask()
    assert asked not in {o.architecture for o in search.outcomes()}


def test_pending_students_have_their_places_in_an_episode() -> None:
    search = engine(KDNAS(**QUICK))
    first = search.ask(9)
    assert len(set(first)) == 9
    assert told(search, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"candidates": 0}, "1 or more of each: candidates = 0"),
        ({"targets": []}, "positive shares"),
        ({"targets": [0.6, -1.0]}, "positive shares"),
        ({"targets": [0.6, 0.3]}, "2 targets .* same order of students.* another beyond"),
        ({"least": 0.9, "exploration": 0.5}, "least <= exploration"),
        ({"rate": 0.0}, "its rate positive"),
        ({"target": 0.6}, "does not take these options"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        find_strategy("kdnas", options)


def test_what_it_cannot_search_is_refused() -> None:
    space = small_space()
    with pytest.raises(InputError, match="exactly one expensive and one known"):
        KDNAS().check(space, [Expensive("loss")])
    negative = Engine(space, [Expensive("loss"), Known("ms", lambda codes: -cost(space).values(codes))],
                      reference={"loss": 1.0, "ms": -0.1}, strategy=KDNAS(**QUICK))  # fmt: skip
    for architecture in negative.ask(4):
        negative.tell(architecture, {"loss": loss(architecture)})
    with pytest.raises(InputError, match="needs positive costs to minimise; 'ms' has others"):
        negative.ask(4)
