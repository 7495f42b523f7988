"""Limits that must be learnt: what breaks them teaches and is on no front, and without them nothing is changed."""

import json
from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distilsearch.architecture import Architecture
from distilsearch.engine.beliefs import Beliefs
from distilsearch.engine.engine import Engine
from distilsearch.engine.feasibility import log_within
from distilsearch.engine.objectives import Expensive, Known, Limit
from distilsearch.errors import InputError
from distilsearch.predictors.surrogate.accuracy import fit_surrogate
from distilsearch.space import Parameter, SearchSpace
from distilsearch.testing.strategies import cost, loss, small_space

BEFORE = {
    "ehvi": "10bf8b8dd2de 7af9f1fcd653 28fa9f470d00 0b8fe010b4df",
    "reward": "333a65f7eb8d 10bf8b8dd2de 142adf050b73 28fa9f470d00",
}
Values = Callable[[Architecture], Mapping[str, float]]


def plane(n: int = 9) -> SearchSpace:
    return SearchSpace("generic", [Parameter("x", tuple(range(n))), Parameter("y", tuple(range(n)))])


def bowl(a: Architecture) -> float:
    """Least at (2, 2)."""
    return 0.1 + (float(a["x"]) / 8 - 0.25) ** 2 + (float(a["y"]) / 8 - 0.25) ** 2


def excess(a: Architecture) -> float:
    """Not positive on 6 of 81 architectures, far from where the bowl is low."""
    return (float(a["x"]) / 8 - 0.9) ** 2 + (float(a["y"]) / 8 - 0.6) ** 2 - 0.04


def both(a: Architecture) -> dict[str, float]:
    return {"loss": bowl(a), "excess": excess(a)}


def corners(space: SearchSpace) -> list[Architecture]:
    """Five that all break the limit of `excess`."""
    return space.decode(np.array([[0, 0], [0, 8], [4, 4], [8, 0], [2, 6]], dtype=np.int16))


def engine_of(*limits: Expensive | Limit, space: SearchSpace | None = None, **more: object) -> Engine:
    return Engine(space or plane(), [Expensive("loss")], initial=5, limits=limits, **more)  # type: ignore[arg-type]


def told(engine: Engine, architectures: list[Architecture], values: Values = both) -> Engine:
    for architecture in architectures:
        engine.tell(architecture, values(architecture))
    return engine


# The odds


@settings(max_examples=25, deadline=None)
@given(st.floats(-40, 40), st.floats(0.1, 30), st.sampled_from(["least", "most", "both"]))
def test_odds_are_those_of_the_normal_however_far_the_limits(at: float, width: float, side: str) -> None:
    features = torch.linspace(-1, 1, 6).double()[:, None]
    fit = fit_surrogate(features, features[:, 0].numpy() * 2.0 + 1.0, (0,), warps=False, kernels=("matern",))
    limits = {"least": (at, np.inf), "most": (-np.inf, at), "both": (at, at + width)}[side]
    odds = log_within(fit, features, limits)
    mean, sd = fit.marginals(features)
    low, high = ((torch.tensor(x, dtype=torch.float64) - fit.warp.centre) / fit.warp.scale - mean for x in limits)
    plain = torch.special.ndtr(high / sd) - torch.special.ndtr(low / sd)
    near = plain > 1e-9
    assert torch.allclose(odds[near].exp(), plain[near], rtol=1e-6, atol=1e-9)
    assert torch.isfinite(odds).all()
    assert (odds <= 1e-9).all()


