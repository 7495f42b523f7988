"""What is lost by accident is done again, whatever the job; what is a student's own failure is not."""

import threading
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

import pytest

from distilsearch.engine.job.executors import persistent
from distilsearch.engine.job.executors.persistent import MOST_ATTEMPTS, Persistent
from distilsearch.errors import DiskFullError, InputError, Interrupted, TrialError

KILLED = TrialError("the child was killed by SIGKILL; the end of x.log:\nlast words", transient=True)


class Scripted:
    """An executor whose jobs end one after another as a list says; those after it never end."""

    workers = 2

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes, self.futures = list(outcomes), list[Future[Any]]()
        self.idle = threading.Event()  # a job has come that does not end

    def submit(self, job: Any, progress: Any = None) -> "Future[Any]":
        future: Future[Any] = Future()
        self.futures.append(future)
        if self.outcomes:
            outcome = self.outcomes.pop(0)
            future.set_exception(outcome) if isinstance(outcome, Exception) else future.set_result(outcome)
        else:
            self.idle.set()
        return future

    def stop(self) -> None: ...

    def close(self) -> None: ...


def test_an_accident_is_said_and_the_job_is_done_again() -> None:
    said, inner = list[str](), Scripted(KILLED, [KILLED], "answer")
    assert Persistent(inner, lambda what, *_: said.append(what)).submit("job").result() == "answer"
    assert said == [
        "the child was killed by SIGKILL; the end of x.log; trying again (2 of 4)",
        "the child was killed by SIGKILL; the end of x.log; trying again (3 of 4)",
    ]


def test_after_some_attempts_it_is_given_up() -> None:
    inner = Scripted(*[KILLED] * 9)
    with pytest.raises(TrialError, match="last words"):
        Persistent(inner).submit("job").result()
    assert len(inner.futures) == MOST_ATTEMPTS


@pytest.mark.parametrize("error", [TrialError("it diverged"), InputError("no such device"), Interrupted("stopped")])
def test_what_is_no_accident_is_told_at_once(error: Exception) -> None:
    inner = Scripted(error)
    with pytest.raises(type(error)):
        Persistent(inner).submit("job").result()
    assert len(inner.futures) == 1
    diverged = TrialError("it diverged")
    assert Persistent(Scripted([diverged])).submit("job").result() == [diverged]


def test_what_dies_on_a_full_disk_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distilsearch.disks._free", lambda place: 0)
    inner = Scripted(KILLED, "answer")
    with pytest.raises(DiskFullError, match=f"the disk of {tmp_path} is full \\(the child was killed"):
        Persistent(inner, places=[tmp_path]).submit("job").result()


def test_whoever_cancels_calls_off_the_attempt_that_runs() -> None:
    inner = Scripted(KILLED)
    future = Persistent(inner).submit("job")
    assert inner.idle.wait(600)
    assert not future.done()
    assert future.cancel()
    assert wait([future], timeout=600).done
    assert inner.futures[1].cancelled()


def test_an_executor_that_refuses_the_second_attempt_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = Scripted()
    future = Persistent(inner).submit("job")

    def refuse(*_: Any) -> None:
        raise InputError("no node has what it needs")

    monkeypatch.setattr(inner, "submit", refuse)
    inner.futures[0].set_exception(KILLED)
    with pytest.raises(InputError, match="no node"):
        future.result()
    assert persistent.first_line(KILLED) == "the child was killed by SIGKILL; the end of x.log"
