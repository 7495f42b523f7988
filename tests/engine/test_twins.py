"""Genes that no expensive objective depends on: a student served in several ways is trained once, and is one result."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilsearch.architecture import Architecture
from distilsearch.arrays import FloatArray
from distilsearch.engine.beliefs import Beliefs
from distilsearch.engine.engine import Engine
from distilsearch.engine.objectives import Codes, Expensive, Known
from distilsearch.engine.pool import distinct, one_of_twins
from distilsearch.engine.view import View
from distilsearch.errors import InputError
from distilsearch.space import Parameter, SearchSpace

DEPTHS, WIDTHS, SERVED = (1, 2, 3, 4), (8, 16, 32, 64), ("float32", "bfloat16", "int8")
STUDENT = [Parameter("depth", DEPTHS), Parameter("width", WIDTHS)]
STUDENTS = SearchSpace("generic", STUDENT)
SPACE = SearchSpace("generic", [*STUDENT, Parameter("served", SERVED, ordered=False)])
SPEED = np.array([1.0, 0.6, 0.4])


def _cost(codes: Codes) -> FloatArray:
    bare = np.array([1.0 + DEPTHS[row[0]] * WIDTHS[row[1]] / 8 for row in codes])
    return bare * SPEED[codes[:, 2]] if codes.shape[1] > 2 else bare


def _loss(a: Architecture) -> float:
    return 1.0 / (1.0 + float(a["depth"])) + 4.0 / float(a["width"])


def _student(a: Architecture) -> Architecture:
    return Architecture("generic", {g: v for g, v in a.values.items() if g != "served"})


def _twins(a: Architecture) -> list[Architecture]:
    return [Architecture("generic", {**_student(a).values, "served": s}) for s in SERVED]


def _engine(space: SearchSpace, strategy: str = "ehvi", how: str = "ignores", **more: object) -> Engine:
    served = tuple(n for n in space.names if n == "served")
    objectives = [Expensive("loss", **{how: served}), Known("ms", _cost)]
    return Engine(space, objectives, reference={"loss": 1.2, "ms": 40.0}, strategy=strategy, **more)  # type: ignore[arg-type]


def _tell(engine: Engine, student: Architecture) -> None:
    for member in _twins(student) if engine.space is SPACE else [_student(student)]:
        engine.tell(member, {"loss": _loss(student)}, fidelity=1.0, area=2.0 * _loss(student))


@pytest.mark.parametrize("how", ["ignores", "together"])
@pytest.mark.parametrize("strategy", ["ehvi", "reward", "enumerate"])
@given(batches=st.lists(st.integers(1, 5), min_size=4, max_size=4), seed=st.integers(0, 9))
@settings(deadline=None, max_examples=4)
def test_no_student_is_asked_twice_however_it_is_served(strategy: str, how: str, batches: list[int], seed: int) -> None:
    engine, students = _engine(SPACE, strategy, how, seed=seed, initial=3), []
    for n in batches:
        asked = engine.ask(n)
        students += [_student(a) for a in asked]
        assert len(asked) == min(n, 16 - len(students) + len(asked))
        twin = Engine.restore(SPACE, engine.objectives, json.loads(json.dumps(engine.state())))
        assert twin.state() == engine.state()
        for a in asked[:-1]:  # the last one is left pending
            _tell(engine, a)
        if n == 5:
            engine.fail(asked[-1], "out of memory") if asked else None
    assert len(students) == len(set(students))


@given(st.sets(st.integers(0, 15), min_size=3, max_size=8))
@settings(deadline=None, max_examples=5)
def test_twins_teach_what_one_student_teaches(which: set[int]) -> None:
    """The oracle is an engine that has never heard of servings."""
    whole, bare = _engine(SPACE), _engine(STUDENTS)
    for student in STUDENTS.decode(STUDENTS.grid(16)[sorted(which)]):
        _tell(whole, student)
        _tell(bare, student)
    mine, theirs = whole.diagnostics(), bare.diagnostics()
    assert mine is not None
    assert theirs is not None
    assert len(mine["points"]) == len(which)
    assert mine["coverage"] == theirs["coverage"]
    for ours, other in zip(
        sorted(mine["points"], key=lambda p: p["measured"]), sorted(theirs["points"], key=lambda p: p["measured"]),
        strict=True,
    ):  # fmt: skip
        assert ours["measured"] == other["measured"]
        assert ours["predicted"] == pytest.approx(other["predicted"], rel=1e-3)


def test_the_design_and_the_reference_count_students() -> None:
    engine = Engine(SPACE, [Expensive("loss", ignores=("served",)), Known("ms", _cost)], initial=3)
    asked = []
    for _ in range(3):
        assert engine.state()["reference"]["frozen"] is None
        assert engine.diagnostics() is None or len(asked) >= 2
        (a,) = engine.ask()
        asked.append(_student(a))
        _tell(engine, a)
    frozen = engine.state()["reference"]["frozen"]
    losses = list(map(_loss, asked))
    assert frozen["loss"] == pytest.approx(max(losses) + 0.1 * (max(losses) - min(losses)))
    costs = _cost(SPACE.grid(100))
    assert frozen["ms"] == pytest.approx(costs.max() + 0.1 * np.ptp(costs))


def test_the_front_shows_how_each_student_is_served_best() -> None:
    engine = _engine(SPACE)
    for student in STUDENTS.decode(STUDENTS.grid(16)):
        _tell(engine, student)
    assert {str(o.architecture["served"]) for o in engine.front()} == {"int8"}
    assert engine.ask(3) == []


def test_training_on_is_of_a_student_not_of_a_way_of_serving() -> None:
    engine, busy = _engine(SPACE), set()
    for student in STUDENTS.decode(STUDENTS.grid(16)):  # none is left to begin
        _tell(engine, student)
    for _ in range(4):
        training = engine.ask_training([1.0, 2.0])
        assert training is not None
        assert _student(training.architecture) not in busy
        busy.add(_student(training.architecture))


def test_different_results_of_twins_are_results_of_their_own() -> None:
    engine = _engine(SPACE)
    first, second = STUDENTS.decode(STUDENTS.grid(16)[[3, 9]])
    for member, value in zip(_twins(first) + _twins(second), (0.5, 0.5, 0.6, 0.4, 0.4, 0.4), strict=True):
        engine.tell(member, {"loss": value})
        engine.tell(member, {"loss": value})  # a replicate of that very file
    view: View = engine._view([])
    assert sorted(view.values[view.fresh, 0].tolist()) == [0.4, 0.4, 0.5, 0.5, 0.6, 0.6]


def test_what_is_told_together_is_learnt_apart() -> None:
    """Served in int8, every student loses a fifth: the surrogate sees that, though none was trained for it."""
    engine = _engine(SPACE, how="together")
    rows = STUDENTS.decode(STUDENTS.grid(16)[::2])
    for student in rows:
        for member, lost in zip(_twins(student), (0.0, 0.0, 0.2), strict=True):
            engine.tell(member, {"loss": _loss(student) + lost})
    view = engine._view([])
    assert view.fresh.all()
    beliefs = Beliefs.of(view)
    others = [m for s in STUDENTS.decode(STUDENTS.grid(16)[1::2]) for m in _twins(s)]
    belief = beliefs.belief(SPACE.encode(others))
    mean = (belief.mean if belief.shift is None else belief.shift + belief.mean.exp()).numpy().reshape(-1, 3)
    assert mean[:, 2] - mean[:, 0] == pytest.approx(0.2, abs=0.05)
    assert mean[:, 1] - mean[:, 0] == pytest.approx(0.0, abs=0.05)


def test_the_design_counts_students_also_where_each_twin_has_a_value_of_its_own() -> None:
    engine = Engine(SPACE, [Expensive("loss", together=("served",)), Known("ms", _cost)], initial=3)
    for place in range(3):
        assert engine.state()["reference"]["frozen"] is None
        (asked,) = engine.ask()
        for number, member in enumerate(_twins(asked)):
            engine.tell(member, {"loss": _loss(asked) + 0.1 * number})
        assert engine.diagnostics() is None or place >= 1
    assert engine.state()["reference"]["frozen"] is not None


def test_twins_are_one_row_of_many() -> None:
    codes = SPACE.grid(48)
    view = _engine(SPACE)._view([])
    assert len(one_of_twins(view, codes)) == 16
    assert len(distinct(SPACE, codes, codes[:1])) == 47
    assert len(distinct(SPACE, codes, codes[:1], {"served"})) == 45


def test_only_genes_can_be_ignored() -> None:
    for how in ("ignores", "together"):
        with pytest.raises(InputError, match="unknown parameter 'servd': did you mean 'served'"):
            Engine(SPACE, [Expensive("loss", **{how: ("servd",)})])  # type: ignore[arg-type]
    several = [Expensive("a", ignores=("served",)), Expensive("b")]
    engine = Engine(SPACE, several, initial=2)  # one of them depends on it, so there are no twins
    assert len({_student(a) for a in engine.ask(48)}) == 16
