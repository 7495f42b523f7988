"""After the trials: who trains longer, by what rule, and what becomes of trainings that fail."""

from collections.abc import Sequence
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilsearch.architecture import Architecture
from distilsearch.distill.job import Training
from distilsearch.distill.recipes import EMBEDDING
from distilsearch.distill.store.trial import Trial
from distilsearch.engine.job.jobs import Distil
from distilsearch.engine.job.ledger import Entry
from distilsearch.engine.job.outcome.choice import chosen, front
from distilsearch.engine.job.outcome.finish import finish, longest_of, to_finish, unfinished
from distilsearch.engine.job.runfile.config import Run
from distilsearch.engine.job.serving.served import student_of
from distilsearch.engine.job.source import Making
from distilsearch.errors import TrialError
from distilsearch.families import family

SPACE = family("bert").space(
    {"layers": [1, 2, 3, 4, 5, 6], "width": [64], "heads": [2], "ffn": [64, 128], "inherit": ["even"]}
)
*STUDENTS, TEACHER = SPACE.decode(SPACE.grid(100))
POINTS = [(0.9, 1.0), (0.6, 2.0), (0.5, 2.2), (0.4, 3.0), (0.3, 5.0), (0.25, 6.0), (0.2, 9.0)]  # loss, ms; teacher: 18
TRAINING = Training("t", "t", "x", "r", 100, 0, "float32")


def entry(number: int, loss: float, asked: int = 100, **served: Any) -> Entry:
    values = {**STUDENTS[number].values, **{f"served.{name}": value for name, value in served.items()}}
    facts = {"asked": asked, "tokens": asked}
    return Entry(number, number, Architecture("bert", values), "complete", (loss, 1.0), facts)


ENTRIES = [entry(n, loss) for n, (loss, _) in enumerate(POINTS)]


def machine(limit: float | None = None, times: Sequence[float] = (), teacher: float = 18.0) -> Any:
    by_key = {s.key: ms for s, ms in zip(STUDENTS, times or [ms for _, ms in POINTS], strict=False)}

    def latency(a: Architecture) -> SimpleNamespace:
        best = (teacher if a == TEACHER else by_key[student_of(a).key]) / (2 if "served.dtype" in a.values else 1)
        return SimpleNamespace(best=best, measured=best, times=lambda other: other.best / best)

    return SimpleNamespace(limit_ms=limit, keeps=lambda a: True, latency=latency)


def run(**changes: Any) -> Run:
    train = {"flash_tokens": 100, "final_tokens": 1000} | changes.pop("train", {})
    return Run.parse({"teacher": "t", "text": ["x"], "train": train} | changes)


def numbers(asked: Run, machines: Sequence[Any] = (), entries: Sequence[Entry] = ENTRIES) -> list[int]:
    machines = machines or [machine()]
    return [e.number for e in to_finish(front(entries, machines), machines, asked, TEACHER)]


@pytest.mark.parametrize(
    ("finish", "expected"),
    [
        ("none", []),
        ("chosen", [3]),
        ("knee", [3]),
        ("front", list(range(7))),
        ("budgets", [0, 2, 3, 5, 6]),  # at most 1.8 ms: 0; 2.57 ms: 2; 3.6 ms and chosen: 3; 6 ms: 5; 9 ms: 6
    ],
)
def test_finish_says_who_trains_longer(finish: str, expected: list[int]) -> None:
    assert numbers(run(train={"finish": finish})) == expected


def test_budgets_are_what_a_new_run_finishes() -> None:
    assert run().train.finish == "budgets"
    assert run(train={"finish": "knee"}).train.finish == "chosen"


@settings(max_examples=60, deadline=None)
@given(
    how=st.sampled_from(["budgets", "chosen", "front"]),
    choose=st.sampled_from(["auto", "knee", "quality", "fastest"]),
    most=st.none() | st.floats(0.1, 1.0),
    limit=st.none() | st.floats(0.5, 20.0),
    losses=st.lists(st.floats(0.01, 1.0), min_size=7, max_size=7),
    teacher=st.floats(0.5, 200.0),
)
def test_the_chosen_one_is_never_left_untrained(how, choose, most, limit, losses, teacher) -> None:
    target = {} if limit is None else {"latency_ms": limit}
    asked = run(train={"finish": how}, choose=choose, loss_at_most=most, target=[target])
    machines = [machine(limit, teacher=teacher)]
    members = front([entry(n, loss) for n, loss in enumerate(losses)], machines)
    finished = to_finish(members, machines, asked, TEACHER)
    best = chosen(members, machines, asked.choice, most)
    assert (best in finished) == (best is not None)
    assert all(e in members for e in finished)
    assert len(finished) <= 6 or how == "front"
    same = to_finish(members, machines, run(choose=choose, loss_at_most=most, target=[target]), TEACHER)
    assert all(e in members for e in same)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [({}, "knee"), ({"latency_ms": 4.0}, "quality"), ({"memory_mb": 4.0}, "knee")],
)
def test_what_is_chosen_where_that_is_left_open(asked: dict[str, float], expected: str) -> None:
    assert run(target=[asked]).choice == expected
    assert run(target=[{}, asked]).choice == expected
    assert run(target=[asked], choose="fastest").choice == "fastest"


