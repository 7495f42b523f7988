"""Ask and tell under any interleaving, on a space with a constraint, a silent gene and a categorical one."""

import json
import threading
from collections.abc import Iterable

import numpy as np
import pytest

from distilsearch.architecture import Architecture
from distilsearch.engine.engine import Engine
from distilsearch.engine.objectives import Codes, Expensive, Known, Objective
from distilsearch.engine.strategies import STRATEGIES, Strategy
from distilsearch.engine.strategies.enumerate import Enumerate
from distilsearch.engine.view import View
from distilsearch.errors import InputError
from distilsearch.space import Parameter, SearchSpace
from distilsearch.testing.strategies import StrategyContract, cost, loss, small_space


def engine_of(space: SearchSpace, strategy: str = "ehvi", seed: int = 0, **more: object) -> Engine:
    return Engine(space, [Expensive("loss"), cost(space)], seed, initial=4, strategy=strategy, **more)  # type: ignore[arg-type]


def run(engine: Engine, trials: int) -> list[Architecture]:
    asked = []
    for _ in range(trials):
        (architecture,) = engine.ask()
        engine.tell(architecture, {"loss": loss(architecture)})
        asked.append(architecture)
    return asked


class TestStrategies(StrategyContract):
    @pytest.fixture(params=sorted(STRATEGIES))
    def strategy(self, request: pytest.FixtureRequest) -> Strategy:
        return STRATEGIES[request.param]()

    @pytest.fixture
    def examples(self, strategy: Strategy) -> int:
        return 40 if strategy.name == "enumerate" else 8


class Sleepy(Enumerate):
    """Breaks a promise: it leaves free architectures unasked."""

    def propose(self, view: View, n: int, rng: np.random.Generator) -> Codes:
        return super().propose(view, n, rng)[:-1]


def test_the_contract_catches_a_strategy_that_breaks_it() -> None:
    with pytest.raises(AssertionError):
        StrategyContract().test_the_promises_hold_however_it_is_asked_and_told(Sleepy(), 8)


def test_it_finds_the_front_in_few_trials() -> None:
    space = small_space()
    corner = {"loss": 2.0, "ms": 14.0}
    everything = engine_of(space, "enumerate", reference=corner)
    run(everything, int(space.size))
    best = {o.architecture for o in everything.front()}
    engine = engine_of(space, reference=corner)
    run(engine, 12)
    assert engine.hypervolume() >= 0.99 * everything.hypervolume()
    assert len(best & {o.architecture for o in engine.front()}) >= len(best) // 2


def test_relabelling_a_categorical_gene_changes_nothing() -> None:
    assert run(engine_of(small_space(("a", "b", "c"))), 10) == run(engine_of(small_space(("c", "a", "b"))), 10)


def test_the_order_of_tells_changes_nothing() -> None:
    space = small_space()
    first = run(engine_of(space), 7)

    def asked(order: Iterable[Architecture]) -> list[Architecture]:
        engine = engine_of(space, reference={"loss": 2.0, "ms": 9.0})
        for architecture in order:
            engine.tell(architecture, {"loss": loss(architecture)})
        return engine.ask(3)

    assert asked(first) == asked(reversed(first))


def test_limits_hold_and_an_impossible_one_names_the_lowest() -> None:
    space = small_space()
    limited = Known("ms", cost(space).function, at_most=4.5, upper=lambda codes: cost(space).values(codes) + 1.0)
    engine = Engine(space, [Expensive("loss"), limited], initial=3)
    for architecture in run(engine, 8):
        assert cost(space).values(space.encode([architecture]))[0] <= 3.5
    assert engine.reference["ms"] == 4.5
    impossible = Engine(space, [Expensive("loss"), Known("ms", cost(space).function, at_most=1.0)])
    with pytest.raises(InputError, match=r"ms <= 1 \(the lowest upper bound found is 1.5\)"):
        impossible.ask()