def test_a_limit_below_everything_told_is_still_believed_in() -> None:
    """The logarithm above a shift, which skewed values are learnt by, would rule out whatever lies below the shift."""
    space = plane()
    sizes = {a: 100.0 + 9 * float(np.exp(2 * excess(a))) for a in space.decode(space.grid(99)[::5])}
    engine = engine_of(Expensive("size", at_most=80.0))
    for architecture, value in sizes.items():
        engine.tell(architecture, {"loss": bowl(architecture), "size": value})
    view = engine._view([])
    beliefs = Beliefs.of(view)
    features = beliefs.features(view.codes)
    skewed = fit_surrogate(features, view.limit_values[:, 0], beliefs.encoding.groups)
    assert skewed.warp.shift is not None
    assert skewed.warp.shift > 80.0
    assert beliefs.limits[0].warp.shift is None
    assert torch.isfinite(beliefs.log_kept(space.grid(99), everything=True)).all()


# What is proposed


def test_without_learnt_limits_proposals_are_those_of_the_versions_before() -> None:
    space = small_space()
    first = space.decode(space.grid(999)[3::37])[:5]
    for strategy, keys in BEFORE.items():
        engine = Engine(space, [Expensive("loss"), cost(space)], 1, first, {"loss": 2.0, "ms": 14.0}, strategy=strategy)
        asked = []
        for _ in range(9):
            asked += engine.ask()
            engine.tell(asked[-1], {"loss": loss(asked[-1])})
        assert [a.key for a in asked[5:]] == keys.split()
        assert engine.state()["schema"] == 1


def test_a_rare_constraint_is_found_and_kept_to() -> None:
    engine = engine_of(Expensive("excess", at_most=0.0), seed=1)
    for _ in range(14):
        told(engine, engine.ask())
    keeping = [excess(o.architecture) <= 0 for o in engine.outcomes()]
    assert sum(keeping) >= 5  # of 6 there are; uniform draws find one in 14
    assert all(excess(o.architecture) <= 0 for o in engine.front())


def test_while_nothing_keeps_the_limits_the_odds_alone_decide() -> None:
    def asked(sign: float) -> list[Architecture]:
        engine = engine_of(Expensive("excess", at_most=0.0))
        told(engine, corners(plane()), lambda a: {"loss": sign * bowl(a), "excess": excess(a)})
        assert engine.front() == []
        assert engine.expected_improvement() == np.inf
        assert not engine.converged()
        return engine.ask(3)

    assert asked(1.0) == asked(-1.0)
    assert len(set(asked(1.0))) == 3


def test_what_breaks_a_limit_teaches_the_objective() -> None:
    keeping = plane().decode(np.array([[7, 5], [8, 5]], dtype=np.int16))
    limited = told(engine_of(Expensive("excess", at_most=0.0)), [*corners(plane()), *keeping])
    plain = told(engine_of(), [*corners(plane()), *keeping], lambda a: {"loss": bowl(a)})
    codes = plane().grid(99)
    one, other = (Beliefs.of(e._view([])).belief(codes) for e in (limited, plain))
    assert torch.equal(one.mean, other.mean)
    assert [o.architecture for o in limited.front()] == [min(keeping, key=bowl)]


def test_gains_of_what_breaks_the_limits_push_nobody_out_of_the_shortlist() -> None:
    """There are more candidates than are judged by all draws, and the largest gains are where nothing is kept."""
    space = plane(50)

    def far(a: Architecture) -> dict[str, float]:
        x, y = float(a["x"]) / 50, float(a["y"]) / 50
        return {"loss": 0.1 + x + y, "excess": 1.2 - x - y}

    codes = np.array([[0, 0], [0, 49], [49, 0], [25, 25], [40, 30], [30, 40], [49, 40]], dtype=np.int16)
    engine = told(engine_of(Expensive("excess", at_most=0.0), space=space), space.decode(codes), far)
    beliefs = Beliefs.of(engine._view([]))
    asked = space.encode(engine.ask(2))
    assert beliefs.log_kept(asked, everything=True).min() > np.log(0.1)


