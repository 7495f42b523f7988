"""Damaged students are never handed out: they are trained anew, or named, on every road out of the archive."""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from distilsearch.cli import app
from distilsearch.distill.evaluate.scores import scores_of
from distilsearch.distill.store.archive import Archive
from distilsearch.distill.store.depot import Depot
from distilsearch.distill.store.handing import copy_student
from distilsearch.distill.store.trial import TRIAL, mismatched
from distilsearch.engine.job.jobs import Distil, Job, Measure, Profile, dumps, loads
from distilsearch.engine.job.outcome.result import Result
from distilsearch.engine.job.run import search
from distilsearch.engine.job.runfile.config import Run
from distilsearch.errors import TrialError
from distilsearch.home import home
from distilsearch.profiling.clock import Measured
from distilsearch.progress import nothing, silent

OLD = Path(__file__).parents[3] / "old" / "0.1.0"
(TABLE,) = (OLD / "tables").glob("*/*")
RUN: dict[str, Any] = {
    "name": "whole",
    "teacher": str(OLD / "teacher"),
    "text": [str(OLD / "text" / "words.txt")],
    "trials": 2,
    "space": {"layers": [1, 2], "width": [16], "heads": [1], "ffn": [16], "inherit": ["even"]},
    "train": {"device": "cpu", "precision": "float32", "flash_tokens": 2_048, "threads": 1, "finish": "none"},
    "target": [{"device": "cpu", "serving": {"sequence": 8, "threads": 1}}],
}
WEIGHTS = "model.safetensors"


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-50] ^= 1
    path.write_bytes(content)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _link(path: Path) -> None:
    aside = path.rename(path.parents[2] / "aside")
    path.symlink_to(aside)


DAMAGES: list[Callable[[Path], object]] = [_truncate, _flip, _empty, _link, Path.unlink]


class Here:
    """Does jobs at once, in this process; the deeper model, which is the worse one here, is made the faster one."""

    workers = 1

    def __init__(self, error: TrialError | None = None) -> None:
        self.error, self.trained = error, list[str]()

    def submit(self, job: Job, progress: Any = None) -> "Future[Any]":
        future: Future[Any] = Future()
        future.set_result(self._answer(loads(dumps(job))))
        return future

    def _answer(self, job: Job) -> Any:
        if isinstance(job, Profile):
            return TABLE.parent.name, TABLE.name
        if isinstance(job, Measure):
            seconds = [1e-3 / float(model["layers"]) for model in job.architectures]
            return [Measured(s, s, s, 8, 0.0, 1.0, "ok") for s in seconds]
        if isinstance(job, Distil):
            self.trained += [job.training.key(student) for student in job.architectures]
            if self.error is not None:
                return [self.error]
        return job.read(json.loads(json.dumps(job.run(silent, nothing))))

    def stop(self) -> None: ...

    def close(self) -> None: ...


def _search(folder: Path, executor: Here, said: list[str]) -> Result:
    return search(Run.parse(RUN), folder, progress=lambda what, done, total: said.append(what), executor=executor)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two students, and the run that trained them."""
    folder = tmp_path_factory.mktemp("first")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTILSEARCH_HOME", str(folder / "home"))
        shutil.copytree(TABLE, home() / "tables" / TABLE.parent.name / TABLE.name)
        _search(folder / "run", Here(), [])
    return folder


@pytest.fixture
def world(first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that, to be damaged."""
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path / "world" / "home"))
    return Path(shutil.copytree(first, tmp_path / "world"))


def _trials(world: Path) -> list[Path]:
    return sorted(path.parent for path in (world / "home" / "trials").glob(f"*/{TRIAL}"))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_is_not_what_was_written_is_noticed_and_not_copied(
    world: Path, damage: Callable[[Path], object], tmp_path: Path
) -> None:
    archive, folder = Archive(), _trials(world)[0]
    trial = archive.find(folder.name)
    assert trial is not None
    assert not mismatched(trial)
    copy_student(trial, tmp_path / "copy")
    assert {path.name for path in (tmp_path / "copy").iterdir()} == {path.name for path in trial.student.iterdir()}
    damage(trial.student / WEIGHTS)
    assert mismatched(trial) == [f"student/{WEIGHTS}"]
    with pytest.raises(TrialError, match=r"not what was written \(student/model.safetensors\); train it again"):
        copy_student(trial, tmp_path / "other")


