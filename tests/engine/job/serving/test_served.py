"""Served genes: behind the family's in the engine and the ledger, never before a family or in what names a training."""

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilsearch.architecture import Architecture
from distilsearch.engine.engine import Engine
from distilsearch.engine.job.ledger import Ledger
from distilsearch.engine.job.machines.limits import check_kept, limits_of, parameter_counts, room_within
from distilsearch.engine.job.runfile.config import Run
from distilsearch.engine.job.runfile.sections import TargetSection
from distilsearch.engine.job.serving.served import ServedSpace
from distilsearch.engine.objectives import Expensive, Known, Limit, limited
from distilsearch.errors import InputError
from distilsearch.families import family
from distilsearch.lowering import parameter_count
from distilsearch.operators import DTYPE_BYTES, Serving
from distilsearch.space import Constraint, Parameter, SearchSpace
from distilsearch.testing import spaces

LEAST = {"teacher": "t", "text": ["x"]}
GENES = {"layers": [1, 2, 4], "width": [128, 256], "heads": [4], "ffn": [256, 512], "inherit": ["even"]}
DTYPES, MODES = ("float32", "bfloat16"), ("eager", "compile", "graph")
CHOICES = st.fixed_dictionaries(
    {"batch": st.integers(1, 4)},
    optional={"dtype": st.lists(st.sampled_from(DTYPES), min_size=1, unique=True),
              "mode": st.lists(st.sampled_from(MODES), min_size=1, unique=True)},
)  # fmt: skip


def _run(**target: object) -> Run:
    return Run.parse(LEAST | {"space": GENES, "target": [target]})


@given(CHOICES, spaces(largest=3))
@settings(deadline=None, max_examples=50)
def test_members_are_pairs_of_student_and_serving(serving, students: SearchSpace) -> None:
    section = TargetSection(serving=serving)
    served = ServedSpace.extend(students, [section])
    assert served.space.size == students.size * len(section.servings)
    rows = served.space.grid(100_000)
    members = served.space.decode(rows)
    pairs = [served.split(member) for member in members]
    assert len(set(pairs)) == len(members)
    assert [served.join(*pair) for pair in pairs] == members
    assert [served.servings[i] for i in served.index(rows)] == [serving for _, serving in pairs]
    assert students.decode(served.student_codes(rows)) == [student for student, _ in pairs]
    assert {student for student, _ in pairs} == set(students.decode(students.grid(100_000)))
    student = pairs[0][0]
    assert served.outcomes_of(student) == [
        member for member, (own, _) in zip(members, pairs, strict=True) if own == student
    ]


@given(CHOICES)
@settings(deadline=None, max_examples=20)
def test_a_student_never_hears_how_it_is_served(serving) -> None:
    served = _run(serving=serving).space_for()
    (member,) = served.space.decode(served.space.grid(1000)[-1:])
    student, _ = served.split(member)
    assert served.students.contains(student)
    assert family("bert").config(student).num_hidden_layers == student["layers"]
    assert not any("." in gene for gene in student.values)


def test_without_choices_everything_is_as_it_was() -> None:
    run = _run(serving={"dtype": ["float32"], "batch": 2})
    served = run.space_for()
    assert served.space is served.students
    assert served.names == ()
    (student,) = served.students.decode(served.students.grid(1000)[:1])
    assert served.split(student) == (student, run.target[0].conditions)
    assert served.outcomes_of(student) == [student]
    rows = served.space.grid(1000)
    seen: list[object] = []
    assert (served.by_serving(rows, lambda s, c: seen.append((s, c)) or np.ones(len(c))) == 1).all()  # type: ignore[func-returns-value]
    assert len(seen) == 1


@given(CHOICES, st.integers(0, 5))
@settings(deadline=None, max_examples=30)
def test_figures_are_of_the_serving_of_each_row(serving, seed: int) -> None:
    served = _run(serving=serving).space_for()
    rows = served.space.sample(50, np.random.default_rng(seed))

    def cost(one: Serving, codes) -> np.ndarray:
        assert codes.shape[1] == served.students.d
        return codes.sum(1) + 100.0 * served.servings.index(one)

    naive = [row[: served.students.d].sum() + 100.0 * i for row, i in zip(rows, served.index(rows), strict=True)]
    assert served.by_serving(rows, cost).tolist() == naive