def test_measured_costs_win_and_replicates_are_averaged() -> None:
    space = small_space()
    engine = engine_of(space)
    (architecture,) = engine.ask()
    engine.tell(architecture, {"loss": 0.5})
    engine.tell(architecture, {"loss": 0.7, "ms": 42.0})
    (outcome,) = engine.outcomes()
    assert outcome.values == {"loss": pytest.approx(0.6), "ms": 42.0}
    assert (outcome.replicates, outcome.measured) == (2, {"loss", "ms"})


def test_only_the_longest_training_counts() -> None:
    space = small_space()
    engine = engine_of(space)
    for architecture in engine.ask(4):
        engine.tell(architecture, {"loss": loss(architecture) + 0.2}, fidelity=100.0)
        engine.tell(architecture, {"loss": loss(architecture)}, fidelity=1000.0)
    assert all(o.values["loss"] == loss(o.architecture) and o.fidelity == 1000.0 for o in engine.outcomes())
    assert len(engine.ask(2)) == 2


def test_the_reference_of_the_loss_is_the_worst_of_the_initial_design_with_a_margin_and_stays() -> None:
    space = small_space()
    engine = engine_of(space, reference={"ms": 20.0})
    first = run(engine, 4)
    losses = list(map(loss, first))
    expected = {"loss": max(losses) + 0.1 * (max(losses) - min(losses)), "ms": 20.0}
    assert engine.reference == pytest.approx(expected)
    engine.tell(first[0], {"loss": 99.0})
    assert engine.reference == pytest.approx(expected)


def test_failures_are_avoided_with_their_neighbourhood() -> None:
    space = SearchSpace("generic", [Parameter("x", tuple(range(40))), Parameter("y", (0, 1))])
    engine = Engine(space, [Expensive("loss"), Known("ms", lambda c: 1.0 + c[:, 0])], initial=6)
    for _ in range(18):
        (architecture,) = engine.ask()
        if int(architecture["x"]) >= 20:
            engine.fail(architecture, "out of memory")
        else:
            engine.tell(architecture, {"loss": 1.0 / (1.0 + float(architecture["x"]))})
    failed = len(engine.state()["failed"])
    assert failed <= 8


@pytest.mark.parametrize("goals", [("min", "max"), ("max", "min")])
def test_goals_may_point_either_way(goals: tuple[str, str]) -> None:
    space = small_space()
    signs = [1.0 if goal == "min" else -1.0 for goal in goals]
    known = Known("ms", lambda c: signs[1] * cost(space).values(c), goals[1])  # type: ignore[arg-type]
    engine = Engine(space, [Expensive("loss", goals[0]), known], initial=4)  # type: ignore[arg-type]
    plain = engine_of(space)
    for _ in range(6):
        (architecture,) = engine.ask()
        engine.tell(architecture, {"loss": signs[0] * loss(architecture)})
        plain.tell(architecture, {"loss": loss(architecture)})
    assert {o.architecture for o in engine.front()} == {o.architecture for o in plain.front()}
    assert engine.hypervolume() == pytest.approx(plain.hypervolume())


def several(space: SearchSpace, known: int, expensive: int) -> list[Objective]:
    costs = [Known(f"cost{j}", lambda c, j=j: 1.0 + c[:, j] + 0.1 * c.sum(axis=1)) for j in range(known)]  # type: ignore[misc]
    return [*costs, *(Expensive(f"loss{e}") for e in range(expensive))]


@pytest.mark.parametrize(("known", "expensive"), [(0, 1), (2, 1), (0, 2), (1, 2), (3, 1), (2, 2)])
def test_any_number_of_objectives(known: int, expensive: int) -> None:
    space = SearchSpace("generic", [Parameter(f"x{i}", tuple(range(6))) for i in range(4)])
    engine = Engine(space, several(space, known, expensive), initial=6)
    volumes = []
    for _ in range(9 if known + expensive < 4 else 4):
        batch = engine.ask(2)
        assert len(set(batch)) == 2
        for a in batch:
            base = sum((float(v) / 5 - 0.7) ** 2 for v in a.values.values())
            engine.tell(a, {f"loss{e}": base + e * float(a["x3"]) / 5 for e in range(expensive)})
        volumes.append(engine.hypervolume())
    assert volumes[-1] > 0


