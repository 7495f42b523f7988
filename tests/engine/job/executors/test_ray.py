"""Jobs on a Ray cluster of two nodes that see nothing of the driver.

Each node has another home and another working directory, and where the driver's folders are it finds empty ones: its
processes are in a mount namespace of their own.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from distilsearch import profiling
from distilsearch.engine.job.executors import Executor, Options, open_executor
from distilsearch.engine.job.executors.ray import RayExecutor, _task_options, resources
from distilsearch.engine.job.executors.remote import remotely, threads_of
from distilsearch.engine.job.jobs import Measure, Needs, answer, dumps
from distilsearch.engine.job.work import tables
from distilsearch.errors import Interrupted, RunError, TrialError
from distilsearch.operators import Serving
from distilsearch.profiling import LatencyTable
from distilsearch.testing.executors import Chore, ExecutorContract

LONG = 1 << 30  # tokens; hours
PRIVATE = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
HIDE = 'for place in $HIDDEN; do mount -t tmpfs none "$place" || exit 9; done; cd "$0" && exec "$@"'


def _title(process: psutil.Process) -> list[str]:
    """How a process is called now; nothing, where it has just ended."""
    try:
        return process.cmdline()[:1]
    except psutil.Error:
        return []


@dataclass(frozen=True)
class Cluster:
    """A cluster that runs, with the homes of its nodes by name."""

    address: str
    homes: dict[str, Path]
    processes: list["subprocess.Popen[bytes]"]

    def workers(self) -> list[int]:
        """Processes that run a job now."""
        below = [child for node in self.processes for child in psutil.Process(node.pid).children(recursive=True)]
        return [child.pid for child in below if _title(child) == ["ray::remotely"]]

    def end(self) -> None:
        """End all nodes, with whatever they have started."""
        for node in reversed(self.processes):
            children = psutil.Process(node.pid).children(recursive=True)
            node.terminate()
            try:
                node.wait(20)
            finally:
                for child in children:
                    if child.is_running():
                        child.kill()


def start_node(folder: Path, hidden: list[Path], *arguments: str) -> "subprocess.Popen[bytes]":
    """A node of one processor, in a folder of its own, without some of the driver's."""
    (folder / "home").mkdir(parents=True)
    environment = os.environ | {"DISTILSEARCH_HOME": str(folder / "home"), "TMPDIR": str(folder.parent)}
    environment |= {"HIDDEN": " ".join(map(str, hidden))}
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats", "--num-cpus=1"]
    start += ["--node-ip-address=127.0.0.1", f"--object-store-memory={100 << 20}", *arguments]
    with (folder / "log").open("wb") as log:
        command = [*PRIVATE, "sh", "-c", HIDE, str(folder), *start]
        return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def wait_until(happens, seconds: float = 600.0) -> None:
    """Wait for something that another process does."""
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end, "it has not happened"
        time.sleep(0.05)