def test_two_targets_keep_their_own_serving() -> None:
    sections = [TargetSection(serving={"batch": 1}), TargetSection(serving={"batch": 8})]
    served = ServedSpace.extend(family("bert").space(GENES), sections)
    rows = served.space.grid(1000)
    figures = [served.by_serving(rows, lambda s, c: np.full(len(c), float(s.batch)), t.servings) for t in sections]
    assert [set(f.tolist()) for f in figures] == [{1.0}, {8.0}]
    with pytest.raises(InputError, match="a run of one target"):
        ServedSpace.extend(served.students, [sections[0], TargetSection(serving={"dtype": ["float32", "bfloat16"]})])


def test_rules_that_read_everything_read_the_family_alone() -> None:
    seen: list[set[str]] = []
    rule = Constraint(None, lambda values: seen.append(set(values)) or values["a"] < 2)  # type: ignore[func-returns-value]
    students = SearchSpace("generic", [Parameter("a", (1, 2))], [rule])
    served = ServedSpace.extend(students, [TargetSection(serving={"dtype": list(DTYPES)})])
    assert len(served.space.grid(10)) == 2
    assert all(names == {"a"} for names in seen)


def test_who_is_no_member_is_refused() -> None:
    served = _run(serving={"dtype": list(DTYPES)}).space_for()
    (student,) = served.students.decode(served.students.grid(1000)[:1])
    with pytest.raises(InputError, match=r"has no gene 'served\.dtype'"):
        served.split(student)
    with pytest.raises(InputError, match="this run serves no student as"):
        served.join(student, Serving(dtype="float16"))


def test_the_ledger_keeps_how_a_student_is_served() -> None:
    served = _run(serving={"dtype": list(DTYPES)}).space_for()
    ledger = Ledger(optuna.storages.InMemoryStorage(), "run", ["loss", "latency_ms"], served.space)
    members = served.outcomes_of(served.students.decode(served.students.grid(1000)[:1])[0])
    for member in members:
        ledger.add(member, [0.5, 1.0], {})
    assert [entry.architecture for entry in ledger.entries()] == members
    assert len({member.key for member in members}) == 2


def test_a_search_over_choices_trains_each_student_once() -> None:
    """As the module says a search works: ask, train the student, tell all its servings."""
    served = _run(serving={"dtype": list(DTYPES), "mode": ["eager", "compile"]}).space_for()
    speed = {
        ("float32", "eager"): 1.0,
        ("float32", "compile"): 0.8,
        ("bfloat16", "eager"): 0.7,
        ("bfloat16", "compile"): 0.5,
    }
    count = parameter_counts(served.students)
    cost = Known(
        "latency_ms", lambda codes: served.by_serving(codes, lambda s, c: count(c) / 1e6 * speed[s.dtype, s.mode])
    )
    engine = Engine(served.space, [Expensive("loss", ignores=served.names), cost], reference={"latency_ms": 40.0})
    trained: list[Architecture] = []
    while asked := engine.ask(1):
        student, _ = served.split(asked[0])
        trained.append(student)
        for member in served.outcomes_of(student):
            engine.tell(member, {"loss": 1.0 / (1.0 + parameter_count(student) / 1e7)})
    assert len(trained) == len(set(trained)) == served.students.size
    assert len(engine.outcomes()) == served.space.size
    best = {(served.split(o.architecture)[1].dtype, served.split(o.architecture)[1].mode) for o in engine.front()}
    assert best == {("bfloat16", "compile")}


