"""Limits that are no objectives: nothing beyond them is proposed or shown, and within them nothing else changes."""

import json

import numpy as np
import pytest
from botorch.acquisition.multi_objective import logei
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils import cpp_extension

from distilsearch.architecture import Architecture
from distilsearch.arrays import FloatArray
from distilsearch.engine.engine import Engine
from distilsearch.engine.objectives import Codes, Expensive, Known, Limit, check_objectives, hypervolume, limited
from distilsearch.engine.pool import bred
from distilsearch.errors import InputError
from distilsearch.space import Constraint, Parameter, SearchSpace
from distilsearch.testing import enumerate_space, spaces

DEPTHS, WIDTHS = (1, 2, 3, 4), (8, 16, 32, 64)


def _space(*rules: Constraint) -> SearchSpace:
    return SearchSpace("generic", [Parameter("depth", DEPTHS), Parameter("width", WIDTHS)], rules)


def _cost(codes: Codes) -> FloatArray:
    return np.array([DEPTHS[d] * WIDTHS[w] / 8 for d, w in codes])


def _memory(codes: Codes) -> FloatArray:
    return np.array([DEPTHS[d] * WIDTHS[w] ** 2 / 64 for d, w in codes])


def _loss(a: Architecture) -> float:
    return 1.0 / (1.0 + float(a["depth"])) + 4.0 / float(a["width"])


def _engine(space: SearchSpace, strategy: str = "ehvi", limit: float | None = None) -> Engine:
    limits = [] if limit is None else [Limit("memory", _memory, limit)]
    objectives = [Expensive("loss"), Known("ms", _cost)]
    reference = {"loss": 1.2, "ms": 40.0}
    return Engine(space, objectives, initial=3, reference=reference, strategy=strategy, limits=limits)


def _told(engine: Engine, architectures: list[Architecture]) -> None:
    for architecture in architectures:
        engine.tell(architecture, {"loss": _loss(architecture)})


@given(spaces(), st.lists(st.integers(-20, 400), min_size=2, max_size=2), st.integers(0, 50))
@settings(deadline=None, max_examples=40)
def test_what_is_proposed_keeps_every_limit_and_nothing_else_is_left_out(
    space: SearchSpace, most: list[int], seed: int
) -> None:
    weights = np.random.default_rng(seed).integers(0, 50, size=(2, space.d))
    limits = [
        Limit(f"limit{i}", lambda codes, w=w: codes @ w, m) for i, (w, m) in enumerate(zip(weights, most, strict=True))
    ]
    rows = [np.array(row) for row in enumerate_space(space)]
    naive = {tuple(row) for row in rows if all(int(row @ w) <= m for w, m in zip(weights, most, strict=True))}
    engine = Engine(space, [Expensive("loss")], seed=seed, strategy="enumerate", limits=limits)
    if naive:
        assert {tuple(row) for row in space.encode(engine.ask(10_000)).tolist()} == naive
    else:
        with pytest.raises(InputError, match=r"no architecture of this space keeps limit0 <= .* and limit1"):
            engine.ask()


@given(st.sets(st.integers(0, 15), min_size=1), st.sampled_from([1.0, 9.0, 30.0, 300.0]))
@settings(deadline=None, max_examples=40)
def test_front_and_volume_are_those_of_the_outcomes_within(which: set[int], limit: float) -> None:
    space = _space()
    engine = _engine(space, limit=limit)
    told = space.decode(space.grid(100)[sorted(which)])
    _told(engine, told)
    within = [a for a in told if _memory(space.encode([a]))[0] <= limit]
    points = {a: (_loss(a), float(_cost(space.encode([a]))[0])) for a in within}
    front = {a for a, p in points.items() if not any(q[0] <= p[0] and q[1] <= p[1] and q != p for q in points.values())}
    assert {o.architecture for o in engine.front()} == front
    assert engine.hypervolume() == pytest.approx(hypervolume(list(points.values()) or np.empty((0, 2)), [1.2, 40.0]))


@pytest.mark.parametrize("strategy", ["ehvi", "reward"])
def test_a_limit_proposes_what_a_space_without_the_rest_would(strategy: str) -> None:
    """The rule as a constraint of the space is the oracle: the same features, the same candidates."""
    rule = Constraint(("depth", "width"), lambda depth, width: depth * width**2 / 64 <= 30.0)
    small, whole = _engine(_space(rule), strategy), _engine(_space(), strategy, 30.0)
    first = small.ask(3)
    assert whole.ask(3) == first
    for engine in (small, whole):
        _told(engine, first)
    for _ in range(4):
        (one,), (other,) = small.ask(), whole.ask()
        assert one == other
        _told(small, [one])
        _told(whole, [one])
    assert [o.architecture for o in small.front()] == [o.architecture for o in whole.front()]


@pytest.mark.parametrize("strategy", ["ehvi", "reward"])
def test_what_was_told_beyond_the_limit_hides_nothing_within(strategy: str) -> None:
    """Students of earlier runs may be too large for this one; they teach, and stand on no front."""
    space = _space()
    engine = _engine(space, strategy, 4.0)
    large = [a for a in space.decode(space.grid(100)) if _memory(space.encode([a]))[0] > 4.0]
    _told(engine, large)
    assert engine.front() == []
    assert engine.hypervolume() == 0.0
    (asked,) = engine.ask()
    assert _memory(space.encode([asked]))[0] <= 4.0
    assert engine.expected_improvement() > 0.05  # of an empty front
    trained = engine.ask_training([1.0, 2.0])
    assert trained is not None
    assert trained.since == 0.0  # none of the large ones is trained on