@pytest.mark.parametrize(("choose", "number"), [("auto", 4), ("quality", 4), ("knee", 2), ("fastest", 0)])
def test_within_a_limit_the_best_quality_is_chosen(choose: str, number: int) -> None:
    asked, machines = run(choose=choose, target=[{"latency_ms": 5.5}], train={"finish": "chosen"}), [machine(5.5)]
    assert numbers(asked, machines) == [number]


def test_pairs_that_are_served_otherwise_are_judged_as_served_and_trained_once() -> None:
    entries = [*ENTRIES, *(entry(n, loss, dtype="int8") for n, (loss, _) in enumerate(POINTS))]
    members = front(entries, [machine()])
    finished = to_finish(members, [machine()], run(), TEACHER)
    assert all("served.dtype" in e.architecture.values for e in finished)
    executor = Executor()
    trials = finish([*finished, entry(0, 0.9)], 1000, Making(TRAINING, EMBEDDING), executor, lambda *_: None)
    students = {student_of(e.architecture).key for e in finished} | {STUDENTS[0].key}
    assert set(trials) == students
    assert [len(job.architectures) for job in executor.jobs] == [len(students)]  # side by side, each once


class Executor:
    """Trains at once; some never come back."""

    workers = 1

    def __init__(self, broken: Sequence[Architecture] = (), transient: bool = False) -> None:
        self.jobs: list[Distil] = []
        self.broken, self.transient = list(broken), transient

    def submit(self, job: Distil, progress: Any = None) -> "Future[Any]":
        self.jobs.append(job)
        future: Future[Any] = Future()
        future.set_result([self._trial(job, a) for a in job.architectures])
        return future

    def _trial(self, job: Distil, architecture: Architecture) -> Trial | TrialError:
        if architecture in self.broken:
            return TrialError("it diverged", transient=self.transient)
        return Trial("k", architecture, job.training, 0.1, 10, job.training.tokens, 1.0, ((1000, 0.1),))


def test_of_two_trainings_of_a_student_the_longer_one_stays() -> None:
    def trial(number: int, tokens: int) -> Trial:
        student, training = entry(number, 0.5).architecture, Training("t", "t", "x", "r", tokens, 0, "float32")
        return Trial(f"{number}-{tokens}", student, training, 0.1, 10, tokens, 1.0, ((tokens, 0.1),))

    known = {"a": trial(0, 400), "b": trial(1, 100)}
    assert longest_of(known, {}) == known
    found = longest_of(known, {"a": trial(0, 200), "b": trial(1, 200), "c": trial(2, 50)})
    assert {key: one.training.tokens for key, one in found.items()} == {"a": 400, "b": 200, "c": 50}


@pytest.mark.parametrize("transient", [False, True])
def test_a_training_that_fails_costs_the_others_nothing(transient: bool) -> None:
    executor, said = Executor([STUDENTS[0]], transient), []
    making = Making(TRAINING, EMBEDDING)
    if transient:  # the next call goes on with it
        with pytest.raises(TrialError, match="it diverged"):
            finish(ENTRIES, 1000, making, executor, lambda *_: None)
        return
    trials = finish(ENTRIES, 1000, making, executor, lambda what, done, total: said.append(what))
    assert set(trials) == {student.key for student in STUDENTS[1:7]}
    assert said == [f"{STUDENTS[0].key} could not be trained further: it diverged"]
    assert executor.jobs[0].training.tokens == 1000
    causes = {STUDENTS[0]: TrialError("it diverged")}
    assert unfinished(ENTRIES[:3], trials, causes.get) == {STUDENTS[0].key: "it diverged"}
    unsaid = [unfinished(ENTRIES[:3], trials, lambda student: None, elsewhere) for elsewhere in (False, True)]
    assert [one[STUDENTS[0].key] for one in unsaid] == [
        "there was no time left", "there was no time left, or it failed on another machine"
    ]  # fmt: skip
