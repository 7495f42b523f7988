"""Jobs on pools of the user's: what they answer, and what is lost with a pool that breaks."""

import concurrent.futures
import multiprocessing
import os
import signal
import time
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest

from distilsearch.engine.job.executors import Executor, Options, open_executor
from distilsearch.engine.job.executors.futures import FuturesExecutor, Polled
from distilsearch.engine.job.executors.remote import Pending, settle
from distilsearch.engine.job.jobs import Probe, TeacherLoss
from distilsearch.errors import InputError, Interrupted, RunError, TeacherError, TrialError
from distilsearch.testing.executors import ExecutorContract

LONG = 1 << 30  # tokens; hours


class Lazy(concurrent.futures.Executor):
    """A pool that runs nothing until it is told to."""

    def __init__(self) -> None:
        self.calls: list[Future[str]] = []

    def submit(self, function, /, *args, **kwargs):
        self.calls.append(Future())
        return self.calls[-1]


def process_pool(workers: int = 1, way: str = "spawn") -> ProcessPoolExecutor:
    """Processes that share nothing with this one but the environment they, or the server they fork from, start in."""
    context = multiprocessing.get_context(way)
    context.set_forkserver_preload(["torch", "distilsearch.testing.executors"])
    return ProcessPoolExecutor(workers, mp_context=context)


def wait_until(happens, seconds: float = 600.0) -> None:
    """Wait for something that another process does."""
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end, "it has not happened"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def elsewhere(machine, tmp_path_factory):
    """`elsewhere(pool)`: starts its processes with a home of their own, which it returns."""

    def start(pool) -> None:
        home = tmp_path_factory.mktemp("elsewhere")
        with machine(home):
            pool.submit(os.getpid).result()
        return home

    return start


@pytest.fixture(scope="module")
def pool(elsewhere):
    """One process that has another home than the driver."""
    with process_pool() as made:
        elsewhere(made)
        yield made


class TestProcessPools(ExecutorContract):
    """What all executors promise, but that no progress comes back, and that a process takes its whole pool along."""

    loses_all, reports = True, False

    def open(self, folder: Path) -> Executor:
        def make() -> ProcessPoolExecutor:
            pool = process_pool(2, "forkserver")
            both = [pool.submit(time.sleep, 0.5) for _ in range(2)]  # processes start when they are first needed
            concurrent.futures.wait(both)
            return pool

        return FuturesExecutor(make)


@pytest.mark.usefixtures("driver_home")
class TestProcessPool:
    """The pool of the standard library, elsewhere."""

    def test_a_student_is_trained_elsewhere_and_is_here_afterwards(self, pool, work) -> None:
        (trial,) = FuturesExecutor(pool, workers=1, depot=work.depot).submit(work.distil()).result()
        assert trial.folder == work.folder / "home" / "trials" / trial.key
        assert trial.key == work.training.key(work.student())
        assert (trial.student / "model.safetensors").exists()
        assert trial.facts["threads"] == 1

    def test_what_is_missing_there_is_named_here(self, pool, work) -> None:
        executor = FuturesExecutor(pool, depot=work.depot)
        missing = executor.submit(TeacherLoss("ab" * 32, work.training.text, depot=work.depot))
        with pytest.raises(TeacherError, match=f"{work.depot} has no sound teacher abab"):
            missing.result()


def test_a_pool_that_broke_is_made_anew_and_its_jobs_failed_for_now() -> None:
    class Broken(Lazy):
        def submit(self, function, /, *args, **kwargs):
            raise concurrent.futures.BrokenExecutor("a process died")

    pools = iter([Broken(), Lazy()])
    executor = FuturesExecutor(lambda: next(pools))
    future = executor.submit(Probe())
    executor._pool.calls[0].set_exception(concurrent.futures.process.BrokenProcessPool("killed"))
    with pytest.raises(TrialError, match=r"the pool Lazy broke, and all jobs in it are lost .*: killed") as caught:
        future.result(1)
    assert caught.value.transient


def test_a_pool_of_the_callers_that_broke_takes_no_more_jobs() -> None:
    pool = process_pool()
    with pytest.raises(concurrent.futures.process.BrokenProcessPool):
        pool.submit(os._exit, 1).result()
    with pytest.raises(RunError, match=r"ProcessPoolExecutor takes no jobs any more .* function that makes one"):
        FuturesExecutor(pool).submit(Probe())


def test_whoever_cancels_a_future_calls_its_job_off() -> None:
    pool = Lazy()
    future = FuturesExecutor(pool).submit(Probe())
    assert future.cancel()
    assert pool.calls[0].cancelled()
    assert concurrent.futures.wait([future], timeout=60).done


def test_stopped_jobs_are_interrupted_and_their_late_answers_dropped() -> None:
    pool = Lazy()
    executor = FuturesExecutor(pool)
    waiting, running = executor.submit(Probe()), executor.submit(Probe())
    pool.calls[1].set_running_or_notify_cancel()
    executor.stop()
    pool.calls[1].set_result("{}")
    late = executor.submit(Probe())
    for future in (waiting, running, late):
        assert isinstance(future.exception(1), Interrupted)
    assert pool.calls[0].cancelled()
    assert len(pool.calls) == 2


@pytest.mark.parametrize("text", ["", "{}", '{"answer": NaN}', "[]", '{"error": {}}'])
def test_an_answer_that_is_none_fails_the_trial_alone(text: str) -> None:
    pool = Lazy()
    future = FuturesExecutor(pool).submit(Probe())
    pool.calls[0].set_result(text)
    assert isinstance(future.exception(1), TrialError | InputError)


