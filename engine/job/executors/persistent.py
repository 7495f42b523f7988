"""What is lost by accident is done again: a job whose worker was killed, ran out of memory or hung, some times over.

So trainings, measurements, profiles and rehearsals are all as stubborn, over whatever executor. A full disk is no
accident: where a worker has died on one, that is what is said, and nothing is tried again.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distilsearch.disks import full_at, without_room
from distilsearch.errors import TrialError
from distilsearch.progress import Progress, silent

from ..jobs import Job
from .executor import Executor
from .remote import settle

MOST_ATTEMPTS = 4  # at one job


class Persistent:
    """An executor over another one.

    Args:
        executor: who runs the jobs; it is stopped and closed with this one.
        progress: is told of each attempt that was lost.
        places: folders whose disks must have room.
        given: it is a caller's, who has other work for it.
    """

    def __init__(
        self, executor: Executor, progress: Progress = silent, places: Sequence[Path] = (), given: bool = False
    ) -> None:
        self._executor, self._progress, self._places, self.given = executor, progress, places, given

    @property
    def workers(self) -> int:
        """How many trainings it runs at once."""
        return self._executor.workers

    @property
    def paused_share(self) -> float | None:
        """The share of their time that trainings have waited for meters; None where nobody knows."""
        share: float | None = getattr(self._executor, "paused_share", None)
        return share

    @property
    def busy_seconds(self) -> float | None:
        """The time that this is a share of."""
        seconds: float | None = getattr(self._executor, "busy_seconds", None)
        return seconds

    def submit(self, job: Job, progress: Progress = silent) -> "Future[Any]":
        """Run a job; see `Executor`."""
        task = _Task(job, progress)
        self._try(task)
        task.future.add_done_callback(lambda future: task.call_off() if future.cancelled() else None)
        return task.future

    def stop(self) -> None:
        """Let what runs finish its step and save."""
        self._executor.stop()

    def close(self) -> None:
        """End everything now."""
        self._executor.close()

    def _try(self, task: "_Task") -> None:
        task.attempt += 1
        task.inner = self._executor.submit(task.job, task.progress)
        if task.future.cancelled():
            task.inner.cancel()
        task.inner.add_done_callback(lambda done: self._done(task, done))

    def _done(self, task: "_Task", done: "Future[Any]") -> None:
        if done.cancelled():
            task.future.cancel()
            return
        outcome: Any = done.exception() or done.result()
        lost = accident(outcome)
        if lost is None or task.future.done():
            settle(task.future, outcome)
        elif place := without_room(self._places):
            settle(task.future, full_at(place, first_line(lost)))
        elif task.attempt == MOST_ATTEMPTS:
            settle(task.future, outcome)
        else:
            self._progress(f"{first_line(lost)}; trying again ({task.attempt + 1} of {MOST_ATTEMPTS})", 0, 0)
            # never from here: a pool that has just broken may hold its own lock while it tells
            threading.Thread(target=self._again, args=(task,), name="tries again", daemon=True).start()

    def _again(self, task: "_Task") -> None:
        try:
            self._try(task)
        except Exception as error:  # whatever it is, it belongs to whoever waits for the job
            settle(task.future, error)


def end_overdue(executor: Executor, futures: "Sequence[Future[Any]]") -> None:
    """Time is over for some jobs: a run's own executor is stopped, so that all of them finish their step and save.

    One that a caller has given would be of no use to him any more, nor to what the run still does: of that one the
    jobs alone are called off.
    """
    if not (isinstance(executor, Persistent) and executor.given):
        executor.stop()
        return
    for future in futures:
        future.cancel()


@dataclass(eq=False)
class _Task:
    """A job, the future that its caller holds, and that of the present attempt."""

    job: Job
    progress: Progress
    future: "Future[Any]" = field(default_factory=Future)
    inner: "Future[Any]" = field(default_factory=Future)
    attempt: int = 0

    def call_off(self) -> None:
        """Its caller has cancelled it."""
        self.future.set_running_or_notify_cancel()  # else `concurrent.futures.wait` would wait for it
        self.inner.cancel()


def accident(outcome: Any) -> TrialError | None:
    """The failure that lies outside of all students, of a job or of one of several trials; None where there is none."""
    several = outcome if isinstance(outcome, list) else [outcome]
    return next((one for one in several if isinstance(one, TrialError) and one.transient), None)


def first_line(error: Exception) -> str:
    """An error without the end of a log that follows it."""
    return str(error).partition("\n")[0].rstrip(":")
