"""Teacher and front are measured side by side until two calm sessions agree, a few times at most."""

from concurrent.futures import Future
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilsearch.architecture import Architecture
from distilsearch.engine.job.ledger import Ledger, open_storage
from distilsearch.engine.job.outcome.sessions import MOST_SESSIONS, Session, agreed, measure_front, repeats
from distilsearch.profiling.clock import Measured
from distilsearch.space import Parameter, SearchSpace

TEACHER = Architecture("generic", {"n": 9})
SPACE = SearchSpace("generic", [Parameter("n", (1, 2, 3, 9))])
ONE, TWO, THREE = (Architecture("generic", {"n": n}) for n in (1, 2, 3))


def timing(ms: float, slowness: float = 1.0) -> Measured:
    return Measured(ms / 1e3, ms / 1e3, ms / 1e3, 8, 0.0, slowness, "ok")


class Machine:
    """A machine whose sessions go as they are given: by model the ms, and how slow the machine was."""

    objective, local, limit_ms = "latency_ms", True, None

    def __init__(self, sessions: list[tuple[dict[int, float], float]]) -> None:
        self.sessions, self.asked = list(sessions), []
        self.measured: dict[str, float] = {}
        self.slowness: dict[str, float] = {}
        self.repeats: dict[str, float] = {}
        self.requests: dict[str, list[float]] = {}

    def jobs(self, models):
        self.asked.append([model["n"] for model in models])
        times, slowness = self.sessions[min(len(self.asked), len(self.sessions)) - 1]
        answers = [timing(times[m["n"]], slowness) if m["n"] in times else Measured.failed("oom") for m in models]
        return [(tuple(models[:1]), answers[:1]), (tuple(models[1:]), answers[1:])]  # two servings

    def take(self, models, answers) -> None:
        for model, one in zip(models, answers, strict=True):
            if one.usable:
                self.measured[model.key] = 1e3 * one.seconds_p10
                self.slowness[model.key] = one.sentinel_ratio

    def keeps(self, model) -> bool:
        return True

    def complete(self, model) -> bool:
        return model.key in self.measured

    def latency(self, model) -> Any:
        return SimpleNamespace(best=self.measured.get(model.key, float(model["n"])))


class AtOnce:
    def submit(self, job, progress=None) -> "Future[Any]":
        future: Future[Any] = Future()
        future.set_result(job)
        return future


def ledger(folder: Path, losses: dict[int, float]) -> Ledger:
    made = Ledger(open_storage("", folder), "run", ["loss", "latency_ms"], SPACE)
    for n, loss in losses.items():
        made.add(Architecture("generic", {"n": n}), [loss, float(n)], {"asked": 100, "tokens": 100})
    return made


def measure(book: Ledger, machine: Machine) -> None:
    measure_front(book, [machine], TEACHER, AtOnce(), lambda *_: None)


QUIET = {9: 18.0, 1: 1.0, 2: 2.0, 3: 3.0}


@pytest.mark.parametrize(
    ("sessions", "asked", "counting", "apart"),
    [
        ([(QUIET, 1.0)], 2, 1.0, 1.0),  # two that agree are enough
        ([(QUIET | {1: 1.6}, 1.0), (QUIET, 1.1)], 3, 1.0, 1.0),  # one that does not fit is outvoted
        ([(QUIET | {1: 1.61}, 3.0), (QUIET | {1: 0.87}, 1.2), (QUIET | {1: 0.9}, 1.1)], 3, 0.9, 0.9 / 0.87),
        ([(QUIET | {1: 1.7}, 1.0), (QUIET | {1: 1.3}, 1.2), (QUIET, 1.1)], 3, 1.0, 1.3),  # none agree: it is said
        ([(QUIET, 2.0), (QUIET, 1.8), (QUIET, 1.9)], 3, 1.0, 1.0),  # never calm: it is said by its slowness
    ],
)
def test_it_is_measured_until_two_calm_sessions_agree(tmp_path, sessions, asked, counting, apart) -> None:
    machine = Machine(sessions)
    measure(ledger(tmp_path, {1: 0.5, 2: 0.4}), machine)
    assert len(machine.asked) == asked
    assert machine.measured[ONE.key] == pytest.approx(counting)
    assert machine.repeats[ONE.key] == pytest.approx(apart)
    assert set(machine.repeats) == {TEACHER.key, ONE.key, TWO.key}