def test_whatever_a_pool_raises_is_a_transient_failure() -> None:
    pool = Lazy()
    future = FuturesExecutor(pool).submit(Probe())
    pool.calls[0].set_exception(ZeroDivisionError("of a stranger"))
    with pytest.raises(TrialError, match="the pool Lazy lost the job: ZeroDivisionError: of a stranger") as caught:
        future.result(1)
    assert caught.value.transient


def test_a_run_file_cannot_name_a_pool(tmp_path) -> None:
    with pytest.raises(InputError, match="executor=FuturesExecutor"):
        open_executor("futures", Options(tmp_path))
    executor = open_executor("futures", Options(tmp_path, workers=3, more={"pool": Lazy(), "depot": "file:///d"}))
    assert (executor.workers, executor.depot) == (3, "file:///d")


def test_a_future_is_settled_once() -> None:
    futures = [Future() for _ in range(200)]
    pending = Pending()
    for future in futures:
        pending.add(future, lambda: None)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda number: [settle(future, number) for future in futures], range(4)))
    assert {future.result(0) for future in futures} <= set(range(4))


class Job:
    """A job of the kind that is asked, as submitit's are."""

    def __init__(self, function, arguments) -> None:
        self.ready = self.ended = False
        self._call = lambda: function(*arguments)

    def done(self) -> bool:
        return self.ready

    def result(self):
        return self._call()

    def cancel(self) -> None:
        self.ready = self.ended = True


class Submitter:
    """Takes jobs as submitit's executors do."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def submit(self, function, *arguments) -> Job:
        self.jobs.append(Job(function, arguments))
        return self.jobs[-1]


def test_jobs_that_must_be_asked_are_polled() -> None:
    submitter = Submitter()
    polled = Polled(submitter, seconds=0.005)
    answered, failing, cancelled = polled.submit(int, "3"), polled.submit(int, "three"), polled.submit(int, "4")
    assert not answered.done()
    submitter.jobs[0].ready = submitter.jobs[1].ready = True
    assert answered.result(5) == 3
    assert isinstance(failing.exception(5), ValueError)
    cancelled.cancel()
    wait_until(lambda: submitter.jobs[2].ended and not polled._jobs, 5)
    again = polled.submit(int, "5")
    submitter.jobs[3].ready = True
    assert again.result(5) == 5
    polled.shutdown()


def example(title: str, job, **places: str):
    """The executor and the answer of a search of one job, run as the example of the page under a title says."""
    section = (Path(__file__).parents[4] / "docs" / "executors.md").read_text().split(f"## {title}\n")[1]
    code = section.split("```python\n")[1].split("```")[0].replace("from distilsearch import search\n", "")
    for name, place in places.items():
        code = code.replace(PLACES[name], place)
    names = {"FuturesExecutor": FuturesExecutor, "run": job}
    names["search"] = lambda run, executor: executor.submit(run).result(60)
    exec(code, names)
    return names["executor"], names["result"]


PLACES = {"depot": "file:///mnt/shared/depot", "address": "tcp://10.0.0.1:8786"}


@pytest.mark.slow
@pytest.mark.usefixtures("driver_home")
class TestExamples:
    """The page's examples, each with a real training."""

    def test_the_pool_of_the_standard_library(self, work) -> None:
        _, (trial,) = example("Any executor of Python", work.distil(5))
        assert trial.key == work.training.key(work.student(5))

    def test_executorlib(self, work) -> None:
        pytest.importorskip("executorlib", reason="needs executorlib, of the extra 'dev'")
        _, (trial,) = example("executorlib", work.distil(2))
        assert trial.key == work.training.key(work.student(2))

    def test_submitit(self, work, machine, tmp_path, monkeypatch) -> None:
        pytest.importorskip("submitit", reason="needs submitit, of the extra 'dev'")
        monkeypatch.chdir(tmp_path)
        executor, (trial,) = example("submitit", work.distil(3), depot=work.depot)
        assert trial.key == work.training.key(work.student(3))
        with machine(tmp_path / "home"):
            lost = executor.submit(work.distil(2, LONG))
        wait_until(lambda: work.begun(tmp_path / "home", 2, LONG))
        lost.cancel()
        assert concurrent.futures.wait([lost], timeout=60).done
        wait_until(lambda: not executor._pool._jobs)  # its process has ended

    def test_dask_loses_a_job_with_its_worker_and_does_not_run_it_again(self, work, machine, tmp_path) -> None:
        distributed = pytest.importorskip("distributed", reason="needs distributed, of the extra 'dev'")
        dask = pytest.importorskip("dask", reason="needs distributed, of the extra 'dev'")
        with (
            dask.config.set({"distributed.scheduler.allowed-failures": 0}),
            machine(tmp_path / "home"),
            distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
            machine(work.folder / "home"),
        ):
            address = cluster.scheduler_address
            executor, (trial,) = example("Dask", work.distil(4), depot=work.depot, address=address)
            assert trial.key == work.training.key(work.student(4))
            lost = executor.submit(work.distil(2, LONG))
            wait_until(lambda: work.begun(tmp_path / "home", 2, LONG))
            with distributed.Client(address) as client:
                (process,) = client.run(os.getpid).values()
            os.kill(process, signal.SIGKILL)
            with pytest.raises(TrialError, match="the pool ClientExecutor lost the job: KilledWorker") as caught:
                lost.result(60)
            assert caught.value.transient
            executor._pool._client.close()