def test_threads_get_different_architectures() -> None:
    space = small_space()
    engine = engine_of(space, "enumerate")
    asked: list[Architecture] = []

    def work() -> None:
        for _ in range(5):
            batch = engine.ask()
            asked.extend(batch)
            for architecture in batch:
                engine.tell(architecture, {"loss": loss(architecture)})

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(asked) == len(set(asked)) == 20


def test_bad_input_is_refused_with_advice() -> None:
    space = small_space()
    engine = engine_of(space)
    (architecture,) = engine.ask()
    with pytest.raises(InputError, match="fail"):
        engine.tell(architecture, {"loss": float("nan")})
    with pytest.raises(InputError, match="did you mean 'loss'"):
        engine.tell(architecture, {"los": 1.0})
    with pytest.raises(InputError, match="at least"):
        engine.tell(architecture, {"ms": 1.0})
    silent = Architecture("generic", {"depth": 1, "width": 8, "kind": "a", "extra": 1})
    with pytest.raises(InputError, match="canonical"):
        engine.tell(silent, {"loss": 1.0})
    with pytest.raises(InputError, match="reference"):
        engine_of(space, reference={"speed": 1.0})
    with pytest.raises(InputError, match="did you mean 'ehvi'"):
        engine_of(space, "evhi")
    with pytest.raises(InputError, match="schema"):
        Engine.restore(space, engine.objectives, {**engine.state(), "schema": 99})
    with pytest.raises(InputError, match="state is of objectives"):
        Engine.restore(space, [Expensive("other")], engine.state())


def test_large_spaces_are_sampled_and_refined() -> None:
    space = SearchSpace("generic", [Parameter(f"x{i}", tuple(range(10))) for i in range(20)])
    engine = Engine(space, [Expensive("loss"), Known("ms", lambda c: 1.0 + c.sum(axis=1))], initial=8)
    for architecture in engine.ask(8):
        engine.tell(architecture, {"loss": 1.0 / (1.0 + float(architecture["x0"]))})
    sample = space.sample(2000, np.random.default_rng(0)).sum(axis=1)
    codes = space.encode(engine.ask(4))
    assert len(np.unique(codes, axis=0)) == 4
    assert codes.sum(axis=1).min() < sample.min()  # cheaper than any uniform draw


def test_diagnostics_are_plain_json_of_leaving_each_architecture_out() -> None:
    space = small_space()
    engine = engine_of(space)
    assert engine.diagnostics() is None
    told = run(engine, 9)
    engine.tell(told[0], {"loss": loss(told[0]) + 0.02})
    engine.ask()
    found = engine.diagnostics()
    assert found is not None
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert {p["key"] for p in found["points"]} == {a.key for a in told}
    assert found["name"] in found["considered"]
    measured = {p["key"]: p["measured"] for p in found["points"]}
    assert measured[told[0].key] == pytest.approx(loss(told[0]) + 0.01)
    assert all(p["sd"] > 0 for p in found["points"])
    y, f = (np.array([p[name] for p in found["points"]]) for name in ("measured", "predicted"))
    assert found["r2"] == pytest.approx(1 - ((y - f) ** 2).sum() / ((y - y.mean()) ** 2).sum())
    assert 0.5 <= found["coverage"] <= 1.0


def test_diagnostics_point_the_users_way() -> None:
    space = small_space()
    up = Engine(space, [Expensive("accuracy", "max"), cost(space)], initial=4)
    down = engine_of(space)
    for architecture in run(down, 8):
        up.tell(architecture, {"accuracy": -loss(architecture)})
    found, mirrored = up.diagnostics(), down.diagnostics()
    assert found is not None
    assert mirrored is not None
    for point, twin in zip(found["points"], mirrored["points"], strict=True):
        assert (point["measured"], point["predicted"]) == pytest.approx((-twin["measured"], -twin["predicted"]))
    assert found["r2"] == pytest.approx(mirrored["r2"])