@given(CHOICES)
@settings(deadline=None, max_examples=20)
def test_memory_is_what_the_weights_take_as_they_are_served(serving) -> None:
    run = _run(serving=serving, memory_mb=40, memory_counts="weights", parameters=20_000_000)
    served = run.space_for()
    parameters, memory = limits_of(run.target, served)
    rows = served.space.grid(1000)
    for row, count, megabytes in zip(rows, parameters.bounds(rows), memory.bounds(rows), strict=True):
        student, own = served.split(served.space.decode(row[None])[0])
        assert count == parameter_count(student)
        assert megabytes == pytest.approx(parameter_count(student) * DTYPE_BYTES[own.dtype] / 1e6)
    assert (memory.name, memory.at_most, parameters.at_most) == ("memory_mb", 40.0, 20_000_000)


def test_each_target_has_limits_of_its_own() -> None:
    both = [{"memory_mb": 50}, {"memory_mb": 60, "serving": {"dtype": "bfloat16"}}]  # activations are halved, too
    run = Run.parse(LEAST | {"space": GENES, "target": both})
    served = run.space_for()
    first, second = limits_of(run.target, served)
    assert (first.name, second.name) == ("memory_mb", "memory_mb_2")
    rows = served.space.grid(1000)
    assert (first.bounds(rows) == 2 * second.bounds(rows)).all()
    assert limits_of(_run().target, served) == ()


def test_limits_that_no_student_keeps_are_refused_before_any_training() -> None:
    run = _run(parameters=1_000)
    served = run.space_for()
    least = min(parameter_count(a) for a in served.students.decode(served.students.grid(1000)))
    with pytest.raises(InputError, match=f"no student keeps parameters <= 1,000: the smallest one has {least:,};"):
        check_kept(served.space, limited([], limits_of(run.target, served)), 0)
    check_kept(served.space, limited([], limits_of(_run(parameters=least).target, served)), 0)
    check_kept(served.space, (), 0)


def test_limits_that_only_hold_one_by_one_are_refused() -> None:
    space = SearchSpace("generic", [Parameter(f"g{i}", tuple(range(6))) for i in range(8)])
    few = Limit("few", lambda codes: codes.sum(1), 5.0)
    fast = Known("latency_ms", lambda codes: 40.0 - codes.sum(1), at_most=30.0)
    check_kept(space, limited([fast]), 0)
    with pytest.raises(InputError, match="keeps latency_ms <= 30 and few <= 5 at once, though each alone can be kept"):
        check_kept(space, limited([fast], [few]), 0)
    slow = Known("latency_ms", lambda codes: 40.0 + codes.sum(1), at_most=30.0)
    with pytest.raises(
        InputError, match="no student is predicted to keep latency_ms <= 30 with confidence: the fastest"
    ):
        check_kept(space, limited([slow]), 0)


@pytest.mark.parametrize(
    ("strategy", "targets", "message"),
    [
        ("reward", [{}, {"serving": {"batch": 8}}], "'reward' needs exactly one expensive and one known objective"),
        ("enumerate", [{}], "too many to enumerate"),
    ],
)
def test_a_strategy_that_cannot_search_the_run_is_refused_early(strategy, targets, message) -> None:
    from distilsearch.engine.job.preparing.strategy import check_strategy

    large = {
        "width": list(range(64, 1600, 8)),
        "heads": [4],
        "ffn": list(range(64, 4096, 8)),
        "layers": list(range(1, 65)),
    }
    run = Run.parse(LEAST | {"strategy": strategy, "target": targets, "space": large})
    with pytest.raises(InputError, match=message):
        check_strategy(run, run.space_for().space)
    check_strategy(Run.parse(LEAST | {"target": targets}), run.space_for().space)
    with pytest.raises(InputError, match="stop_below"):
        Run.parse(LEAST | {"stop_below": 2.0})


def test_what_fits_the_limits_is_said_by_depth() -> None:
    space = SearchSpace("generic", [Parameter("ffn", (64, 128)), Parameter("layers", (1, 2, 3))])
    assert room_within(space, (), 0) == ""
    fast = Known("latency_ms", lambda codes: 1.0 + codes[:, 1] + 0.5 * codes[:, 0], at_most=2.0)
    words = room_within(space, limited([fast]), 0)
    assert words == "students within latency_ms <= 2, by layers: 1: 100 %, 2: 50 %, 3: none"
