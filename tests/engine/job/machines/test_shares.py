"""A limit that is a share of the teacher's latency: resolved once, noted, and kept by a run that goes on."""

from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from distilsearch.architecture import Architecture
from distilsearch.engine.job.ledger import Ledger, open_storage
from distilsearch.engine.job.machines.machines import Latency
from distilsearch.engine.job.machines.shares import set_shares
from distilsearch.engine.job.runfile.sections import TargetSection
from distilsearch.space import Parameter, SearchSpace

TEACHER = Architecture("generic", {"n": 9})
SPACE = SearchSpace("generic", [Parameter("n", (1, 2, 3))])


class Machine:
    """A machine on which the teacher is predicted to take 20 ms."""

    def __init__(self, section: dict[str, Any], ms: float = 15.0, slowness: float = 1.0, local: bool = True) -> None:
        self.objective, self.local = "latency_ms", local
        self.declared = SimpleNamespace(section=TargetSection(**section))
        self.limit_ms = self.declared.section.latency_ms
        self.answer, self.measured, self.slowness = (ms, slowness), {}, {}

    def jobs(self, models):
        return [(tuple(models), self.answer)]

    def take(self, models, answer) -> None:
        self.measured[models[0].key], self.slowness[models[0].key] = answer

    def latency(self, model) -> Latency:
        return Latency(20.0, 18.0, 22.0, self.measured.get(model.key))


class Executor:
    def __init__(self) -> None:
        self.asked = 0

    def submit(self, job, progress=None):
        self.asked += 1
        future: Future = Future()
        future.set_result(job)
        return future


def ledger(folder: Path) -> Ledger:
    return Ledger(open_storage("", folder), "run", ["loss", "latency_ms"], SPACE)


@pytest.mark.parametrize(
    ("more", "limit"),
    [({}, 3.0), ({"slowness": 2.0}, 4.0), ({"local": False}, 4.0), ({"slowness": 1.4}, 3.0), ({"ms": 40.0}, 8.0)],
)
def test_it_is_of_the_measured_teacher_where_the_machine_is_calm_and_of_the_predicted_one_else(tmp_path, more, limit):
    machine = Machine({"latency": "0.2x teacher"}, **more)
    set_shares(ledger(tmp_path), [machine], TEACHER, Executor(), lambda *_: None)
    assert machine.limit_ms == pytest.approx(limit)


def test_a_run_that_goes_on_keeps_it_whatever_the_teacher_takes_now(tmp_path) -> None:
    executor = Executor()
    for ms in (15.0, 30.0):
        machine = Machine({"latency": "0.2x teacher"}, ms)
        set_shares(ledger(tmp_path), [machine], TEACHER, executor, lambda *_: None)
        assert machine.limit_ms == pytest.approx(3.0)
    assert executor.asked == 1
    mended = Machine({"latency": "0.5x teacher"}, 30.0)  # the file was refused, and says something else now
    set_shares(ledger(tmp_path), [mended], TEACHER, executor, lambda *_: None)
    assert mended.limit_ms == pytest.approx(15.0)


@pytest.mark.parametrize("section", [{}, {"latency_ms": 5.0}])
def test_other_limits_are_as_they_are(tmp_path, section) -> None:
    machine, executor = Machine(section), Executor()
    set_shares(ledger(tmp_path), [machine], TEACHER, executor, lambda *_: None)
    assert (machine.limit_ms, executor.asked) == (section.get("latency_ms"), 0)


def test_each_machine_has_its_own(tmp_path) -> None:
    machines = [Machine({"latency": "0.2x"}), Machine({"latency": "0.5x"}, 10.0), Machine({})]
    for number, machine in enumerate(machines):
        machine.objective = f"latency_{number}"
    set_shares(ledger(tmp_path), machines, TEACHER, Executor(), lambda *_: None)
    assert [m.limit_ms for m in machines] == [pytest.approx(3.0), pytest.approx(5.0), None]