def test_gains_of_next_to_nothing_count_alike_where_limits_must_be_learnt() -> None:
    keeping = plane().decode(np.array([[7, 5], [8, 5]], dtype=np.int16))
    limited = told(engine_of(Expensive("excess", at_most=0.0)), [*corners(plane()), *keeping])
    plain = told(engine_of(), [*corners(plane()), *keeping], lambda a: {"loss": bowl(a)})
    codes, nothing = plane().grid(99), torch.full((81,), -1e5).double()
    beliefs = Beliefs.of(limited._view([]))
    volume = float((beliefs.weighed(nothing, codes) - beliefs.log_success(codes)).exp().mean()) * 1e3
    assert volume == pytest.approx(limited.hypervolume(), rel=0.1)
    assert torch.equal(Beliefs.of(plain._view([])).weighed(nothing, codes), nothing)


def test_least_values_are_largest_ones_mirrored() -> None:
    def asked(limit: Expensive, sign: float) -> list[Architecture]:
        engine = engine_of(limit, seed=2)
        told(engine, corners(plane()), lambda a: {"loss": bowl(a), "excess": sign * excess(a)})
        asked = engine.ask()
        told(engine, plane().decode(np.array([[7, 5]], dtype=np.int16)), lambda a: {"loss": bowl(a), "excess": -sign})
        return [*asked, *(o.architecture for o in engine.front())]

    most, least = Expensive("excess", at_most=0.0), Expensive("excess", "max", at_least=0.0)
    assert asked(most, 1.0) == asked(least, -1.0)


def test_a_limit_of_an_objective_cuts_the_volume_and_needs_no_odds() -> None:
    space = plane()
    costs = Known("ms", lambda codes: 1.0 + codes[:, 0])
    engine = Engine(space, [Expensive("loss", at_most=0.3), costs], initial=5, reference={"ms": 10.0})
    told(engine, corners(space), lambda a: {"loss": bowl(a)})
    assert engine.reference["loss"] == 0.3
    assert all(o.values["loss"] <= 0.3 for o in engine.front())
    beliefs = Beliefs.of(engine._view([]))
    codes = space.grid(99)
    assert not beliefs.log_success(codes).any()
    assert beliefs.log_kept(codes, everything=True).min() < -1.0
    banded = Engine(space, [Expensive("loss", at_least=0.3), costs], initial=5)
    told(banded, corners(space), lambda a: {"loss": bowl(a)})
    assert Beliefs.of(banded._view([])).log_success(codes).min() < -1.0
    assert all(o.values["loss"] >= 0.3 for o in banded.front())


def test_a_trial_may_tell_its_limits_alone() -> None:
    """Whoever sees that a student is too large need not train it."""
    engine = engine_of(Expensive("excess", at_most=0.0))
    for _ in range(9):
        for a in engine.ask():
            engine.tell(a, both(a) if excess(a) <= 0 else {"excess": excess(a)})
    keeping = [o for o in engine.outcomes() if "loss" in o.values]
    assert len(keeping) >= 2
    assert {o.architecture for o in engine.front()} <= {o.architecture for o in keeping}


@pytest.mark.parametrize("strategy", ["ehvi", "reward"])
def test_strategies_heed_the_odds(strategy: str) -> None:
    space, costs = plane(), Known("ms", lambda codes: 1.0 + codes[:, 0])
    limit = Expensive("excess", at_most=0.0)
    engine = Engine(space, [Expensive("loss"), costs], initial=5, strategy=strategy, limits=[limit])
    told(engine, [*corners(space), *space.decode(np.array([[7, 5], [7, 4]], dtype=np.int16))])
    assert sum(excess(a) <= 0 for a in engine.ask(3)) >= 2


def test_four_objectives_and_several_limits_go_together() -> None:
    space = plane()
    costs = [Known(f"cost{i}", lambda codes, i=i: 1.0 + codes[:, i % 2] + i) for i in range(3)]  # type: ignore[misc]
    small = Limit("x", lambda codes: codes[:, 0], 7.0)
    limits: list[Expensive | Limit] = [Expensive("excess", at_most=0.0), small]
    engine = Engine(space, [Expensive("loss"), *costs], initial=5, limits=limits)
    told(engine, [*corners(space), *space.decode(np.array([[7, 5], [7, 4]], dtype=np.int16))])
    asked = engine.ask(2)
    assert len(set(asked)) == 2
    assert all(int(a["x"]) <= 7 for a in asked)


