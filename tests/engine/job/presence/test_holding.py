"""Who drives a run is told to whoever comes second; who is gone holds nothing up, whatever host he was of."""

import multiprocessing
import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest

from distilsearch.engine.job.ledger import Ledger, open_storage
from distilsearch.engine.job.presence.holding import HANDS, Presence, driving, holder_of, marked
from distilsearch.errors import RunError
from distilsearch.families import family
from distilsearch.places import DRIVER

SPACE = family("bert").space({"layers": [1, 2]})
STUDENTS = SPACE.decode(np.unique(SPACE.sample(64, np.random.default_rng(0)), axis=0)[:4])


def test_a_run_is_driven_by_one_at_a_time_and_the_second_is_told_by_whom(tmp_path: Path) -> None:
    said, order = list[str](), list[str]()
    told = threading.Event()

    def tell(what: str, done: float, total: float) -> None:
        said.append(what)
        told.set()

    def second() -> None:
        with driving(tmp_path, tell, lambda seconds: order.append("sleeps") if not order else None):
            order.append("second")

    thread = threading.Thread(target=second)
    with driving(tmp_path):
        thread.start()
        assert told.wait(600)
        assert "second" not in order
    thread.join(600)
    assert order[-1] == "second"
    assert f"waiting for process {os.getpid()} on" in said[0]
    assert "since" in said[0]
    assert not any(tmp_path.iterdir())


def test_waiting_can_be_interrupted_and_ends_when_the_first_is_killed(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready = context.Event()

    def first() -> None:
        with driving(tmp_path):
            ready.set()
            signal.pause()

    process = context.Process(target=first)
    process.start()
    assert ready.wait(600)

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), driving(tmp_path, sleep=interrupt):
        pass
    assert holder_of(tmp_path / DRIVER).pid == process.pid
    with driving(tmp_path, sleep=lambda seconds: process.kill() or process.join()):
        assert holder_of(tmp_path / DRIVER).pid == os.getpid()


def test_what_was_refused_leaves_no_folder_behind(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), driving(tmp_path / "run"):
        raise ZeroDivisionError
    assert not (tmp_path / "run").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="holds no run"), driving(tmp_path / "other"):
        pass


def test_a_mark_that_was_removed_under_a_waiting_one_is_not_taken(tmp_path: Path) -> None:
    mark = marked(tmp_path / "mark")
    assert mark is not None
    assert marked(tmp_path / "mark") is None
    mark.release()
    again = marked(tmp_path / "mark")
    assert again is not None
    (tmp_path / "mark").write_text("{")
    assert str(holder_of(tmp_path / "mark")) == "another process"
    again.release()


# Leases


def ledger_in(folder: Path) -> Ledger:
    return Ledger(open_storage("", folder), "run", ["loss", "latency_ms"], SPACE, presence=Presence(folder))


def renamed(ledger: Ledger, host: str) -> None:
    """Make all leases look as if a process of another host held them, as after a container was restarted."""
    for entry in ledger.entries():
        lease = entry.lease | {"host": host, "pid": 1, "started": "1"}
        ledger._storage.set_trial_user_attr(entry.id, "lease", lease)


def test_a_trial_of_a_container_that_was_restarted_goes_on_at_once(tmp_path: Path) -> None:
    def work() -> None:
        ledger = ledger_in(tmp_path)
        ledger.open(STUDENTS[0], {"asked": 5})
        ledger.open(STUDENTS[1])
        renamed(ledger, "9a8b7c6d")
        os._exit(0)

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join()
    ledger = ledger_in(tmp_path)
    assert all(ledger.ended(entry.lease) for entry in ledger.entries())
    taken = ledger.abandoned()
    assert [entry.architecture for entry in taken] == STUDENTS[:2]
    assert ledger.abandoned() == []
    assert [path.name for path in (tmp_path / HANDS).iterdir()] == [ledger.holder]
    ledger.complete(taken[0], [0.5, 1.0], {})
    assert ledger.entries()[0].facts == {"asked": 5}


def test_a_living_process_of_the_same_name_and_number_keeps_its_trial(tmp_path: Path) -> None:
    first, second = ledger_in(tmp_path), ledger_in(tmp_path)
    first.open(STUDENTS[0])
    lease = first.entries()[0].lease
    first._storage.set_trial_user_attr(0, "lease", lease | {"started": "another container's"})
    assert second.abandoned() == []
    assert [entry.number for entry in second.foreign()] == [0]


def test_what_a_call_leaves_under_way_is_open_to_the_next_one_of_the_same_process(tmp_path: Path) -> None:
    first = ledger_in(tmp_path)
    first.open(STUDENTS[0])
    first.close()
    assert not (tmp_path / HANDS).exists()
    assert [entry.number for entry in ledger_in(tmp_path).abandoned()] == [0]


def test_where_it_cannot_be_given_back_for_want_of_room_it_is_open_all_the_same(tmp_path, monkeypatch) -> None:
    first, second = ledger_in(tmp_path), ledger_in(tmp_path)
    first.open(STUDENTS[0])

    def full(*_: object) -> None:
        raise RunError("full")

    monkeypatch.setattr(first._storage, "set_trial_user_attr", full)
    first.close()
    assert [entry.number for entry in second.abandoned()] == [0]


def test_the_mark_of_one_that_has_ended_without_a_lease_goes_with_the_next_call(tmp_path: Path) -> None:
    left, needed, living = (tmp_path / HANDS / name for name in ("left", "needed", "living"))
    held = marked(living)
    for path in (left, needed):
        path.touch()
    Presence(tmp_path).sweep({"needed"})
    assert held is not None
    assert sorted(path.name for path in (tmp_path / HANDS).iterdir()) == ["living", "needed"]
    held.release()


def test_looking_leaves_no_mark(tmp_path: Path) -> None:
    ledger = ledger_in(tmp_path)
    assert ledger.entries() == []
    assert not (tmp_path / HANDS).exists()
