"""Claims: one winner, taken over from the dead alone, by real processes too."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from distilsearch.distill.store.claims import Claims, Pace


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def still(tmp_path: Path, clock: Clock) -> Claims:
    """An observer whose hearts do not beat."""
    return Claims(tmp_path, Pace(clock=clock, patience=10.0, beat=3600.0))


HOLDER = """
import sys, time
from pathlib import Path
from distilsearch.distill.store.claims import Claims, Pace
claims = Claims(Path(sys.argv[1]), Pace(beat=0.02))
with claims.waited("key") as claim:
    print("held", flush=True)
    sys.stdin.readline()
    print("still" if claim.held else "lost", flush=True)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[Callable[[], "subprocess.Popen[str]"]]:
    """Starts processes that hold the claim until they are told to look again."""
    begun: list[subprocess.Popen[str]] = []

    def start() -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", HOLDER, str(tmp_path)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        begun.append(process)
        return process

    yield start
    for process in begun:
        process.kill()
        process.communicate()


def _says(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_one_holds_a_claim_and_the_next_gets_it_when_it_is_released(still: Claims) -> None:
    first = still.claim("key")
    assert first is not None
    assert first.held
    assert still.claim("key") is None
    assert still.claim("other") is not None
    assert still.holder("key") == f"process {os.getpid()}"
    first.release()
    assert not first.held
    assert still.holder("key") is None
    assert still.claim("key") is not None


def test_a_claim_is_dead_when_its_counter_rests_by_the_clock_of_who_looks(still: Claims, clock: Clock) -> None:
    holder = still.claim("key")
    assert holder is not None
    for now in (0.0, 10.0):
        clock.now = now
        assert still.claim("key") is None
    clock.now = 10.1
    taken = still.claim("key")
    assert taken is not None
    assert taken.held
    assert not holder.held
    holder.release()  # what it no longer has it cannot give back
    assert taken.held
    assert still.claim("key") is None


def test_a_heart_that_beats_keeps_a_claim(tmp_path: Path, clock: Clock) -> None:
    claims = Claims(tmp_path, Pace(clock=clock, patience=10.0, beat=0.005))
    holder = claims.claim("key")
    assert holder is not None
    for _ in range(5):
        before = _counter(tmp_path)
        while _counter(tmp_path) == before:
            time.sleep(0.002)
        clock.now += 100.0
        assert claims.claim("key") is None
    holder.release()


def _counter(folder: Path) -> bytes:
    (path,) = (folder / "key").iterdir()
    return path.read_bytes()


def test_of_many_who_take_over_one_wins(tmp_path: Path) -> None:
    clock = Clock()
    observers = [Claims(tmp_path, Pace(clock=clock, patience=10.0, beat=3600.0)) for _ in range(16)]
    dead = observers[0].claim("key")
    assert dead is not None
    assert [observer.claim("key") for observer in observers] == [None] * 16
    clock.now = 20.0
    won: list[object] = []
    threads = [threading.Thread(target=lambda o=observer: won.append(o.claim("key"))) for observer in observers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(claim is not None for claim in won) == 1
    assert not dead.held


def test_of_many_who_begin_one_wins(tmp_path: Path) -> None:
    claims, won = Claims(tmp_path, Pace(beat=3600.0)), []
    for turn in range(20):
        threads = [threading.Thread(target=lambda t=turn: won.append(claims.claim(f"key {t}"))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sum(claim is not None for claim in won) == 20
    assert len(list(tmp_path.iterdir())) == 20  # nothing is left of those that lost


def test_a_killed_process_loses_its_claim_at_once(
    holder: Callable[[], "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    process, claims = holder(), Claims(tmp_path, Pace(patience=3600.0))
    assert _says(process) == "held"
    assert claims.claim("key") is None
    process.send_signal(signal.SIGKILL)  # and it is not waited for: a dead process that nobody has buried is dead
    while (claim := claims.claim("key")) is None:
        time.sleep(0.01)
    assert claim.held


def test_a_stopped_process_comes_back_and_finds_its_claim_gone(
    holder: Callable[[], "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    process, claims = holder(), Claims(tmp_path, Pace(patience=0.3, beat=0.02))
    assert _says(process) == "held"
    process.send_signal(signal.SIGSTOP)
    with claims.waited("key") as claim:
        process.send_signal(signal.SIGCONT)
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        assert _says(process) == "lost"
        assert claim.held
        process.wait()
        assert claim.held  # its release took nothing that is not its own


def test_the_second_waits_and_is_told_for_whom(holder: Callable[[], "subprocess.Popen[str]"], tmp_path: Path) -> None:
    first = holder()
    assert _says(first) == "held"
    told: list[str] = []

    def waiting(who: str) -> None:
        told.append(who)
        if len(told) == 3:
            assert first.stdin is not None
            first.stdin.write("\n")
            first.stdin.flush()

    with Claims(tmp_path, Pace(poll=0.02)).waited("key", waiting) as second:
        assert second.held
    assert _says(first) == "still"
    assert set(told) == {f"process {first.pid}"}


def test_what_lies_in_the_way_of_a_claim_dies_like_any_other(still: Claims, clock: Clock, tmp_path: Path) -> None:
    (tmp_path / "key").mkdir()
    (tmp_path / "key" / "a stranger's").write_bytes(b"\xff\x00")
    assert still.claim("key") is None
    clock.now = 11.0
    assert still.claim("key") is not None
