"""Jobs in several child processes of this machine: trainers side by side, meters alone with the cores they time.

Trainers take jobs that need not be alone, from one queue, each job on the cores that have least to do at that moment.
For each device and number of threads there is one meter, which keeps its tables and compiled kernels loaded. A thread a
child drives it: progress is reported from these threads, and they live as long as the executor, because a child dies
with the thread that has started it.
"""

import contextlib
import os
import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from distilsearch.errors import Interrupted
from distilsearch.progress import Progress, silent

from ..jobs import Job, Needs, answer, dumps
from ..work.wire import parsed
from .child import Child
from .executor import Options
from .remote import settle

PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE"}  # a trainer's idle threads leave its cores to others


@dataclass(frozen=True)
class _Task:
    """A job that waits or runs."""

    job: Job
    progress: Progress
    future: "Future[Any]"


Tasks = queue.SimpleQueue[_Task | None]


class Local:
    """The executor of this machine; a context manager."""

    def __init__(self, options: Options) -> None:
        self._options = replace(options, device=training_device(options.device))
        self._cores = Allotment(usable_cores())
        self._threads = options.threads or max(1, self._cores.count // max(1, options.workers))
        self._trainings: Tasks = queue.SimpleQueue()
        self._timings: dict[Needs, Tasks] = {}
        self._drivers: list[_Driver] = []
        self._lock = threading.Lock()
        self._ended = ""
        self._seconds = self._paused = 0.0
        for number in range(options.workers):
            self._drive(self._trainer(number), self._trainings)

    def __enter__(self) -> "Local":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def workers(self) -> int:
        """How many trainings it runs at once."""
        return self._options.workers

    @property
    def paused_share(self) -> float:
        """The share of their time that finished trainings have waited for meters."""
        return self._paused / self._seconds if self._seconds else 0.0

    @property
    def busy_seconds(self) -> float:
        """How long all that is no measurement has taken, in all children together."""
        return self._seconds

    @property
    def processes(self) -> dict[str, int]:
        """The children that are alive: numbers of processes by the names of their logs."""
        children = [driver.child for driver in self._drivers]
        return {child.name: number for child in children if (number := child.process_id) is not None}

    def submit(self, job: Job, progress: Progress = silent) -> "Future[Any]":
        """Run a job in a child; see `Executor`. One whose future is cancelled finishes its step, saves and ends."""
        task = _Task(job, progress, Future())
        with self._lock:
            if self._ended:
                task.future.set_exception(Interrupted(self._ended))
            else:
                self._queue_of(job.needs).put(task)
        return task.future

    def stop(self) -> None:
        """Let what runs finish its step and save; what waits fails with `Interrupted`."""
        self._end("stopped; what was done is saved, and the same command goes on")
        for driver in self._drivers:
            driver.child.stop()

    def close(self) -> None:
        """End all children now."""
        self._end("the executor has been closed")
        for driver in self._drivers:
            driver.child.close()
            driver.tasks.put(None)
        for driver in self._drivers:
            if driver is not threading.current_thread():
                driver.join()

    def _end(self, why: str) -> None:
        with self._lock:
            self._ended = self._ended or why
            waiting = [self._trainings, *self._timings.values()]
        for tasks in waiting:
            for task in _drained(tasks):
                _fail(task, Interrupted(why))

    def _queue_of(self, needs: Needs) -> Tasks:
        if not needs.exclusive:
            return self._trainings
        if needs not in self._timings:
            self._timings[needs] = queue.SimpleQueue()
            self._drive(self._meter(needs), self._timings[needs])
        return self._timings[needs]

    def _drive(self, child: Child, tasks: Tasks) -> None:
        driver = _Driver(child, tasks, self._run)
        self._drivers.append(driver)
        driver.start()

    def _trainer(self, number: int) -> Child:
        name = f"trainer-{number + 1}.log" if number else "trainer.log"
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(self._threads))
        environment = threads | PASSIVE | _visible(self._options.device, number)
        return Child(self._options.folder / name, environment, self._options.patience_seconds)

    def _meter(self, needs: Needs) -> Child:
        count = needs.threads or self._cores.count
        name = f"meter-{needs.device.replace(':', '-')}-{count}.log"
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(count))
        return Child(self._options.folder / name, threads, self._options.patience_seconds)

    def _run(self, child: Child, task: _Task) -> None:
        """One job in a child, to the end of its future; called by the thread that drives the child."""
        calling = _Calling(child)
        task.future.add_done_callback(calling.called_off)
        if not calling.begin(task.future):
            return
        try:
            outcome = self._answer(child, task)
        except BaseException as error:  # whatever it is, it belongs to whoever waits for the job
            outcome = error
        settle(task.future, outcome)
        calling.end()
        if task.future.cancelled():
            child.discard()  # it was asked to end, and would end whatever it is given next

    def _answer(self, child: Child, task: _Task) -> Any:
        text = dumps(task.job)
        if task.job.needs.exclusive:
            return answer(task.job, child.call(text, progress=task.progress))
        threads = task.job.needs.threads or self._threads
        with self._cores.of(threads) as cores:
            reply = child.call(text, threads, cores, task.progress)
        took = parsed(reply)
        with self._lock:
            self._seconds += took.get("seconds", 0.0)
            self._paused += took.get("paused_seconds", 0.0)
        return answer(task.job, reply)


