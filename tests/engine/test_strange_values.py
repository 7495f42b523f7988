"""Values, architectures and states of wrong types are refused in the caller's terms, and never with a traceback."""

import json
import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilsearch.architecture import Architecture
from distilsearch.engine.engine import Engine
from distilsearch.engine.objectives import Codes, Expensive, Known, Limit
from distilsearch.errors import InputError
from distilsearch.space import Constraint, Parameter, SearchSpace

SPACE = SearchSpace("generic", [Parameter("x", tuple(range(6))), Parameter("y", (0, 1))])
OBJECTIVES = [Expensive("loss"), Known("ms", lambda codes: 1.0 + codes[:, 0])]
ONE = Architecture("generic", {"x": 1, "y": 0})
SCRAPS: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=3,
)


def told() -> Engine:
    engine = Engine(SPACE, OBJECTIVES, initial=2)
    for i, asked in enumerate(engine.ask(2)):
        engine.tell(asked, {"loss": 0.5 + i}, noise=0.1, fidelity=10.0, area=0.7)
    engine.ask(2)
    engine.fail(engine.ask()[0], "out of memory")
    return engine


STATE = json.loads(json.dumps(told().state()))


def places(value: Any) -> list[tuple[Any, ...]]:
    """The path of every entry of nested JSON."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for key, inner in entries for path in [(key,), *((key, *rest) for rest in places(inner))]]


@given(st.sampled_from(places(STATE)), st.one_of(st.just("gone"), SCRAPS))
@settings(max_examples=300, deadline=None)
def test_a_state_that_was_changed_anywhere_is_read_or_refused(path: tuple[Any, ...], scrap: Any) -> None:
    state = json.loads(json.dumps(STATE))
    holder = state
    for key in path[:-1]:
        holder = holder[key]
    if scrap == "gone":
        del holder[path[-1]]
    else:
        holder[path[-1]] = scrap
    try:
        engine = Engine.restore(SPACE, OBJECTIVES, state)
    except InputError:
        return
    json.dumps(engine.state())
    assert engine.reference.keys() <= {"loss", "ms"}


@given(SCRAPS)
@settings(max_examples=100, deadline=None)
def test_whatever_is_told_is_a_result_or_refused(scrap: Any) -> None:
    engine = Engine(SPACE, OBJECTIVES)
    calls: list[Callable[[], object]] = [
        lambda: engine.tell(ONE, scrap),
        lambda: engine.tell(ONE, {"loss": scrap}),
        lambda: engine.tell(ONE, {"loss": 0.5}, noise=scrap, fidelity=scrap),
        lambda: engine.tell(scrap, {"loss": 0.5}),
        lambda: engine.fail(scrap, "a reason"),
        lambda: engine.expect(scrap),
        lambda: engine.freeze(scrap),
        lambda: Engine.restore(SPACE, OBJECTIVES, scrap),
        lambda: Architecture.from_json(scrap),
        lambda: Architecture("generic", scrap),
        lambda: Architecture("generic", {"x": scrap, "y": 0}),
    ]
    for call in calls:
        with suppress(InputError):
            call()
    json.dumps(engine.state(), allow_nan=False)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: told().tell(ONE, {"loss": "0.5"}), r"loss must be a number; got '0.5' \(str\)"),
        (lambda: told().tell(ONE, {"loss": 10**400}), "finite loss"),
        (lambda: told().tell({"x": 1, "y": 0}, {"loss": 0.5}), r"must be architectures.*got \{'x': 1"),
        (lambda: told().ask("2"), "whole number"),
        (lambda: told().ask(1.5), "whole number"),
        (lambda: told().fail(ONE, 3), "reason of a failure must be text"),
        (lambda: told().expect(ONE), "must be a list"),
        (lambda: told().expect([], -1), "counter of asks"),
        (lambda: told().ask_training(["a"]), "a length of training must be a number"),
        (lambda: told().converged("a"), "the share must be a number"),
        (lambda: Engine.restore(SPACE, OBJECTIVES, json.dumps(STATE)), "an engine state must be a mapping"),
        (lambda: Engine.restore(SPACE, OBJECTIVES, {**STATE, "seed": None}), "'seed' of an engine state"),
        (lambda: Engine.restore(SPACE, OBJECTIVES, {"schema": 1}), "has no 'objectives'"),
        (lambda: Engine(None, OBJECTIVES), "searches a SearchSpace"),
        (lambda: Engine(SPACE, ["loss"]), "Expensive"),
        (lambda: Engine(SPACE, OBJECTIVES, initial="3"), "initial design"),
        (lambda: Engine(SPACE, OBJECTIVES, seed=-1), "the seed"),
        (lambda: Engine(SPACE, OBJECTIVES, reference={"ms": "a"}), "reference of ms"),
        (lambda: Engine(SPACE, OBJECTIVES, strategy=3), "a strategy is one of"),
        (lambda: Engine(SPACE, OBJECTIVES, limits=["a"]), "Limit"),
        (lambda: Known("ms", len, at_most="5"), "limit of 'ms' must be a number"),
        (lambda: Engine(SPACE, [Expensive("loss"), Known("ms", None)]).ask(), "must be a function of codes"),
        (lambda: Engine(SPACE, [Expensive("loss"), Known("ms", lambda c: ["a"])]).ask(), "one number a row"),
        (lambda: Expensive("loss", ignores="x"), "must be a list"),
        (lambda: Architecture("generic", [1, 2]), "genes of an architecture"),
        (lambda: Architecture("generic", {"x": math.nan}), "finite"),
        (lambda: Architecture("generic", {"x": [1]}), "a number, a string or a boolean"),
        (lambda: Parameter("a", 3), "list of choices"),
        (lambda: Parameter("a", ([1],)), "a number or text"),
        (lambda: SearchSpace("generic", ["a"]), "Parameter"),
        (lambda: SearchSpace("generic", [Parameter("ab", (1,))], [Constraint("ab", bool)]), "in a tuple"),
        (lambda: SPACE.encode([{"x": 1}]), "expected an Architecture"),
    ],
)
def test_the_message_says_what_was_expected_and_what_came(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


def test_numbers_of_any_kind_are_numbers() -> None:
    engine = told()
    values = {"loss": np.float32(0.5), "ms": np.int16(3)}
    engine.tell(ONE, values, noise=np.float64(0.1), fidelity=np.int64(5))  # type: ignore[arg-type]
    assert json.loads(json.dumps(engine.state()))["tells"][-1]["values"] == {"loss": 0.5, "ms": 3.0}


def runs(codes: Codes) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.asarray((codes[:, 0] + codes[:, 1]) % 3 != 0)


@pytest.mark.parametrize("strategy", ["ehvi", "reward", "enumerate"])
@pytest.mark.parametrize("bounded", [False, True])
@pytest.mark.parametrize("goal", ["min", "max"])
def test_what_cannot_be_run_is_never_proposed_and_all_else_is(strategy: str, bounded: bool, goal: str) -> None:
    if strategy == "reward" and goal == "max":
        pytest.skip("it needs positive costs to minimise")
    cost = lambda codes: 1.0 + codes.sum(axis=1)  # noqa: E731
    known = Known(
        "ms",
        lambda codes: np.where(runs(codes), cost(codes), np.inf),
        goal,  # type: ignore[arg-type]
        at_most=9.0 if bounded else None,
        upper=cost if bounded else None,
    )
    engine, seen = Engine(SPACE, [Expensive("loss"), known], initial=3, strategy=strategy), set()
    while asked := engine.ask(2):
        for architecture in asked:
            seen.add(architecture)
            engine.tell(architecture, {"loss": 1.0 / (1.0 + float(architecture["x"]))})
    grid = SPACE.grid(100)
    assert seen == set(SPACE.decode(grid[runs(grid)]))
    assert math.isfinite(engine.reference["ms"])


def test_a_result_of_what_cannot_be_run_here_teaches_and_stands_on_no_front() -> None:
    known = Known("ms", lambda codes: np.where(codes[:, 0] < 4, 1.0 + codes[:, 0], np.inf))
    engine = Engine(SPACE, [Expensive("loss"), known], initial=3)
    for i, row in enumerate(SPACE.grid(100)[[0, 5, 10, 11]]):
        engine.tell(SPACE.decode(row[None])[0], {"loss": 1.0 - 0.2 * i})
    assert all(o.values["ms"] < math.inf for o in engine.front())
    assert math.isfinite(engine.hypervolume())
    assert int(engine.ask()[0]["x"]) < 4
    assert engine.diagnostics() is not None


def test_a_space_of_which_nothing_can_be_run_is_named() -> None:
    known = Known("ms", lambda codes: np.full(len(codes), np.inf))
    with pytest.raises(InputError, match="ms"):
        Engine(SPACE, [Expensive("loss"), known], limits=[Limit("x", lambda codes: codes[:, 0], 3.0)]).ask()
    with pytest.raises(InputError, match="ms is infinite"):
        Engine(SPACE, [Expensive("loss"), known]).ask()
