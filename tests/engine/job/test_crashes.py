"""Whole runs of a tiny teacher that are hurt, and what they come to beside one that was not."""

import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from distilsearch.engine.job.jobs import Distil, Job, answer, dumps, perform
from distilsearch.engine.job.joining.status import status
from distilsearch.engine.job.outcome.result import Result
from distilsearch.engine.job.preparing import prepare
from distilsearch.engine.job.run import search
from distilsearch.engine.job.runfile.config import Run
from distilsearch.errors import DiskFullError
from distilsearch.progress import Progress, silent

from .test_whole_run import RUN, TABLE, Here

FEW = RUN | {"trials": 3, "train": RUN["train"] | {"finish": "none"}}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that holds the table of the machine; and locks of the test's own, so that no other is waited for."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return own_home(tmp_path / "home", monkeypatch)


def own_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DISTILSEARCH_HOME", str(folder))
    shutil.copytree(TABLE, folder / "tables" / TABLE.parent.name / TABLE.name)
    return folder


def run(folder: Path, executor: Here | None = None, progress: Progress = silent) -> Result:
    return search(Run.parse(FEW), folder, progress, executor or Here())


class Hurt(Here):
    """What befalls the so-manieth training, and all after it; trainings go the whole way that a worker's go."""

    def __init__(self, after: float, what: Any) -> None:
        super().__init__()
        self.after, self.what = after, what

    def submit(self, job: Job, progress: Any = None) -> "Future[Any]":
        if isinstance(job, Distil):
            self.after -= 1
            if self.after < 0:
                self.what()
            future: Future[Any] = Future()
            try:
                future.set_result(answer(job, perform(dumps(job))))
            except Exception as error:
                future.set_exception(error)
            return future
        return super().submit(job, progress)


def trials(result: Result) -> list[tuple[Any, ...]]:
    """What a run has made, trial by trial."""
    return [(t.number, t.key, t.state, t.loss) for t in result.file.trials]


def weights(result: Result) -> dict[str, bytes]:
    """The students that it hands back, bit for bit."""
    return {m.key: (result.folder / str(m.student) / "model.safetensors").read_bytes() for m in result.front}


def fragments(home: Path) -> list[str]:
    """What lies about in the archive beside whole trials."""
    usual = {"trial.json", "student", "trunk.safetensors", "scores"}
    return [str(path) for path in home.glob("trials/*/*") if path.name not in usual]


@pytest.fixture
def small(home: Path, tmp_path: Path) -> Iterator[Path]:
    """A small disk under the trials of the home."""
    folder = home / "trials"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_fills_stops_the_run_and_fails_no_trial(small, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(prepare, "SPARE_BYTES", 0)
    filler = small / ".filler"

    def fill() -> None:
        with pytest.raises(OSError, match="No space"):
            filler.write_bytes(b"x" * (8 << 20))

    with pytest.raises(DiskFullError, match=f"the disk of {small}.* is full"):
        run(tmp_path / "run", Hurt(1, fill))
    stand = status(tmp_path / "run")
    assert (stand.states, len(stand.interrupted)) == ({"complete": 1, "interrupted": 1}, 1)
    filler.unlink()
    hurt = run(tmp_path / "run")
    assert not fragments(small.parent)
    own_home(tmp_path / "another home", monkeypatch)
    whole = run(tmp_path / "whole")
    assert trials(hurt) == trials(whole)
    assert weights(hurt) == weights(whole)


def test_a_run_whose_journal_was_spoilt_goes_on_from_the_archive(home: Path, tmp_path: Path) -> None:
    whole, said = run(tmp_path / "run"), list[str]()
    trained = {path: path.stat().st_mtime_ns for path in home.glob("trials/*/trial.json")}
    journal = tmp_path / "run" / "journal.log"
    data = bytearray(journal.read_bytes())
    data[len(data) // 2] ^= 4
    journal.write_bytes(bytes(data))
    again = run(tmp_path / "run", progress=lambda what, *_: said.append(what))
    assert any("cannot be read" in words and "set aside in" in words for words in said)
    assert {path: path.stat().st_mtime_ns for path in home.glob("trials/*/trial.json")} == trained
    assert weights(again) == weights(whole)


def test_a_second_search_in_a_folder_waits_and_repeats_nothing(tmp_path: Path) -> None:
    waiting, results, second = threading.Event(), list[Result](), Here()

    def tell(what: str, done: float, total: float) -> None:
        if what.startswith("waiting for process"):
            waiting.set()

    thread = threading.Thread(target=lambda: results.append(run(tmp_path / "run", second, tell)))

    def start() -> None:
        if not thread.ident:
            thread.start()
            assert waiting.wait(600)

    first = run(tmp_path / "run", Hurt(1, start))
    thread.join(600)
    assert second.trained == []
    assert trials(results[0]) == trials(first)
    assert results[0].knee == first.knee