def test_what_came_out_is_kept_for_the_next_call(tmp_path) -> None:
    book, first, again = ledger(tmp_path, {1: 0.5}), Machine([(QUIET, 1.2), (QUIET | {1: 1.05}, 1.0)]), Machine([])
    measure(book, first)
    measure(book, again)
    assert again.asked == []
    assert again.repeats == first.repeats
    assert again.repeats[ONE.key] == pytest.approx(1.05)
    assert book.noted("measured") == {"latency_ms": first.measured}
    assert book.noted("slowness")["latency_ms"][ONE.key] == 1.0


def test_whom_a_measurement_brings_to_the_front_is_measured_with_all_others(tmp_path) -> None:
    slower = {9: 18.0, 1: 4.0, 2: 2.0, 3: 3.0}  # student 1 was predicted to be the fastest, and hid student 2
    machine = Machine([(slower, 1.0)])
    measure(ledger(tmp_path, {1: 0.4, 2: 0.5, 3: 0.3}), machine)
    assert machine.asked == [[9, 1, 3], [9, 1, 3], [2, 3], [2, 3]]
    assert machine.complete(TWO)


def test_a_model_that_does_not_run_has_no_figures(tmp_path) -> None:
    machine = Machine([({9: 18.0}, 1.0)])
    measure(ledger(tmp_path, {1: 0.5}), machine)
    assert set(machine.measured) == set(machine.repeats) == {TEACHER.key}


def test_a_machine_that_is_elsewhere_is_not_measured(tmp_path) -> None:
    machine = Machine([])
    machine.local = False
    measure(ledger(tmp_path, {1: 0.5}), machine)
    assert (machine.asked, machine.repeats) == ([], {})


times = st.fixed_dictionaries({"t": st.floats(1.0, 3.0), "s": st.floats(1.0, 3.0)})


@given(st.lists(st.tuples(times, st.floats(1.0, 2.0)), min_size=MOST_SESSIONS, max_size=MOST_SESSIONS))
def test_the_sessions_that_count_as_a_naive_rule_finds_them(rows) -> None:
    every = [Session([(list(ms), [timing(x, slow) for x in ms.values()])]) for ms, slow in rows]
    waiting = iter(every)
    counting, factors = agreed(lambda: next(waiting))
    taken = every[: MOST_SESSIONS - len(list(waiting))]

    def off(pair) -> tuple[bool, float]:
        (a, b) = (rows[every.index(one)] for one in pair)
        return max(a[1], b[1]) > 1.5, max(max(a[0][k] / b[0][k], b[0][k] / a[0][k]) for k in "ts")

    best = min(map(off, combinations(taken, 2)))
    assert (max(factors.values()), factors) == (pytest.approx(best[1]), factors)
    assert counting in taken
    assert len(taken) == MOST_SESSIONS or best <= (False, 1.1 + 1e-9)
    earlier = [off(pair) for pair in combinations(taken[:-1], 2)]
    assert not [pair for pair in earlier if pair < (False, 1.1 - 1e-9)]  # nothing was measured once it was known
    assert all(factor >= 1 for pair in combinations(taken, 2) for factor in repeats(*pair).values())


def test_where_there_is_time_for_one_session_it_counts_and_nothing_is_known_of_how_it_repeats() -> None:
    first, second = (Session([(["t"], [timing(ms, 1.0)])]) for ms in (1.0, 2.0))
    waiting = iter([first, second])
    assert agreed(lambda: next(waiting), lambda seconds: False) == (first, {})
    assert next(waiting) is second