def test_four_objectives_keep_a_limit_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is compiled for them either: what would be, fails here, and another's flag stays as it was."""
    monkeypatch.setattr(cpp_extension, "load", lambda *args, **more: pytest.fail("something is compiled"))
    monkeypatch.setattr(logei, "_load_attempted", False, raising=False)
    space = _space()
    more = [Known(f"cost{i}", lambda codes, i=i: 1.0 + codes[:, i % 2] + i) for i in range(2)]
    engine = Engine(
        space, [Expensive("loss"), Known("ms", _cost), *more], initial=3, limits=[Limit("memory", _memory, 9.0)]
    )
    _told(engine, space.decode(space.grid(100)[10:]))  # most of them beyond the limit
    asked = engine.ask(2)
    assert len(asked) == 2
    assert (_memory(space.encode(asked)) <= 9.0).all()
    assert logei._load_attempted is False


def test_a_state_with_limits_is_not_read_without_them() -> None:
    space = _space()
    engine, plain = _engine(space, limit=9.0), _engine(space)
    state = json.loads(json.dumps(engine.state()))
    assert plain.state()["schema"] == 1  # what older versions read stays as it was
    assert state["schema"] == 2
    assert "limits" not in plain.state()
    restored = Engine.restore(space, engine.objectives, state, limits=[Limit("memory", _memory, 9.0)])
    assert restored.ask(2) == engine.ask(2)
    with pytest.raises(InputError, match=r"the state is of the limits \['memory'\]; got \[\]"):
        Engine.restore(space, engine.objectives, state)


def test_senseless_limits_are_refused() -> None:
    with pytest.raises(InputError, match="must be a finite number"):
        Limit("memory", _memory, float("inf"))
    with pytest.raises(InputError, match="nothing keeps 'ms' between at_least=3"):
        Known("ms", _cost, at_least=3.0, at_most=2.0)
    with pytest.raises(InputError, match="limits nothing; give it at_most, at_least or both"):
        Limit("memory", _memory)
    with pytest.raises(InputError, match="different names"):
        check_objectives([Expensive("loss")], [Limit("loss", _memory, 1.0)])
    with pytest.raises(InputError, match=r"breaks memory <= 1"):
        Engine(
            _space(),
            [Expensive("loss")],
            initial=_space().decode(_space().grid(99)[-1:]),
            limits=[Limit("memory", _memory, 1.0)],
        )


def test_rows_are_bred_towards_several_limits_at_once() -> None:
    genes = [Parameter(f"g{i}", tuple(range(8))) for i in range(12)]
    space = SearchSpace("generic", genes)
    limits = [
        Limit("low", lambda codes: codes[:, :6].sum(1), 3.0),
        Limit("high", lambda codes: -codes[:, 6:].sum(1), -39.0),
    ]
    rng = np.random.default_rng(0)
    codes = bred(space, limited([], limits), space.sample(512, rng), rng)
    assert np.all([limit.within(codes) for limit in limits], axis=0).sum() > 50


def test_least_values_of_known_functions_are_kept_and_cut_the_volume() -> None:
    """Slack to be raised and kept is time to be lowered and kept: the same proposals and the same front."""
    space = _space()
    first = space.decode(space.grid(100)[[0, 5, 6]])
    dear = space.decode(space.grid(100)[-1:])  # so that neither has logarithms

    def asked(known: Known) -> list[Architecture]:
        engine = Engine(space, [Expensive("loss"), known], initial=first, reference={"loss": 2.0})
        _told(engine, dear)
        for _ in range(6):
            _told(engine, engine.ask())
        return [o.architecture for o in (*engine.outcomes(), *engine.front())]

    slow = asked(Known("ms", lambda codes: _cost(codes) - 20.0, at_most=-8.0))
    fast = asked(Known("slack", lambda codes: 20.0 - _cost(codes), "max", at_least=8.0))
    assert slow == fast
    assert (_cost(space.encode(fast[1:])) <= 12.0).all()


def test_least_values_are_held_against_lower_bounds_and_named() -> None:
    space = _space()
    speed = Known("speed", _cost, "max", at_least=40.0, lower=lambda codes: _cost(codes) - 9.0)
    with pytest.raises(InputError, match=r"keeps speed >= 40 \(the highest lower bound found is 23\); loosen"):
        Engine(space, [Expensive("loss"), speed]).ask()
    between = Limit("memory", _memory, at_most=16.0, at_least=4.0)
    engine = Engine(space, [Expensive("loss")], strategy="enumerate", limits=[between])
    memory = _memory(space.encode(engine.ask(99)))
    assert ((memory >= 4.0) & (memory <= 16.0)).all()
    assert len(memory) == between.within(space.grid(99)).sum()
    with pytest.raises(InputError, match=r"breaks memory >= 4"):
        Engine(space, [Expensive("loss")], initial=space.decode(space.grid(99)[:1]), limits=[between])