def listens(port: int) -> bool:
    """Whether anybody does."""
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def cluster(work, teacher, words, tmp_path_factory):
    """Two nodes that know each other and this process by a token; only the first serves students."""
    if subprocess.run([*PRIVATE, "true"], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("this system lets nobody make a mount namespace")
    folder, short = tmp_path_factory.mktemp("nodes"), tempfile.mkdtemp(prefix="ray-")
    hidden = [work.folder, teacher.folder, words.parent]
    with pytest.MonkeyPatch.context() as patch, socket.socket() as free:
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        ray = pytest.importorskip("ray", reason="needs Ray, of the extra 'dev'")  # it reads the token when imported
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        head = ["--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={short}"]
        nodes = [start_node(folder / "one", hidden, *head, '--resources={"distilsearch-cpu": 1}')]
        made = Cluster(f"127.0.0.1:{port}", {name: folder / name / "home" for name in ("one", "two")}, nodes)
        try:
            wait_until(lambda: listens(port))
            nodes.append(start_node(folder / "two", hidden, f"--address={made.address}"))
            with RayExecutor(Options(folder, workers=2, threads=1, more={"address": made.address})):
                wait_until(lambda: len([node for node in ray.nodes() if node["Alive"]]) == 2)
                yield made  # executors of the tests find the connection that this one has made
        finally:
            made.end()
            shutil.rmtree(short, ignore_errors=True)


@pytest.fixture
def executor(cluster, work, tmp_path):
    with RayExecutor(Options(tmp_path, workers=2, threads=1, more={"depot": work.depot})) as opened:
        yield opened


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
class TestRay(ExecutorContract):
    """What all executors promise, but that no progress comes back."""

    reports = False

    def open(self, folder: Path) -> Executor:
        return open_executor("ray", Options(folder, workers=2, threads=1))


@pytest.mark.slow
@pytest.mark.usefixtures("driver_home")
class TestElsewhere:
    """What real jobs do on machines that share nothing but a depot."""

    def test_nodes_see_nothing_of_the_driver(self, cluster, work, teacher, words) -> None:
        import ray

        def look(places: list[str]) -> tuple[str, str, list[str]]:
            names = [path.name for place in places for path in Path(place).iterdir()]
            return str(Path.cwd()), os.environ["DISTILSEARCH_HOME"], names

        places = [str(work.folder), str(teacher.folder), str(words.parent)]
        assert all(list(Path(place).iterdir()) for place in places)
        directory, home, names = ray.get(ray.remote(max_retries=0)(look).remote(places))
        assert Path(home) in cluster.homes.values()
        assert Path(directory) == Path(home).parent
        assert names == []

    def test_a_killed_worker_loses_its_own_job_and_the_students_are_the_same_bit_for_bit(
        self, cluster, executor, work, machine, tmp_path
    ) -> None:
        lost = executor.submit(work.distil(2, LONG))
        wait_until(lambda: any(work.begun(home, 2, LONG) for home in cluster.homes.values()))
        (process,) = cluster.workers()
        other = executor.submit(work.distil(1))
        os.kill(process, signal.SIGKILL)
        with pytest.raises(TrialError, match="Ray lost the job: WorkerCrashedError") as caught:
            lost.result(60)
        assert caught.value.transient
        (trial,) = other.result(60)
        assert trial.folder.is_relative_to(work.folder)
        (again,) = executor.submit(work.distil(2)).result(60)
        with machine(tmp_path / "home"):
            jobs = [work.distil(1, depot=""), work.distil(2, depot="")]
            for job, there in zip(jobs, (trial, again), strict=True):
                here = _here(job, work)
                for name in ("config.json", "model.safetensors"):
                    assert (here.student / name).read_bytes() == (there.student / name).read_bytes()

    def test_who_measures_is_placed_where_students_are_served_and_its_table_arrives(
        self, cluster, executor, work
    ) -> None:
        serving = Serving(batch=1, sequence=16, threads=1)
        (measured,) = executor.submit(Measure((work.student(),), "cpu", serving, work.depot)).result(120)
        assert measured.seconds_p10 > 0
        assert list((cluster.homes["one"] / "tables").glob("*/*/rounds/*.parquet"))
        assert not (cluster.homes["two"] / "tables").exists()
        device = profiling.open_device("cpu")
        known = profiling.fingerprint(device.facts()), profiling.fingerprint(device.stack())
        table = LatencyTable.read(tables.receive(work.depot, *known))
        assert [row.architecture for row in table.models] == [work.student()]
        assert table.folder.is_relative_to(work.folder)

    def test_what_no_node_can_run_is_refused_and_not_waited_for(self, executor, work) -> None:
        with pytest.raises(RunError, match=r"no node of the Ray cluster has CPU 9"):
            executor.submit(work.distil(threads=9))
        with pytest.raises(RunError, match=r"""has distilsearch-cuda 1.*--resources='{"distilsearch-cuda": 1}'"""):
            executor.submit(Measure((work.student(),), "cuda", Serving(), work.depot))

    def test_whoever_cancels_a_future_calls_its_job_off(self, cluster, executor, work) -> None:
        future = executor.submit(Chore("steps", seconds=600))
        wait_until(cluster.workers)
        assert future.cancel()
        wait_until(lambda: not cluster.workers())

    def test_who_is_stopped_saves_first(self, cluster, executor, work) -> None:
        future = executor.submit(work.distil(2, 2 * LONG))
        wait_until(lambda: any(work.begun(home, 2, 2 * LONG) for home in cluster.homes.values()))
        time.sleep(1.0)  # some steps
        executor.stop()
        assert isinstance(future.exception(60), Interrupted)
        key = work.training.at(2 * LONG).key(work.student(2))
        wait_until(lambda: any(list((home / "trials" / key).rglob("*.safetensors")) for home in cluster.homes.values()))


def _here(job, work):
    """The trial of a job, done in this process by the same words."""
    from distilsearch.distill.store.depot import Depot

    source = Depot(work.depot)
    Depot().put_teacher(source.teacher(job.training.teacher))
    Depot().put_text(source.text(job.training.text))
    (trial,) = answer(job, remotely(dumps(job), 1))
    return trial


@pytest.mark.parametrize(
    ("needs", "wanted"),
    [
        (Needs(), {"CPU": 2.0}),
        (Needs("cuda:1"), {"CPU": 2.0, "GPU": 1.0}),
        (Needs("cpu", 4, exclusive=True), {"distilsearch-cpu": 1.0}),
        (Needs("cuda", exclusive=True), {"distilsearch-cuda": 1.0, "GPU": 1.0}),
    ],
)
def test_what_a_job_asks_of_a_node(needs, wanted) -> None:
    assert resources(needs, 2) == wanted


def test_a_meter_takes_all_cores_and_its_threads_wait_as_they_do_when_serving() -> None:
    alone, trainer = Needs(exclusive=True), Needs()
    assert (threads_of(alone, 2), threads_of(trainer, 2), threads_of(Needs(threads=4), 2)) == (0, 2, 4)
    meter = _task_options(alone, resources(alone, 0), 0)["runtime_env"]["env_vars"]
    assert not [name for name in meter if "OMP" in name]
    options = _task_options(trainer, resources(trainer, 2), 2)
    assert options["runtime_env"]["env_vars"]["OMP_WAIT_POLICY"] == "PASSIVE"
    assert options["max_retries"] == 0


ALONE = """
import sys
from pathlib import Path
import psutil
from distilsearch.engine.job.executors import Options, open_executor
from distilsearch.testing.executors import Chore
with open_executor("ray", Options(Path(sys.argv[1]), workers=2)) as executor:
    futures = [executor.submit(Chore(value=number, exclusive=number == 1)) for number in range(3)]
    print([future.result() for future in futures])
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    open_ports = [port for process in processes for port in process.net_connections() if port.status == "LISTEN"]
    print({port.laddr.ip.removeprefix("::ffff:") for port in open_ports})
"""


@pytest.mark.slow
def test_where_no_cluster_is_named_one_is_started_for_this_machine_alone(tmp_path) -> None:
    pytest.importorskip("ray", reason="needs Ray, of the extra 'dev'")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"HOME": str(tmp_path), "RAY_TMPDIR": tempfile.gettempdir()}
    child = subprocess.run(
        [sys.executable, "-W", "error", "-c", ALONE, str(tmp_path)], env=environment, capture_output=True, text=True
    )
    assert child.stdout.splitlines() == ["[0, 1, 2]", "{'127.0.0.1'}"], child.stderr


def test_a_cluster_that_is_not_there_is_named(tmp_path) -> None:
    pytest.importorskip("ray", reason="needs Ray, of the extra 'dev'")
    program = (
        "import sys; from pathlib import Path; from distilsearch.engine.job.executors import Options, open_executor\n"
        "open_executor('ray', Options(Path(sys.argv[1]), more={'address': 'nosuch:host:1'}))"
    )
    child = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True)
    assert "RunError: cannot join or start the Ray cluster at nosuch:host:1" in child.stderr
