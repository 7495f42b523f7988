"""Jobs on the machines of a Ray cluster: an existing one, or one that is started here and ends with the executor.

Trainings ask for as many CPUs as they have threads, and for a GPU where they train on one. Jobs that measure are
placed by a named resource, which only the machine that serves has: `ray start --resources='{"distilsearch-cpu": 1}'`.
Ray never runs a job again by itself, for that is for the ledger to decide. Each worker has a home of its own, and
fetches what it needs from the depot. Usage statistics and dashboard are off.
"""

import os
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from distilsearch.errors import InputError, Interrupted, RunError, TrialError
from distilsearch.progress import Progress, silent

from ..jobs import Job, Needs, dumps
from .executor import Options
from .remote import STOPPED, Pending, outcome_of, remotely, settle, threads_of

INSTALL = "install it with: pip install 'distilsearch[ray]'"
STORE_BYTES = 100 << 20  # of Ray's own object store, where it is started here; jobs and answers are short texts
LOOPBACK = "127.0.0.1"
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE"}  # a trainer's idle threads leave its cores to others


class RayExecutor:
    """Runs jobs on a Ray cluster.

    `options.more`: `address` of a cluster (else `RAY_ADDRESS`, else one is started here with the cores of this
    machine), and `depot`, the URL of a folder that all its machines share with this one.
    """

    def __init__(self, options: Options) -> None:
        address = str(options.more.get("address") or os.environ.get("RAY_ADDRESS") or "")
        self._ray = _imported(address)
        self.workers, self._threads = options.workers, options.threads or 1
        self.depot = str(options.more.get("depot", ""))
        self._started = _connect(self._ray, address, self.workers * self._threads)
        self._perform = self._ray.remote(remotely)
        self._pending = Pending()
        self._stopped = False

    def __enter__(self) -> "RayExecutor":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(self, job: Job, progress: Progress = silent) -> "Future[Any]":
        """Run a job; its future may be cancelled. `progress` is never called.

        Raises:
            RunError: no machine of the cluster has what the job needs.
        """
        future: Future[Any] = Future()
        if self._stopped:
            settle(future, Interrupted(STOPPED))
            return future
        threads = threads_of(job.needs, self._threads)
        wanted = resources(job.needs, threads)
        self._check(wanted)
        reference = self._perform.options(**_task_options(job.needs, wanted, threads)).remote(dumps(job), threads)
        self._pending.add(future, lambda: self._cancel(reference, force=future.cancelled() or future.done()))
        reference.future().add_done_callback(lambda done: settle(future, self._outcome(job, done)))
        return future

    def stop(self) -> None:
        """Ask what runs to save after its step and to end; what waits is called off."""
        self._stopped = True
        self._pending.call_off()

    def close(self) -> None:
        """End everything now; a cluster that was started here ends, another goes on."""
        self._stopped = True
        self._pending.interrupt()
        if self._started:
            self._ray.shutdown()
            self._started = False

    def _cancel(self, reference: Any, force: bool) -> None:
        with suppress(self._ray.exceptions.RayError):  # it may have ended meanwhile
            self._ray.cancel(reference, force=force)

    def _check(self, wanted: Mapping[str, float]) -> None:
        """Refuse what no machine can run: Ray would let it wait for ever."""
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        if not any(all(node.get(name, 0) >= amount for name, amount in wanted.items()) for node in nodes):
            needs = ", ".join(f"{name} {amount:g}" for name, amount in wanted.items())
            named = [name for name in wanted if name.startswith("distilsearch-")]
            hint = f"; start the node that serves with --resources='{{\"{named[0]}\": 1}}'" if named else ""
            raise RunError(f"no node of the Ray cluster has {needs}, which the job needs{hint}")

    def _outcome(self, job: Job, done: "Future[str]") -> Any:
        errors = self._ray.exceptions
        try:
            return outcome_of(job, done.result())
        except errors.TaskCancelledError:
            return Interrupted(STOPPED)
        except Exception as error:  # of Ray: the worker or its node died, or the function could not be called there
            if self._stopped:
                return Interrupted(STOPPED)
            return TrialError(f"Ray lost the job: {type(error).__name__}: {error}", transient=True)


def resources(needs: Needs, threads: int) -> dict[str, float]:
    """What a job asks of one node, in Ray's names.

    Who measures is alone with his cores by the locks of that machine, not by Ray's count of them, which would let him
    wait until no training runs.
    """
    device = needs.device.partition(":")[0]
    gpus = {"GPU": 1.0} if device == "cuda" else {}
    if needs.exclusive:
        return {f"distilsearch-{device}": 1.0, **gpus}
    return {"CPU": float(threads), **gpus}


def _task_options(needs: Needs, wanted: Mapping[str, float], threads: int) -> dict[str, Any]:
    """Options of a Ray task. Other environments are other processes: of trainers, and of meters of so many threads."""
    environment = {"TOKENIZERS_PARALLELISM": "false"}
    if threads:
        environment |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    if not needs.exclusive:
        environment |= PASSIVE
    return {
        "num_cpus": wanted.get("CPU", 0),
        "num_gpus": wanted.get("GPU", 0),
        "resources": {name: amount for name, amount in wanted.items() if name not in ("CPU", "GPU")},
        "max_retries": 0,
        "runtime_env": {"env_vars": environment},
    }


def _imported(address: str) -> Any:
    """The package, which reads these settings when it is imported; what is started here is for this machine alone."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if not address:
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # its word for: more than the loopback
    try:
        import ray
    except ImportError as error:
        raise InputError(f"the executor 'ray' needs Ray, which is not installed; {INSTALL}") from error
    return ray


def _connect(ray: Any, address: str, cpus: int) -> bool:
    """Join a cluster, or start one; whether this connection ends with the executor."""
    if ray.is_initialized():
        return False
    quiet = {"log_to_driver": False, "logging_level": "error"}
    named = {f"distilsearch-{device}": 1 for device in ("auto", "cpu", "cuda", "xla")}  # this machine serves
    here = {"num_cpus": max(cpus, len(os.sched_getaffinity(0))), "resources": named, "include_dashboard": False}
    try:
        if address:
            ray.init(address, **quiet)
        else:
            ray.init("local", object_store_memory=STORE_BYTES, _node_ip_address=LOOPBACK, **here, **quiet)
    except (OSError, ValueError, RuntimeError) as error:
        where = f"the Ray cluster at {address}" if address else "a Ray cluster"
        reason = str(error.__cause__ or error).strip().splitlines()[-1]
        raise RunError(f"cannot join or start {where}: {error}: {reason}") from error
    return True