class _Calling:
    """One job in a child, which can be called off for as long as it lasts."""

    def __init__(self, child: Child) -> None:
        self._child, self._lock, self._going = child, threading.Lock(), False

    def begin(self, future: "Future[Any]") -> bool:
        """Whether its caller still wants it; a child that was asked to end before would end the next job instead."""
        with self._lock:
            self._going = not future.cancelled()
            return self._going

    def called_off(self, future: "Future[Any]") -> None:
        """Where its caller has cancelled it, ask it to end while it lasts: before and after, the child is another's."""
        if not future.cancelled():
            return
        future.set_running_or_notify_cancel()  # else `concurrent.futures.wait` would wait for it
        with self._lock:
            if self._going:
                self._child.skip()

    def end(self) -> None:
        """It has ended."""
        with self._lock:
            self._going = False


class _Driver(threading.Thread):
    """The thread of one child: it takes tasks one after another until it is given None."""

    def __init__(self, child: Child, tasks: Tasks, run: Callable[[Child, _Task], None]) -> None:
        super().__init__(daemon=True, name=f"drives-{child.name}")
        self.child, self.tasks, self._run = child, tasks, run

    def run(self) -> None:
        """Take tasks to the end."""
        while (task := self.tasks.get()) is not None:
            self._run(self.child, task)
        self.child.discard()


class Allotment:
    """Who computes on which cores: each job gets those with the fewest jobs; all, where it asks for as many or more."""

    def __init__(self, cores: Sequence[int]) -> None:
        self._cores = list(cores)
        self._jobs: Counter[int] = Counter()
        self._lock = threading.Lock()

    @property
    def count(self) -> int:
        """How many cores there are."""
        return len(self._cores)

    @contextlib.contextmanager
    def of(self, threads: int) -> Iterator[list[int]]:
        """Cores for a job of so many threads, while it runs."""
        with self._lock:
            cores = sorted(self._cores, key=lambda core: (self._jobs[core], core))[:threads]
            self._jobs.update(cores)
        try:
            yield cores
        finally:
            with self._lock:
                self._jobs.subtract(cores)


def usable_cores() -> list[int]:
    """The cores that this process may use."""
    return sorted(os.sched_getaffinity(0))


def training_device(device: str) -> str:
    """A training device, "auto" resolved: GPUs where there are any."""
    if device != "auto":
        return device
    return "cuda" if _gpus() else "cpu"


def usable_gpus(device: str) -> int:
    """How many GPUs a training device means: one each for as many workers; 1 where it is none."""
    return len(_gpus()) if device == "cuda" else 1


def _visible(device: str, number: int) -> dict[str, str]:
    """The one GPU that a trainer sees: the one that was named, or the next in turn of those that this process sees."""
    kind, _, index = device.partition(":")
    if kind != "cuda":
        return {}
    from distilsearch.distill.compute.processes import check_device

    check_device(device)
    visible = _gpus()
    return {"CUDA_VISIBLE_DEVICES": visible[int(index) if index else number % len(visible)]}


def _gpus() -> list[str]:
    """The GPUs of this process, as the processes it starts are to name them."""
    import torch

    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return named or [str(number) for number in range(torch.cuda.device_count())]


def _drained(tasks: Tasks) -> Iterator[_Task]:
    """The tasks that wait. What tells drivers to end stays: a signal may close the executor while another stops it."""
    ends = 0
    with contextlib.suppress(queue.Empty):
        while True:
            if (task := tasks.get_nowait()) is not None:
                yield task
            else:
                ends += 1
    for _ in range(ends):
        tasks.put(None)


def _fail(task: _Task, error: Exception) -> None:
    if task.future.set_running_or_notify_cancel():
        task.future.set_exception(error)
