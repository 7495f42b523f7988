"""Children of this machine, held to what all executors promise; killed at random, and with their driver."""

import os
import queue
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import wait
from pathlib import Path

import pytest

from distilsearch.engine.job.executors import Executor, Options, open_executor
from distilsearch.engine.job.executors.interruption import interruptible
from distilsearch.engine.job.executors.local import Allotment, Local, _drained
from distilsearch.errors import DeviceError, InputError, Interrupted, TrialError
from distilsearch.signals import exit_code
from distilsearch.testing.executors import Chore, ExecutorContract, Seen, gone


class TestLocal(ExecutorContract):
    def open(self, folder: Path) -> Executor:
        return open_executor("local", Options(folder, workers=2, threads=1))


@pytest.fixture
def local(tmp_path):
    with Local(Options(tmp_path, workers=2, threads=1)) as opened:
        yield opened


def test_children_killed_at_random_lose_nothing_and_double_nothing(local) -> None:
    generator, ended, killed = random.Random(0), threading.Event(), []

    def kill_some() -> None:
        while not ended.wait(generator.uniform(0.1, 0.5)) and len(killed) < 6:
            if local.processes:
                killed.append(generator.choice(sorted(local.processes.values())))
                os.kill(killed[-1], signal.SIGKILL)

    killer = threading.Thread(target=kill_some)
    killer.start()
    answers, waiting, failures = Counter(), list(range(12)), 0
    while waiting:
        futures = {i: local.submit(Chore(value=i, seconds=0.15)) for i in waiting}
        errors = {i: error for i, future in futures.items() if (error := future.exception()) is not None}
        assert all(isinstance(error, TrialError) and error.transient for error in errors.values())
        answers.update(future.result() for i, future in futures.items() if i not in errors)
        waiting, failures = list(errors), failures + len(errors)
    ended.set()
    killer.join()
    assert answers == dict.fromkeys(range(12), 1)
    assert 0 < failures <= len(killed)
    assert local.submit(Chore(value="fine")).result() == "fine"


def test_a_job_that_runs_can_be_called_off_and_the_next_one_is_whole(tmp_path) -> None:
    with Local(Options(tmp_path, workers=1, threads=1)) as alone:
        seen = Seen()
        endless = alone.submit(Chore("steps", seconds=600), seen)
        seen.wait("steps of process")
        assert endless.cancel()
        assert not wait([endless], 0).not_done
        assert alone.submit(Chore(value="whole", seconds=0.15)).result() == "whole"


DRIVER = """
import sys, time
from pathlib import Path
from distilsearch.engine.job.executors import Options, open_executor
from distilsearch.testing.executors import Chore, Seen
executor = open_executor("local", Options(Path(sys.argv[1]), workers=2, threads=1))
seen = Seen()
executor.submit(Chore("steps", seconds=600), seen)
seen.wait("steps of process")
executor.submit(Chore(seconds=600, exclusive=True))
while len(executor.processes) < 2: time.sleep(0.01)
print(*executor.processes.values(), flush=True)
time.sleep(600)
"""


def test_children_die_with_their_driver(tmp_path) -> None:
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    children = [int(number) for number in driver.stdout.readline().split()]
    assert len(children) == 2
    driver.kill()
    driver.communicate()
    assert all(gone(child) for child in children)


def test_the_first_ctrl_c_ends_between_two_steps_and_the_next_run_is_not_touched(local) -> None:
    seen, before = Seen(), signal.getsignal(signal.SIGINT)
    with interruptible(local):
        future = local.submit(Chore("steps", seconds=600), seen)
        seen.wait("steps of process")
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Interrupted):
            future.result(300)
    assert signal.getsignal(signal.SIGINT) is before


def test_the_second_ctrl_c_ends_what_does_not_stop(local) -> None:
    started, seen = time.monotonic(), Seen()

    def press_twice() -> None:
        seen.wait("reports of sleep")  # what has not begun would end with the first
        for _ in range(2):
            time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGINT)

    sleep = Chore("report", "sleep", seconds=600)
    threading.Thread(target=press_twice).start()
    with pytest.raises(KeyboardInterrupt), interruptible(local):
        local.submit(sleep, seen).result()
    assert time.monotonic() - started < 300  # of 600
    assert not local.processes


def test_whoever_waits_with_nothing_under_way_ends_at_the_first_ctrl_c(local) -> None:
    def press() -> None:
        with interruptible(local) as between:
            between()
            os.kill(os.getpid(), signal.SIGINT)
            between()

    with pytest.raises(Interrupted) as ended:
        press()
    assert ended.value.exit_code == exit_code(signal.SIGINT)
    with interruptible(local) as between:
        between()  # the next one has not been asked


def test_a_cancelled_job_is_not_run_and_ends_none_that_follows(tmp_path) -> None:
    with Local(Options(tmp_path, workers=1, threads=1)) as alone:
        busy = alone.submit(Chore("steps", seconds=0.3))
        waiting = alone.submit(Chore("die"))
        assert waiting.cancel()
        assert busy.result()
        assert alone.submit(Chore("steps", seconds=0.1)).result()
        assert not wait([waiting], 0).not_done


def test_the_share_of_pauses_is_told(local) -> None:
    seen = Seen()
    busy = [local.submit(Chore("steps", seconds=1.5), seen) for _ in range(2)]
    seen.wait("steps of process")
    local.submit(Chore(seconds=0.5, exclusive=True)).result()
    assert all(future.result() for future in busy)
    assert 0.02 < local.paused_share < 0.9  # half a second of three or more


def test_jobs_get_the_cores_that_have_least_to_do() -> None:
    allotment = Allotment([0, 1, 2, 3])
    with allotment.of(2) as first, allotment.of(1) as second, allotment.of(2) as third:
        assert (first, second, third) == ([0, 1], [2], [3, 0])
        with allotment.of(9) as everything:
            assert sorted(everything) == [0, 1, 2, 3]
    with allotment.of(1) as again:
        assert again == [0]


def test_what_is_not_there_is_refused_in_words(tmp_path) -> None:
    with pytest.raises(InputError, match="unknown executor 'locals': did you mean 'local'"):
        open_executor("locals", Options(tmp_path))
    with pytest.raises(DeviceError, match=r"'cuda:9', and this machine has (no|\d) GPU"):
        Local(Options(tmp_path, device="cuda:9"))


def test_an_executor_that_is_stopped_while_it_is_closed_still_ends(tmp_path: Path) -> None:
    for _ in range(20):
        executor = Local(Options(tmp_path, workers=2))
        stopping = [threading.Thread(target=executor.stop) for _ in range(3)]
        for thread in stopping:
            thread.start()
        executor.close()
        for thread in stopping:
            thread.join()
    tasks: queue.SimpleQueue[None] = queue.SimpleQueue()
    tasks.put(None)
    assert not [*_drained(tasks)]
    assert tasks.get_nowait() is None
