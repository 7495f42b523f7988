"""What must hold of every executor, ready to inherit, and the job that it is tried with.

    class TestMine(ExecutorContract):
        def open(self, folder: Path) -> Executor:
            return Mine(Options(folder, workers=2))

A `Chore` does small things that real jobs do too. It is known to workers by the plugin that this module is, so it
runs wherever distilsearch is installed.
"""

import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import pytest

from distilsearch.engine.job.executors import Executor
from distilsearch.engine.job.jobs import Job, Needs, TeacherLoss, dumps, loads
from distilsearch.errors import InputError, Interrupted, TextError, TrialError
from distilsearch.plugins import Plugin
from distilsearch.progress import Between, Progress

STEP_SECONDS = 0.01
SOON = 600.0  # seconds; a worker may have to start on a busy machine, and only what hangs shall fail


class OwnTextError(TextError):
    """An error of a plugin, which arrives as what it is made of."""


@dataclass(frozen=True)
class Chore:
    """A job that answers `value`, after doing what `what` says.

    "steps": it takes steps for some seconds, and answers when each was begun, on the machine's monotonic clock; the
    file `value`, if any, holds the number of its process.
    "report": tells its progress. "raise": raises the error that `value` names. "die": its process is killed.
    "not a number": it answers NaN, which is no JSON.
    """

    kind: ClassVar[str] = "chore"
    what: str = "answer"
    value: Any = None
    seconds: float = 0.0
    exclusive: bool = False
    plugins: tuple[str, ...] = (__name__,)

    @property
    def needs(self) -> Needs:
        """A trainer, or all cores alone."""
        return Needs(exclusive=self.exclusive)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, by field."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(**dict(data) | {"plugins": tuple(data["plugins"])})

    def run(self, progress: Progress, between: Between) -> Any:
        """Do it."""
        if self.what == "raise":
            raise ERRORS[self.value]
        if self.what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.what == "report":
            for place in range(3):
                progress(f"reports of {self.value}", place, 2)
                time.sleep(0.3)  # executors may thin them out
        if self.what == "steps":
            return list(self._steps(progress, between))
        time.sleep(self.seconds)
        return float("nan") if self.what == "not a number" else self.value

    def _steps(self, progress: Progress, between: Between) -> Iterator[float]:
        until = time.monotonic() + self.seconds
        if self.value:
            Path(self.value).write_text(str(os.getpid()))
        while time.monotonic() < until:
            between()
            progress(f"steps of process {os.getpid()}", time.monotonic(), until)
            yield time.monotonic()
            time.sleep(STEP_SECONDS)

    def read(self, data: Any) -> Any:
        """As it came."""
        return data


ERRORS: dict[str, Exception] = {
    "InputError": InputError("no such thing"),
    "TrialError": TrialError("it diverged"),
    "transient": TrialError("no room", transient=True),
    "OwnTextError": OwnTextError("too short"),
    "ValueError": ValueError("bad value"),
}
PLUGIN = Plugin(jobs={Chore.kind: Chore})


def local_paths(text: str) -> list[str]:
    """Strings in a job or an answer that name a place on this machine: there must be none."""
    pending, paths = [json.loads(text)], []
    while pending:
        one = pending.pop()
        if isinstance(one, dict):
            pending += [*one, *one.values()]
        elif isinstance(one, list):
            pending += one
        elif isinstance(one, str) and (one.startswith(("/", "~", "file:")) or str(Path.home()) in one):
            paths.append(one)
    return paths


