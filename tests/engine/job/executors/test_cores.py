"""Locks on cores: trainers together, meters alone, nobody starved, nobody stuck."""

import os
import subprocess
import sys
import threading
import time

import pytest

from distilsearch.engine.job.executors.cores import Shared, alone, held_for, least_busy
from distilsearch.engine.job.jobs import Needs
from distilsearch.errors import Interrupted
from distilsearch.progress import nothing


def refuse() -> None:
    raise Interrupted("asked to stop")


def test_trainers_share_and_a_meter_is_alone(tmp_path) -> None:
    with Shared(["0", "1"], nothing, tmp_path), Shared(["1"], nothing, tmp_path), alone(["2"], nothing, tmp_path):
        assert least_busy(["0", "1", "2", "3"], 2, tmp_path) == ["3", "0"]
        with pytest.raises(Interrupted), alone(["1"], refuse, tmp_path):
            pass
        with pytest.raises(Interrupted), Shared(["2", "3"], refuse, tmp_path):
            pass
    with alone(["0", "1", "2", "3"], refuse, tmp_path):
        pass


def test_a_meter_gets_its_turn_between_the_steps_of_many_trainers(tmp_path) -> None:
    ended, measured = threading.Event(), []

    def train(names: list[str]) -> None:
        with Shared(names, nothing, tmp_path) as shared:
            while not ended.is_set():
                shared.let_pass()
                time.sleep(0.002)
                assert not measuring.is_set()

    measuring = threading.Event()
    trainers = [threading.Thread(target=train, args=(names,)) for names in (["0"], ["1"], ["0", "1"], ["1", "0"])]
    for trainer in trainers:
        trainer.start()
    for cores in (["0", "1"], ["1"], ["0"], ["1", "0"]):
        started = time.monotonic()
        with alone(cores, nothing, tmp_path):
            measured.append(time.monotonic() - started)
            if len(cores) == 2:
                measuring.set()
                time.sleep(0.03)
                measuring.clear()
    ended.set()
    for trainer in trainers:
        trainer.join()
    assert max(measured) < 60.0  # seconds; without a turn it is never


def test_meters_and_trainers_of_overlapping_cores_all_come_to_their_end(tmp_path) -> None:
    def measure(names: list[str]) -> None:
        for _ in range(5):
            with alone(names, nothing, tmp_path):
                time.sleep(0.001)

    def train(names: list[str]) -> None:
        with Shared(names, nothing, tmp_path) as shared:
            for _ in range(100):
                shared.let_pass()
                time.sleep(0.0005)

    sets = [["0", "1", "2"], ["2", "1"], ["0", "2"], ["1"]]
    threads = [threading.Thread(target=work, args=(names,)) for work in (measure, train) for names in sets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(600)
        assert not thread.is_alive()


HOLDER = """
import sys, time
from pathlib import Path
from distilsearch.engine.job.executors.cores import Shared, alone
nothing = lambda: None
with alone(["0"], nothing, Path(sys.argv[1])) if sys.argv[2] == "alone" else Shared(["0"], nothing, Path(sys.argv[1])):
    print("holds", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("kind", ["alone", "shared"])
def test_locks_of_a_killed_process_are_free(tmp_path, kind) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path), kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "holds\n"
        with pytest.raises(Interrupted), alone(["0"], refuse, tmp_path):
            pass
        holder.kill()
    with alone(["0"], nothing, tmp_path):
        pass


def test_an_interrupted_trainer_holds_nothing_and_may_come_back(tmp_path) -> None:
    with Shared(["0"], refuse, tmp_path) as shared:
        with pytest.raises(Interrupted):
            _let_pass_while_measured(shared, tmp_path)
        with alone(["0"], nothing, tmp_path):
            pass
        shared.let_pass()
        with pytest.raises(Interrupted), alone(["0"], refuse, tmp_path):
            pass
        assert shared.paused_seconds >= 0


def _let_pass_while_measured(shared: Shared, folder) -> None:
    asking = threading.Event()

    def meter() -> None:
        with alone(["0"], asking.set, folder):
            time.sleep(0.2)

    thread = threading.Thread(target=meter)
    thread.start()
    assert asking.wait(10)
    try:
        shared.let_pass()
    finally:
        thread.join()


def test_a_trainer_that_waits_for_long_says_so(monkeypatch) -> None:
    from distilsearch.engine.job.executors import cores

    monkeypatch.setattr(cores, "TELL_SECONDS", 0.05)
    said, go_on = [], threading.Event()

    def report(*what: object) -> None:
        said.append(what)
        go_on.set()

    def meter() -> None:
        with held_for(Needs(exclusive=True), report, nothing):
            holding.set()
            go_on.wait(10)

    holding = threading.Event()
    thread = threading.Thread(target=meter)
    thread.start()
    assert holding.wait(10)
    with held_for(Needs(), report, nothing) as hold:
        assert hold.paused_seconds > 0.05
    thread.join()
    words = said[0][0]
    assert words.startswith(f"{cores.WAITING} (process {os.getpid()}, ")
    assert said[0] == (words, 0, 1)
    assert said[-1] == (words, 1, 1)


def test_a_trainer_that_waits_for_the_meter_of_its_own_run_does_not_say_that_it_is_anothers(
    tmp_path, monkeypatch
) -> None:
    from distilsearch.engine.job.executors import cores

    drivers = iter(("4711", "4711", "4712", "4711"))  # of the meter and of the trainer, twice
    monkeypatch.setattr(cores, "_command", lambda pid: ["python", "-m", cores.WORKER, next(drivers)])
    monkeypatch.setattr(cores, "_run_of", lambda pid: "search in runs")
    with cores.alone(["0"], nothing, tmp_path):
        assert cores.who_measures(["0"], tmp_path) == cores.OWN
        assert cores.who_measures(["0"], tmp_path) == f"{cores.WAITING} (process {os.getpid()}, search in runs)"
    assert cores.who_measures(["0"], tmp_path) == cores.WAITING
