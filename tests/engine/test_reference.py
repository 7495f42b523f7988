"""The corner of hypervolumes: no part of a space is cut off in silence, and a search with nothing to gain says so."""

import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilsearch.architecture import Architecture
from distilsearch.arrays import FloatArray
from distilsearch.engine.engine import Engine
from distilsearch.engine.objectives import Codes, Expensive, Known, Limit
from distilsearch.engine.reference import NothingToGain
from distilsearch.errors import InputError
from distilsearch.space import Constraint, Parameter, SearchSpace
from distilsearch.testing import spaces


def grid_space(genes: int, choices: int) -> SearchSpace:
    return SearchSpace("generic", [Parameter(f"x{i}", tuple(range(choices))) for i in range(genes)])


def total(codes: Codes) -> FloatArray:
    return np.asarray(1.0 + codes.sum(axis=1, dtype=np.float64))


def run(engine: Engine, trials: int, loss: object = None) -> Codes:
    rows = []
    for _ in range(trials):
        (asked,) = engine.ask()
        row = engine.space.encode([asked])
        rows.append(row[0])
        engine.tell(asked, {"loss": float(loss(row)[0]) if callable(loss) else 1.0 / float(total(row)[0])})
    return np.array(rows)


@given(spaces(), st.integers(0, 100), st.sampled_from(["min", "max"]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_whole_space_lies_within_the_corner_of_a_known_objective(
    space: SearchSpace, seed: int, goal: str, limit: bool
) -> None:
    weights = np.random.default_rng(seed).integers(-9, 9, space.d)
    known = Known("cost", lambda codes: codes @ weights, goal)  # type: ignore[arg-type]
    most = float(np.median(space.grid(10_000)[:, 0]))
    limits = [Limit("first", lambda codes: codes[:, 0], most)] if limit else []
    engine = Engine(space, [Expensive("loss"), known], limits=limits)
    rows = [row for row in space.grid(10_000) if not limit or row[0] <= most]  # the naive oracle
    costs = known.sign * np.array([row @ weights for row in rows], dtype=np.float64)
    corner = known.sign * engine.reference["cost"]
    steps = max(len(np.unique(costs)) - 1, 1)
    reach = np.ptp(costs) or abs(costs.max()) or 1.0
    assert corner == pytest.approx(costs.max() + max(0.1, (np.ptp(costs) > 0) / steps) * reach)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_end_of_a_space_too_large_to_list_is_climbed_to(sign: float) -> None:
    space = grid_space(48, 4)
    weights = sign * (1.0 + np.arange(48) / 24)
    engine = Engine(space, [Expensive("loss"), Known("cost", lambda codes: codes @ weights)])
    assert engine.reference["cost"] > 3 * weights.clip(0).sum() > 0 or sign < 0
    assert engine.reference["cost"] > (3 * weights).clip(0).sum()


def test_a_large_space_is_climbed_within_its_rules_and_limits() -> None:
    genes = [Parameter(f"x{i}", tuple(range(8))) for i in range(12)]
    rules = [Constraint(("x0", "x1"), lambda a, b: a + b <= 7)]
    space = SearchSpace("generic", genes, rules)
    limit = Limit("half", lambda codes: codes[:, 6:].sum(axis=1), 21.0)
    engine = Engine(space, [Expensive("loss"), Known("cost", total)], limits=[limit])
    worst, least = 1 + 7 + 4 * 7 + 21, 1
    assert engine.reference["cost"] == pytest.approx(worst + 0.1 * (worst - least))


@pytest.mark.parametrize("seed", range(3))
def test_the_dearest_of_four_levels_is_proposed(seed: int) -> None:
    genes = [Parameter("level", (1, 2, 3, 4)), *(Parameter(f"x{i}", (0, 1, 2, 3)) for i in range(3))]
    space = SearchSpace("generic", genes)
    engine = Engine(space, [Expensive("loss"), Known("cost", lambda codes: 1.0 + codes[:, 0])], seed)
    rows = run(engine, 12, lambda codes: (2.0 - 0.45 * codes[:, 0]) * (1 + ((codes[:, 1:] - 1) ** 2).sum(1) / 12))
    assert (rows[:, 0] == 3).any()
    assert engine.reference["cost"] == 5.0


def test_earlier_results_of_cheap_models_cut_nothing_off() -> None:
    space = grid_space(5, 5)
    engine = Engine(space, [Expensive("loss"), Known("cost", total)])
    for row in space.grid(10_000)[np.argsort(total(space.grid(10_000)), kind="stable")[:8]]:
        engine.tell(space.decode(row[None])[0], {"loss": float(1 / total(row[None])[0])})
    assert not engine.converged()
    assert total(run(engine, 5)).max() > 10


def test_what_was_told_best_first_is_all_counted_before_the_first_proposal() -> None:
    space = grid_space(2, 6)
    engine = Engine(space, [Expensive("loss"), Known("cost", total)], initial=3)
    losses = [0.1 * (i + 1) for i in range(8)]
    for architecture, value in zip(space.decode(space.grid(100)[:8]), losses, strict=True):
        engine.tell(architecture, {"loss": value})
    assert engine.frozen is None
    engine.ask()
    assert engine.frozen == pytest.approx({"loss": 0.8 + 0.1 * 0.7, "cost": 11 + 0.1 * 10})
    frozen = engine.frozen
    engine.tell(space.decode(space.grid(100)[20:21])[0], {"loss": 9.0})
    assert engine.frozen == frozen == Engine.restore(space, engine.objectives, engine.state()).frozen


@pytest.mark.parametrize("value", [5.0, 0.0, -2.0])
def test_a_constant_cost_leaves_a_search_for_the_best_loss(value: float) -> None:
    space = grid_space(2, 6)
    cost = Known("cost", lambda codes: np.full(len(codes), value))
    engine = Engine(space, [Expensive("loss"), cost], initial=4)
    run(engine, 14, lambda codes: 1.0 + codes[:, 0] + codes[:, 1])
    assert engine.reference["cost"] > value
    assert engine.hypervolume() > 0
    assert engine.front()[0].values["loss"] == 1.0
    assert engine.converged()


def test_measurements_that_are_slower_than_foreseen_stay_within_and_one_wild_one_moves_nothing() -> None:
    space = grid_space(2, 6)
    engines = [Engine(space, [Expensive("loss"), Known("cost", total)], initial=4) for _ in range(2)]
    for engine, factors in zip(engines, ([3.0] * 4, [1.0, 1.0, 1.0, 1000.0]), strict=True):
        for factor in factors:
            (asked,) = engine.ask()
            engine.tell(asked, {"loss": 0.5, "cost": factor * float(total(space.encode([asked]))[0])})
    slow, wild = (engine.frozen for engine in engines)
    assert slow is not None
    assert wild is not None
    assert slow["cost"] == pytest.approx(36.0)
    assert wild["cost"] == pytest.approx(12.0)
    assert engines[0].hypervolume() > 0


def unreachable(**reference: float) -> Engine:
    space = grid_space(3, 4)
    engine = Engine(space, [Expensive("loss"), Known("cost", total)], initial=3, reference=reference)
    for architecture in space.decode(space.grid(100)[[0, 21, 42]]):
        engine.tell(architecture, {"loss": float(1 / total(space.encode([architecture]))[0])})
    return engine


def test_a_reference_that_nothing_is_better_than_is_named_and_the_search_goes_on() -> None:
    engine = unreachable(cost=0.5, loss=2.0)
    assert engine.expected_improvement() == 0.0
    assert engine.converged()
    with pytest.warns(NothingToGain, match="below the reference of loss, cost"):
        asked = engine.ask(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NothingToGain)
        usual = unreachable(cost=11.0, loss=2.0).ask(3)
    assert asked == usual  # as with the worst of the space for a reference
    assert engine.reference["cost"] == 0.5


@pytest.mark.filterwarnings("ignore::distilsearch.engine.reference.NothingToGain")
def test_a_limit_that_all_candidates_just_keep_leaves_a_search_for_the_best_loss() -> None:
    space = grid_space(2, 5)
    cost = Known("cost", lambda codes: np.full(len(codes), 3.0), at_most=3.0)
    engine = Engine(space, [Expensive("loss"), cost], initial=3)
    run(engine, 12, lambda codes: 1.0 + codes[:, 0] + codes[:, 1])
    assert min(o.values["loss"] for o in engine.outcomes()) == 1.0
    assert engine.converged()


@pytest.mark.parametrize("end", ["told", "failed"])
def test_a_space_that_ends_within_the_design_has_converged(end: str) -> None:
    space = grid_space(1, 2)
    engine = Engine(space, [Expensive("loss"), Known("cost", total)], initial=5)
    asked = engine.ask(5)
    assert not engine.converged()  # they may still be told
    for architecture in asked:
        engine.tell(architecture, {"loss": 1.0}) if end == "told" else engine.fail(architecture, "out of memory")
    assert engine.expected_improvement() == 0.0
    assert engine.converged()


def test_what_is_measured_before_the_reference_is_frozen_moves_a_restored_engine_alike() -> None:
    space = grid_space(2, 6)
    engine = Engine(space, [Expensive("loss"), Known("cost", total)], initial=4)
    for i, asked in enumerate(engine.ask(4)[:3]):
        assert engine.reference["cost"] > 0
        engine.tell(asked, {"loss": 0.5 + i, "cost": 3.0 * float(total(space.encode([asked]))[0])})
    again = Engine.restore(space, engine.objectives, json.loads(json.dumps(engine.state())))
    assert again.reference == engine.reference
    assert again.ask(2) == engine.ask(2)


def test_a_frozen_reference_is_taken_over_whole() -> None:
    engine = unreachable()
    engine.freeze({"loss": 7.0, "cost": 3.0})
    engine.ask()
    assert engine.frozen == engine.reference == {"loss": 7.0, "cost": 3.0}
    with pytest.raises(InputError, match="cost"):
        engine.freeze({"loss": 7.0})
    with pytest.raises(InputError, match="speed"):
        engine.freeze({"loss": 7.0, "cost": 3.0, "speed": 1.0})


@pytest.mark.filterwarnings("ignore::distilsearch.engine.reference.NothingToGain")
def test_a_state_with_the_reference_of_an_older_rule_keeps_it() -> None:
    space = grid_space(2, 4)
    engine = Engine(space, [Expensive("loss"), Known("cost", total)], initial=2)
    for architecture in space.decode(space.grid(100)[[0, 1]]):
        engine.tell(architecture, {"loss": 0.5})
    state = json.loads(json.dumps(engine.state()))
    state["reference"]["frozen"] = {"loss": 0.5, "cost": 2.0}
    older = Engine.restore(space, engine.objectives, state)
    assert older.reference == {"loss": 0.5, "cost": 2.0}
    assert isinstance(older.ask()[0], Architecture)
    assert older.frozen == {"loss": 0.5, "cost": 2.0}