def test_longer_training_may_be_what_keeps_a_limit() -> None:
    engine = Engine(plane(), [Expensive("loss", at_most=0.2)], initial=5)
    for a in corners(plane()):
        engine.tell(a, {"loss": 0.3 + bowl(a)}, fidelity=100.0)
    for a in corners(plane())[:2]:
        engine.tell(a, {"loss": 0.1 + bowl(a)}, fidelity=400.0)
    training = engine.ask_training([100.0, 400.0], lambda a, since, to: 1.0)
    assert training is not None
    assert (training.fidelity, training.since) == (400.0, 100.0)
    assert 0.0 < training.gain <= 1.0


def test_twins_differ_where_a_limit_does() -> None:
    space = plane(4)
    limit = Expensive("memory", at_most=2.0)
    engine = Engine(space, [Expensive("loss", ignores=("y",))], initial=2, limits=[limit])
    for _ in range(6):
        told(engine, engine.ask(), lambda a: {"loss": float(a["x"]), "memory": float(a["y"])})
    assert len(engine.outcomes()) == 6


def test_large_spaces_are_searched_by_the_odds_too() -> None:
    space = SearchSpace("generic", [Parameter(f"g{i}", tuple(range(10))) for i in range(12)])
    engine = engine_of(Expensive("excess", at_most=0.0), space=space)
    codes = space.sample(8, np.random.default_rng(0))
    for a, row in zip(space.decode(codes), codes, strict=True):
        engine.tell(a, {"loss": 1.0, "excess": float(row.sum()) - 20.0})
    assert int(space.encode(engine.ask()).sum()) < codes.sum(axis=1).min()


# State and refusals


def test_a_state_is_restored_and_proposes_the_same() -> None:
    limit = Expensive("excess", at_most=0.0)
    engine = told(engine_of(limit), corners(plane()))
    state = json.loads(json.dumps(engine.state()))
    assert state["schema"] == 3
    restored = Engine.restore(plane(), engine.objectives, state, limits=[limit])
    assert restored.ask(2) == engine.ask(2)
    with pytest.raises(InputError, match=r"the state is of the limits \['excess'\]; got \[\]"):
        Engine.restore(plane(), engine.objectives, state)


def test_the_order_of_tells_changes_nothing() -> None:
    architectures = [*corners(plane()), *plane().decode(np.array([[7, 5], [8, 5]], dtype=np.int16))]
    ways = (architectures, architectures[::-1])
    one, other = (told(engine_of(Expensive("excess", at_most=0.0), reference={"loss": 2.0}), way) for way in ways)
    assert one.ask(2) == other.ask(2)


def test_senseless_learnt_limits_and_values_are_refused() -> None:
    with pytest.raises(InputError, match="'memory' limits nothing; give it at_most"):
        engine_of(Expensive("memory"))
    with pytest.raises(InputError, match="different names"):
        engine_of(Expensive("loss", at_most=1.0))
    with pytest.raises(InputError, match="nothing keeps 'memory' between at_least=2"):
        Expensive("memory", at_least=2.0, at_most=1.0)
    with pytest.raises(InputError, match="must be a finite number"):
        Expensive("memory", at_most=float("nan"))
    engine = engine_of(Expensive("memory", at_most=1.0))
    (a,) = engine.ask()
    with pytest.raises(InputError, match="did you mean 'memory'"):
        engine.tell(a, {"loss": 1.0, "memry": 1.0})
    with pytest.raises(InputError, match="expected a finite memory"):
        engine.tell(a, {"loss": 1.0, "memory": float("inf")})
    with pytest.raises(InputError, match="unknown parameter 'depth'"):
        engine_of(Expensive("memory", at_most=1.0, ignores=("depth",)))