@pytest.mark.parametrize("damage", [_truncate, _empty, _link, Path.unlink])
def test_trials_without_hashes_are_held_against_their_own_headers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], object]
) -> None:
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path / "home"))
    key = sorted(path.name for path in (OLD / "trials").iterdir())[0]
    shutil.copytree(OLD / "trials" / key, Archive().path(key))
    trial = Archive().find(key)
    assert trial is not None
    assert not trial.files
    copy_student(trial, tmp_path / "copy")
    damage(trial.student / WEIGHTS)
    assert mismatched(trial)
    with pytest.raises(TrialError, match="not what was written"):
        copy_student(trial, tmp_path / "other")


def test_a_damaged_student_is_trained_anew_and_named(world: Path) -> None:
    trials, said, executor = _trials(world), list[str](), Here()
    good = {folder.name: (folder / "student" / WEIGHTS).read_bytes() for folder in trials}
    for folder, damage in zip(trials, (_flip, _empty), strict=True):
        damage(folder / "student" / WEIGHTS)
    shutil.rmtree(world / "run" / "students")
    result = _search(world / "run", executor, said)
    assert sorted(executor.trained) == sorted(good)
    exported = {(result.student(m.key) / WEIGHTS).read_bytes() for m in result.front}
    assert exported == set(good.values())
    assert {folder.name: (folder / "student" / WEIGHTS).read_bytes() for folder in trials} == good
    assert len([text for text in said if "it was trained anew" in text]) == len(good)
    assert len([text for text in result.file.warnings if "it was trained anew" in text]) == len(good)
    again = _search(world / "run", executor, [])
    assert len(executor.trained) == len(good)
    assert not [text for text in again.file.warnings if "anew" in text]


def test_a_copy_in_the_run_that_is_whole_stays_and_costs_no_training(world: Path) -> None:
    for folder in _trials(world):
        _truncate(folder / "student" / WEIGHTS)
    executor = Here()
    result = _search(world / "run", executor, [])
    assert not executor.trained
    assert all(member.student for member in result.front)


def test_what_cannot_be_trained_again_is_named_and_not_handed_out(world: Path) -> None:
    first, _ = _trials(world)
    _flip(first / "student" / WEIGHTS)
    shutil.rmtree(world / "run" / "students")
    said: list[str] = []
    result = _search(world / "run", Here(TrialError("it diverged")), said)
    (remark,) = (text for text in result.file.warnings if "not handed out: it diverged" in text)
    assert remark in said
    assert [member.student is None for member in result.front].count(True) == 1
    assert not [path for path in (world / "run" / "students").glob(f"*/{WEIGHTS}") if path.parent.name in remark]


def test_one_bad_trial_costs_that_trial_and_is_named(world: Path) -> None:
    bad, _ = _trials(world)
    (bad / TRIAL).write_text("[" * 10_000)
    said, executor = list[str](), Here()
    result = _search(world / "run", executor, said)
    assert len(result.front) == len(_trials(world)) == 2
    assert not executor.trained
    assert [text for text in said if text.startswith("left out")] == [
        f"left out: the trial {bad} (not JSON of a sane depth)"
    ]


def test_a_damaged_student_is_neither_evaluated_nor_sent(world: Path, tmp_path: Path) -> None:
    first, _ = _trials(world)
    _flip(first / "student" / WEIGHTS)
    with pytest.raises(TrialError, match="not what was written"):
        scores_of(str(first / "student"), lambda folder: {"score": 1.0})  # type: ignore[arg-type]
    with pytest.raises(TrialError, match="changed since the trial was finished"):
        Depot(str(tmp_path / "depot")).push_trial(first.name, first)
    listed = CliRunner().invoke(app, ["home", "--verify", "--json"], catch_exceptions=False)
    (entry,) = (e for e in json.loads(listed.stdout)["entries"] if e["kind"] == "trial" and e["note"])
    assert entry["note"].startswith("not what was written")
