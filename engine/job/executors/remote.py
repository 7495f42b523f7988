"""What any executor that is not local sends to the other end, and what it makes of what comes back.

A text goes out and a text comes back; functions travel by their names, so that both ends must have the same version of
distilsearch installed. Over these executors no progress comes back, and a job that runs hears of an interruption
only where its executor can tell it.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from distilsearch.errors import DistilSearchError, Interrupted, TrialError
from distilsearch.progress import Between

from ..jobs import Job, Needs, answer, perform
from .worker import place

STOPPED = "the run was stopped; what was trained up to here is kept where it was trained"


def remotely(text: str, threads: int) -> str:
    """Perform a job that came as text, on the other end; interrupts end it between two steps.

    `threads`: how many it computes with; 0: as many as there are cores.
    """
    place(threads or len(os.sched_getaffinity(0)), ())
    with _interruptible() as between:
        return perform(text, between=between)


def threads_of(needs: Needs, usual: int) -> int:
    """With how many threads a job computes: what it needs, or what is usual; who is alone takes all cores (0)."""
    return needs.threads or (0 if needs.exclusive else usual)


@contextmanager
def _interruptible() -> Iterator[Between]:
    """Hold interrupts back until the job asks between two steps, so that it can save; only a main thread gets any."""
    asked = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        asked.set()

    def between() -> None:
        if asked.is_set():
            raise Interrupted(STOPPED)

    if threading.current_thread() is not threading.main_thread():
        yield between
        return
    former = signal.signal(signal.SIGINT, ask)
    try:
        yield between
    finally:
        signal.signal(signal.SIGINT, former)


@dataclass
class Pending:
    """Jobs that are elsewhere, each with the future that its caller holds and a way to call it off."""

    _futures: dict["Future[Any]", Callable[[], object]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, future: "Future[Any]", call_off: Callable[[], object]) -> None:
        """Remember a job; whoever cancels its future calls it off."""
        with self._lock:
            self._futures[future] = call_off
        future.add_done_callback(self._gone)

    def call_off(self) -> None:
        """Call off all jobs."""
        for call_off in self._all().values():
            call_off()

    def interrupt(self) -> None:
        """Call off all jobs, and fail their futures at once."""
        for future, call_off in self._all().items():
            settle(future, Interrupted(STOPPED))
            call_off()

    def _all(self) -> dict["Future[Any]", Callable[[], object]]:
        with self._lock:
            return dict(self._futures)

    def _gone(self, future: "Future[Any]") -> None:
        with self._lock:
            call_off = self._futures.pop(future)
        if future.cancelled():
            future.set_running_or_notify_cancel()  # else `concurrent.futures.wait` would wait for it
            call_off()


_SETTLING = threading.Lock()


def settle(future: "Future[Any]", outcome: Any) -> None:
    """Give a future its answer or error, unless its caller has cancelled it or somebody else was first."""
    with _SETTLING:
        if future.done() or future.running() or not future.set_running_or_notify_cancel():
            return
    if isinstance(outcome, BaseException):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


def outcome_of(job: Job, text: str) -> Any:
    """The typed answer in a text, or the error that it carries, as a value."""
    try:
        return answer(job, text)
    except DistilSearchError as error:
        return error
    except (ValueError, KeyError, TypeError) as error:
        return TrialError(f"the answer is none of ours ({type(error).__name__}: {error}): {text[:200]}", transient=True)
