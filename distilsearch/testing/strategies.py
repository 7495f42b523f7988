"""The contract of every search strategy. Inherit it and give the fixture `strategy`:

    class TestMine(StrategyContract):
        @pytest.fixture
        def strategy(self): return Mine()

It is tried within an engine, on a small space with a constraint, a silent gene and a categorical one.
"""

import json
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from ..architecture import Architecture
from ..arrays import FloatArray
from ..engine.engine import Engine
from ..engine.objectives import Codes, Expensive, Known, hypervolume
from ..engine.strategies import Strategy
from ..space import Constraint, Parameter, SearchSpace


def small_space(kinds: tuple[str, ...] = ("a", "b", "c")) -> SearchSpace:
    """Some tens of architectures; the order of `kinds` means nothing."""
    genes = [
        Parameter("depth", (1, 2, 3)),
        Parameter("width", (8, 16, 32)),
        Parameter("kind", kinds, ordered=False),
        Parameter("extra", (0, 1)),
    ]
    rules = [Constraint(("depth", "width"), lambda depth, width: depth * width < 96, "too large")]
    return SearchSpace("generic", genes, rules, {"extra": Constraint(("depth",), lambda depth: depth > 1)})


def cost(space: SearchSpace) -> Known:
    """A known cost that grows with size."""

    def function(codes: Codes) -> FloatArray:
        rows = space.decode(codes)
        return np.array([0.5 + float(a["depth"]) * float(a["width"]) / 8 for a in rows])

    return Known("ms", function)


def loss(architecture: Architecture) -> float:
    """What a trial of the small space tells."""
    bonus = {"a": 0.3, "b": 0.0, "c": 0.1}[str(architecture["kind"])]
    return 1.0 / (1.0 + float(architecture["depth"])) + 4.0 / float(architecture["width"]) + bonus


class Interleaving(RuleBasedStateMachine):
    """Whatever is asked, told and failed in whatever order, the promises of an engine hold."""

    strategy: ClassVar[Strategy]

    @initialize(seed=st.integers(0, 3))
    def start(self, seed: int) -> None:
        self.space = small_space()
        objectives: list[Expensive | Known] = [Expensive("loss"), cost(self.space)]
        self.engine = Engine(self.space, objectives, seed, initial=4, strategy=self.strategy)
        self.free = set(self.space.decode(self.space.grid(1000)))
        self.all = set(self.free)
        self.pending: list[Architecture] = []
        self.told: set[Architecture] = set()

    @rule(n=st.integers(1, 5))
    def ask(self, n: int) -> None:
        state = json.loads(json.dumps(self.engine.state()))
        twin = Engine.restore(self.space, self.engine.objectives, state, strategy=self.strategy)
        asked = self.engine.ask(n)
        assert twin.ask(n) == asked
        assert len(asked) == min(n, len(self.free))
        assert len(set(asked)) == len(asked)
        assert set(asked) <= self.free
        self.free -= set(asked)
        self.pending += asked

    @rule(which=st.integers(0, 100), noise=st.sampled_from([None, 0.1]), measured=st.booleans())
    def tell(self, which: int, noise: float | None, measured: bool) -> None:
        if self.pending:
            architecture = self.pending.pop(which % len(self.pending))
            extra = {"ms": 3.25} if measured else {}
            self.engine.tell(architecture, {"loss": loss(architecture), **extra}, noise)
            self.told.add(architecture)

    @rule(which=st.integers(0, 100))
    def tell_unasked(self, which: int) -> None:
        architecture = sorted(self.all, key=lambda a: a.key)[which % len(self.all)]
        self.engine.tell(architecture, {"loss": loss(architecture)})
        self.pending = [a for a in self.pending if a != architecture]
        self.free.discard(architecture)
        self.told.add(architecture)

    @rule(which=st.integers(0, 100), transient=st.booleans())
    def fail(self, which: int, transient: bool) -> None:
        if self.pending:
            architecture = self.pending.pop(which % len(self.pending))
            self.engine.fail(architecture, "out of memory", transient)
            if transient:
                self.free.add(architecture)

    @invariant()
    def the_front_is_told_and_spans_the_volume(self) -> None:
        front = self.engine.front() if hasattr(self, "engine") else []
        assert {o.architecture for o in front} <= getattr(self, "told", set())
        if front:
            points = [[o.values["loss"], o.values["ms"]] for o in front]
            corner = [self.engine.reference["loss"], self.engine.reference["ms"]]
            assert self.engine.hypervolume() == pytest.approx(hypervolume(points, corner))


class StrategyContract:
    """What the engine relies on in a strategy."""

    @pytest.fixture
    def strategy(self) -> Strategy:
        """The strategy, with the options that are to be tried."""
        raise NotImplementedError("give the fixture `strategy`: your strategy")

    @pytest.fixture
    def examples(self) -> int:
        """How many interleavings are tried."""
        return 4

    def test_the_promises_hold_however_it_is_asked_and_told(self, strategy: Strategy, examples: int) -> None:
        machine = type("Tried", (Interleaving,), {"strategy": strategy})
        rare = settings(
            max_examples=examples, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
        )
        run_state_machine_as_test(machine, settings=rare)

    def test_it_asks_each_architecture_once(self, strategy: Strategy) -> None:
        space = small_space()
        engine = Engine(space, [Expensive("loss"), cost(space)], initial=4, strategy=strategy)
        asked: list[Architecture] = []
        while batch := engine.ask(9):
            asked += batch
            for architecture in batch:
                engine.tell(architecture, {"loss": loss(architecture)})
        assert sorted(a.key for a in asked) == sorted(a.key for a in space.decode(space.grid(1000)))
        assert engine.ask(3) == []

    def test_it_says_that_it_can_search_what_it_can(self, strategy: Strategy) -> None:
        space = small_space()
        strategy.check(space, [Expensive("loss"), cost(space)])

    def test_what_differs_in_nothing_learnt_is_asked_once(self, strategy: Strategy) -> None:
        space = small_space()
        engine = Engine(space, [Expensive("loss", ignores=("kind",)), cost(space)], initial=4, strategy=strategy)
        asked: list[tuple[object, ...]] = []
        while batch := engine.ask(3):
            asked += [(a["depth"], a["width"], a["extra"]) for a in batch]
            for architecture in batch:
                engine.tell(architecture, {"loss": loss(architecture)})
        students = {(a["depth"], a["width"], a["extra"]) for a in space.decode(space.grid(1000))}
        assert sorted(asked, key=str) == sorted(students, key=str)

    def test_its_options_make_it_again(self, strategy: Strategy) -> None:
        options = strategy.options()
        assert json.loads(json.dumps(options)) == options
        again = type(strategy)(**options)
        assert again.name == strategy.name
        assert again.options() == options
        space = small_space()
        proposals = []
        for one in (strategy, again):
            engine = Engine(space, [Expensive("loss"), cost(space)], initial=4, strategy=one)
            for architecture in engine.ask(5):
                engine.tell(architecture, {"loss": loss(architecture)})
            proposals.append(engine.ask(3))
        assert proposals[0] == proposals[1]
