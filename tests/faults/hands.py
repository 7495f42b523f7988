"""Who runs the jobs of a small search: this process, or children of it that are forked and not started.

A fork has all that is imported already, so a worker is there at once; for the driver it is what any child is: a process
of its own, killed, stopped and waited for as such. What would be timed takes as long as it always does.
"""

import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from io import BufferedReader, BufferedWriter
from typing import Any

from distilsearch.architecture import Architecture
from distilsearch.engine.job.executors import worker
from distilsearch.engine.job.executors.child import Child
from distilsearch.engine.job.executors.executor import Options
from distilsearch.engine.job.executors.local import Local
from distilsearch.engine.job.jobs import Distil, Job, Measure, Profile, answer, dumps, perform
from distilsearch.errors import Interrupted
from distilsearch.profiling.clock import Measured
from distilsearch.progress import Progress, silent

from .world import TABLE

Told = Callable[[str], None]
Tick = Callable[[], None]


def milliseconds(model: Architecture) -> float:
    """What models take."""
    return float(model["layers"] ** 2 * (3 if model["ffn"] == 32 else 1))


def timed(job: Measure, tick: Tick) -> list[Measured]:
    """What a meter says, one event a model."""
    answers = []
    for model in job.architectures:
        tick()
        seconds = milliseconds(model) / 1e3
        answers.append(Measured(seconds, seconds, seconds, 8, 0.0, 1.0, "ok"))
    return answers


def done(what: Any) -> "Future[Any]":
    """A future that holds a value already, or an error."""
    future: Future[Any] = Future()
    if isinstance(what, BaseException):
        future.set_exception(what)
    else:
        future.set_result(what)
    return future


class Here:
    """Does jobs at once, in this process, the whole way that a worker's go; `stop` is heeded between two steps."""

    workers = 1

    def __init__(self, told: Told, tick: Tick) -> None:
        self._told, self._tick, self._stopped = told, tick, False

    def submit(self, job: Job, progress: Progress = silent) -> "Future[Any]":
        """Run it."""
        if self._stopped:
            return done(Interrupted("stopped; what was done is saved, and the same command goes on"))
        if isinstance(job, Profile):
            return done((TABLE.parent.name, TABLE.name))
        if isinstance(job, Distil):
            self._told(TRAINING)
        try:
            if isinstance(job, Measure):
                return done(timed(job, self._tick))
            return done(answer(job, perform(dumps(job), between=self._between)))
        except Exception as error:
            return done(error)

    def _between(self) -> None:
        if self._stopped:
            raise Interrupted("stopped; what was done is saved, and the same command goes on")

    def stop(self) -> None:
        """Ask."""
        self._stopped = True

    def close(self) -> None:
        """Nothing is open."""


TRAINING = "a training begins"


class Children(Local):
    """The executor of this machine, with forks in its children's place.

    Args:
        trainer, meter: called in a child before it serves, and whenever it is to count an event.
    """

    def __init__(self, options: Options, told: Told, prepare: Callable[[str], Tick]) -> None:
        self._told, self._prepare = told, prepare
        super().__init__(options)

    def submit(self, job: Job, progress: Progress = silent) -> "Future[Any]":
        """Run a job in a child; a table is there already."""
        if isinstance(job, Profile):
            return done((TABLE.parent.name, TABLE.name))
        if isinstance(job, Distil):
            self._told(TRAINING)
        return super().submit(job, progress)

    def _trainer(self, number: int) -> Child:
        return self._forked(super()._trainer(number), "trainer")

    def _meter(self, needs: Any) -> Child:
        return self._forked(super()._meter(needs), "meter")

    def _forked(self, child: Child, role: str) -> Child:
        child._started = lambda: Fork(child._log, lambda: _serve(self._prepare(role)))  # type: ignore[assignment]
        return child


def _serve(tick: Tick) -> None:
    """What a worker does; a meter's times are made up, and where the device is gone nothing is trained."""
    from distilsearch.engine.job.work import work

    work.measured = lambda job, progress: timed(job, tick)
    worker.main()


class Fork:
    """A process like one of `subprocess.Popen`, with pipes to its input and output."""

    def __init__(self, log: Any, run: Callable[[], None]) -> None:
        inward, outward, parent = os.pipe(), os.pipe(), os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            _become(inward[0], outward[1], log, parent, run)
        os.close(inward[0])
        os.close(outward[1])
        self.stdin: BufferedWriter = os.fdopen(inward[1], "wb")
        self.stdout: BufferedReader = os.fdopen(outward[0], "rb")
        self.returncode: int | None = None
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """How it ended; None where it has not."""
        with self._lock:
            if self.returncode is None:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self) -> int:
        """Until it has ended."""
        while (code := self.poll()) is None:
            time.sleep(0.002)
        return code

    def send_signal(self, number: int) -> None:
        """If it lives."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """At once."""
        self.send_signal(signal.SIGKILL)


def _become(entry: int, exit_: int, log: Any, parent: int, run: Callable[[], None]) -> None:
    """The child's side of a fork; it does not return."""
    code = 1
    try:
        os.setpgid(0, 0)
        errors = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        for number, file in enumerate((entry, exit_, errors)):
            os.dup2(file, number)
        os.closerange(3, 4096)
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
        sys.argv = ["worker", str(parent)]
        run()
        code = 0
    except SystemExit as error:
        code = int(error.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stderr.flush()
        os._exit(code)