class Seen:
    """A progress callback that remembers, and can be waited for."""

    def __init__(self) -> None:
        self.reports: list[tuple[str, float, float]] = []

    def __call__(self, what: str, done: float, total: float) -> None:
        self.reports.append((what, done, total))

    def wait(self, what: str = "", seconds: float = SOON) -> str:
        """The first report that begins so, once it has come."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for said, _, _ in self.reports:
                if said.startswith(what):
                    return said
            time.sleep(STEP_SECONDS)
        raise AssertionError(f"no report of {what!r} within {seconds} s; there were {self.reports}")


class ExecutorContract:
    """Tests of an executor with at least two workers; inherit it, and say how to open yours."""

    loses_all: ClassVar[bool] = False  # a worker that dies takes all pending jobs with it, as a process pool does
    reports: ClassVar[bool] = True  # progress comes back
    _shared: ClassVar[Executor | None] = None

    def open(self, folder: Path) -> Executor:
        """The executor of at least two workers."""
        raise NotImplementedError

    @pytest.fixture
    def executor(self, tmp_path_factory: pytest.TempPathFactory) -> Executor:
        """One for all tests that leave it as it was: workers take seconds to start."""
        kind = type(self)
        if kind._shared is None:
            kind._shared = self.open(tmp_path_factory.mktemp("executor"))
        return kind._shared

    @classmethod
    def teardown_class(cls) -> None:
        """Nothing outlives the tests."""
        if cls._shared is not None:
            cls._shared.close()
            cls._shared = None

    @contextmanager
    def _own(self, folder: Path) -> Iterator[Executor]:
        executor = self.open(folder)
        try:
            yield executor
        finally:
            executor.close()

    def test_many_jobs_at_once_get_each_its_own_answer(self, executor: Executor) -> None:
        values = [{"number": i, "words": ["ä", None, 0.1]} for i in range(20)]
        futures = [executor.submit(Chore(value=value)) for value in values]
        assert [future.result() for future in futures] == values
        assert executor.workers >= 2

    def test_errors_arrive_as_what_they_were(self, executor: Executor) -> None:
        arrived = {name: executor.submit(Chore("raise", name)).exception() for name in ERRORS}
        kinds = {name: type(error).__name__ for name, error in arrived.items()}
        assert kinds == {
            "InputError": "InputError",
            "TrialError": "TrialError",
            "transient": "TrialError",
            "OwnTextError": "TextError",
            "ValueError": "TrialError",
        }
        assert [n for n, e in arrived.items() if getattr(e, "transient", False)] == ["transient", "ValueError"]
        assert "ValueError: bad value" in str(arrived["ValueError"])
        assert all(str(ERRORS[name]) in str(error) for name, error in arrived.items())

    def test_an_unknown_job_is_refused_by_name(self, executor: Executor) -> None:
        with pytest.raises(InputError, match="unknown job 'chores': did you mean 'chore'"):
            executor.submit(Unknown()).result()

    def test_progress_arrives(self, executor: Executor) -> None:
        if not self.reports:
            pytest.skip("no progress comes back from this executor")
        seen = Seen()
        assert executor.submit(Chore("report", 7), seen).result() == 7
        reports = [report for report in seen.reports if report[0] == "reports of 7"]
        assert [done for _, done, _ in reports] == sorted({done for _, done, _ in reports})
        assert reports[-1] == ("reports of 7", 2, 2)

    def test_the_order_of_completion_does_not_mix_answers(self, executor: Executor) -> None:
        futures = [executor.submit(Chore(value=i, seconds=0.05 * (4 - i))) for i in range(5)]
        wait(futures)
        assert [future.result() for future in futures] == [0, 1, 2, 3, 4]

    def test_who_must_be_alone_is_alone(self, executor: Executor, tmp_path: Path) -> None:
        shared = [executor.submit(Chore("steps", str(tmp_path / f"{i}"), 2.0)) for i in range(2)]
        process_in(tmp_path / "0")
        alone = executor.submit(Chore("steps", seconds=0.5, exclusive=True)).result()
        steps = [step for future in shared for step in future.result()]
        assert len(alone) > 5
        assert not [step for step in steps if alone[0] <= step <= alone[-1]]
        assert min(steps) < alone[0] or min(steps) > alone[-1]

    def test_a_killed_worker_fails_its_own_job_for_now(self, tmp_path: Path) -> None:
        with self._own(tmp_path) as executor:
            first = executor.submit(Chore("steps", str(tmp_path / "process"), 60))
            others = [executor.submit(Chore(value=i)) for i in range(6)]
            os.kill(process_in(tmp_path / "process"), signal.SIGKILL)
            with pytest.raises(TrialError) as caught:
                first.result(SOON)
            assert caught.value.transient
            if not self.loses_all:
                assert [other.result(SOON) for other in others] == list(range(6))
                assert executor.submit(Chore(value="it lives on")).result(SOON) == "it lives on"
            assert all(_lost(other) for other in others if self.loses_all and other.exception(SOON))

    def test_closing_ends_everything(self, tmp_path: Path) -> None:
        with self._own(tmp_path) as executor:
            futures = [executor.submit(Chore("steps", str(tmp_path / "process"), 600)) for _ in range(5)]
            process = process_in(tmp_path / "process")
            executor.close()
            assert all(_ended(future) for future in futures)
            assert gone(process)
            assert _ended(executor.submit(Chore()))

    def test_stopping_waits_for_the_step_and_no_longer(self, tmp_path: Path) -> None:
        with self._own(tmp_path) as executor:
            futures = [executor.submit(Chore("steps", str(tmp_path / "process"), 600)) for _ in range(5)]
            process_in(tmp_path / "process")
            executor.stop()
            assert all(_ended(future) for future in futures)
            assert _ended(executor.submit(Chore()))

    def test_jobs_come_back_from_their_text(self) -> None:
        jobs: list[Job] = [Chore("steps", [1, None], 0.5, True), TeacherLoss("t" * 64, "x" * 64)]
        assert [loads(dumps(job)) for job in jobs] == jobs
        assert not [path for job in jobs for path in local_paths(dumps(job))]


@dataclass(frozen=True)
class Unknown(Chore):
    """A job that no worker knows."""

    kind: ClassVar[str] = "chores"


def process_in(path: Path) -> int:
    """The number that a job has written into a file, once it has."""
    until = time.monotonic() + SOON
    while time.monotonic() < until:
        if path.exists() and (number := path.read_text()):
            return int(number)
        time.sleep(STEP_SECONDS)
    raise AssertionError(f"no job has begun within {SOON} s")


def _lost(future: "Future[Any]") -> bool:
    error = future.exception(SOON)
    return isinstance(error, TrialError) and error.transient


def _ended(future: "Future[Any]") -> bool:
    """Whether a job ended unfinished, by wish of its owner."""
    return future.cancelled() or isinstance(future.exception(SOON), Interrupted)


def gone(process: int) -> bool:
    until = time.monotonic() + SOON
    while time.monotonic() < until:
        state = Path(f"/proc/{process}/stat")
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(STEP_SECONDS)
    return False


__all__ = ["PLUGIN", "Chore", "ExecutorContract", "Seen", "local_paths"]
