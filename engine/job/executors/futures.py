"""Jobs on any `concurrent.futures.Executor`: process pools, Dask's client, executorlib, and submitit by `Polled`.

The pool is the user's: he says how many jobs it runs at once and what machines it has. No progress comes back, and
a job that runs there cannot be told to stop: it ends by itself, and what it has trained is kept.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from typing import Any

from distilsearch.errors import InputError, Interrupted, RunError, TrialError
from distilsearch.progress import Progress, silent

from ..jobs import Job, dumps
from .executor import Options
from .remote import STOPPED, Pending, outcome_of, remotely, settle, threads_of

POLL_SECONDS = 1.0


class FuturesExecutor:
    """Runs jobs on a pool.

    Args:
        pool: an executor, which stays the caller's to shut down; or a function that makes one, which is shut down at
            the end, and made anew where it has broken.
        workers: how many trainings it runs at once.
        depot: the URL of a folder that all machines of the pool share with this one; "" where it runs on this machine
            and has the same home.
        threads: of each training.
    """

    def __init__(
        self, pool: Executor | Callable[[], Executor], workers: int = 2, depot: str = "", threads: int = 1
    ) -> None:
        self.workers, self.depot, self._threads = workers, depot, threads
        self._make = None if isinstance(pool, Executor) else pool
        self._pool = pool if isinstance(pool, Executor) else pool()
        self._pending = Pending()
        self._stopped = False

    def __enter__(self) -> "FuturesExecutor":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def name(self) -> str:
        """What messages call the pool."""
        return type(self._pool).__name__

    def submit(self, job: Job, progress: Progress = silent) -> "Future[Any]":
        """Run a job; its future may be cancelled. `progress` is never called.

        Raises:
            RunError: the pool takes no jobs any more.
        """
        future: Future[Any] = Future()
        if self._stopped:
            settle(future, Interrupted(STOPPED))
            return future
        inner = self._sent(dumps(job), threads_of(job.needs, self._threads))
        self._pending.add(future, inner.cancel)
        inner.add_done_callback(lambda done: settle(future, self._outcome(job, done)))
        return future

    def stop(self) -> None:
        """Call off what waits. What runs cannot be told: it ends there by itself, and fails here at once."""
        self._stopped = True
        self._pending.interrupt()

    def close(self) -> None:
        """The same, and the end of a pool that was made here, with what runs in it."""
        self.stop()
        if self._make is not None:
            _end(self._pool)

    def _sent(self, text: str, threads: int) -> "Future[str]":
        try:
            return self._pool.submit(remotely, text, threads)
        except (BrokenExecutor, RuntimeError) as error:
            if self._make is None:
                raise RunError(
                    f"the pool {self.name} takes no jobs any more ({error}); give the executor a function that makes "
                    "one, so that a pool that broke can be made anew"
                ) from error
            _end(self._pool)
            self._pool = self._make()
            return self._pool.submit(remotely, text, threads)

    def _outcome(self, job: Job, done: "Future[str]") -> Any:
        try:
            return outcome_of(job, done.result())
        except CancelledError:
            return Interrupted(STOPPED)
        except BrokenExecutor as error:
            return TrialError(
                f"the pool {self.name} broke, and all jobs in it are lost with the one that broke it: {error}",
                transient=True,
            )
        except Exception as error:  # whatever a stranger's pool raises must not kill the run
            return TrialError(f"the pool {self.name} lost the job: {type(error).__name__}: {error}", transient=True)


def _end(pool: Executor) -> None:
    """End a pool at once. The standard library's would let its processes finish; it has no public way before 3.14."""
    processes = list((getattr(pool, "_processes", None) or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.kill()


class Polled(Executor):
    """An executor made of one whose jobs can only be asked whether they are done, as submitit's.

    Args:
        submitter: has `submit(function, *arguments)`; its jobs have `done()`, `result()` and `cancel()`.
        seconds: between two questions.
    """

    def __init__(self, submitter: Any, seconds: float = POLL_SECONDS) -> None:
        self._submitter, self._seconds = submitter, seconds
        self._jobs: dict[Future[Any], Any] = {}
        self._called_off: set[Future[Any]] = set()
        self._lock = threading.Lock()
        self._asking = False

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Submit a call; the future follows its job."""
        future: Future[Any] = Future()
        job = self._submitter.submit(function, *args, **kwargs)
        with self._lock:
            self._jobs[future] = job
            if not self._asking:
                self._asking = True
                threading.Thread(target=self._ask, name="distilsearch-polled", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for all jobs, or cancel them."""
        with self._lock:
            futures = list(self._jobs)
        if cancel_futures:
            for future in futures:
                future.cancel()
        while wait and not all(future.done() for future in futures):
            time.sleep(self._seconds)

    def _ask(self) -> None:
        while self._round():
            time.sleep(self._seconds)

    def _round(self) -> bool:
        """Ask every job once; false where none is left. Those that were called off are followed to their end."""
        with self._lock:
            jobs = dict(self._jobs)
        ended = set()
        for future, job in jobs.items():
            if future.cancelled() and future not in self._called_off:
                self._called_off.add(future)
                job.cancel()
            elif job.done():
                ended.add(future)
                if not future.cancelled():
                    settle(future, _result(job))
        with self._lock:
            self._jobs = {future: job for future, job in self._jobs.items() if future not in ended}
            self._called_off &= set(self._jobs)
            self._asking = bool(self._jobs)
            return self._asking


def _result(job: Any) -> Any:
    try:
        return job.result()
    except Exception as error:  # as the job raised it, or as its executor says that it is lost
        return error


def open_futures(options: Options) -> FuturesExecutor:
    """An executor on the pool that `options.more["pool"]` holds; a run file cannot name one."""
    pool = options.more.get("pool")
    if pool is None:
        raise InputError(
            "the executor 'futures' needs a pool, which no run file can name; from Python: "
            "search(run, executor=FuturesExecutor(pool, workers=2))"
        )
    return FuturesExecutor(pool, options.workers, str(options.more.get("depot", "")), options.threads or 1)
