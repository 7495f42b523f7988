"""Whole runs whose students are served in several precisions: trained once, told once for each, judged as they are."""

import json
import re
import shutil
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distilsearch.architecture import Architecture
from distilsearch.distill.evaluate.agreement import Heldout
from distilsearch.distill.evaluate.as_served import served_loss
from distilsearch.distill.served.artefact import artefact_of
from distilsearch.distill.store.archive import Archive
from distilsearch.distill.teachers.teacher import load_teacher
from distilsearch.distill.texts.data import load_text
from distilsearch.engine.job.jobs import Distil, Job, Measure, Profile, dumps, loads
from distilsearch.engine.job.outcome.result import Result
from distilsearch.engine.job.run import search
from distilsearch.engine.job.runfile.config import Run
from distilsearch.engine.job.serving.losses import Losses, ServedLoss
from distilsearch.errors import InputError, RunError
from distilsearch.operators import Serving
from distilsearch.profiling import LatencyTable
from distilsearch.profiling.clock import Measured
from distilsearch.profiling.tables import rounds
from distilsearch.progress import nothing, silent

OLD = Path(__file__).parents[3] / "old" / "0.1.0"
(TABLE,) = (OLD / "tables").glob("*/*")
FLASH, FINAL = 2_048, 6_144
DTYPES = ("float32", "bfloat16")
OTHER = "0123456789ab"  # the stack of another runtime's table
RUN: dict[str, Any] = {
    "name": "served",
    "teacher": str(OLD / "teacher"),
    "trials": 3,
    "space": {"layers": [1, 2, 3], "width": [16], "heads": [1], "ffn": [16, 32], "inherit": ["even"]},
    "train": {"device": "cpu", "precision": "float32", "flash_tokens": FLASH, "final_tokens": FINAL, "threads": 1,
              "finish": "none"},
}  # fmt: skip


class Here:
    """Does jobs at once, in this process; what it would time takes as long as it has layers, in bfloat16 half of it."""

    workers = 1

    def __init__(self, dies_at: tuple[type, int] | None = None, unserved: Any = lambda trial: False) -> None:
        self.dies_at, self.unserved = dies_at, unserved
        self.jobs: list[Job] = []

    def submit(self, job: Job, progress: Any = None) -> "Future[Any]":
        if self.dies_at and isinstance(job, self.dies_at[0]) and len(self.of(self.dies_at[0])) == self.dies_at[1]:
            raise KeyboardInterrupt
        self.jobs.append(job)
        future: Future[Any] = Future()
        future.set_result(self._answer(loads(dumps(job))))
        return future

    def of(self, kind: type) -> list[Any]:
        return [job for job in self.jobs if isinstance(job, kind)]

    def _answer(self, job: Job) -> Any:
        if isinstance(job, Profile):
            return TABLE.parent.name, TABLE.name if job.serving.runtime == "torch" else OTHER
        if isinstance(job, Measure):
            return [self._timed(milliseconds(model, job.serving.dtype) / 1e3) for model in job.architectures]
        answer = job.read(json.loads(json.dumps(job.run(silent, nothing))))
        if isinstance(job, ServedLoss) and self.unserved(job.trial):
            return Losses(answer.trained, causes=dict.fromkeys(answer.served, "no such kernel"))
        return answer

    def _timed(self, seconds: float) -> Measured:
        return Measured(seconds, seconds, seconds, 8, 0.0, 1.0, "ok")

    def stop(self) -> None: ...

    def close(self) -> None: ...


def milliseconds(model: Architecture, dtype: str) -> float:
    return float(model["layers"] ** 2 * (3 if model["ffn"] == 32 else 1)) / {"bfloat16": 2, "int8": 4}.get(dtype, 1)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with the table of a machine, of both precisions, and a text with some forty blocks to be judged on."""
    words = (OLD / "text" / "words.txt").read_text().split()
    mixed = np.random.default_rng(0).choice(words, 10 * len(words))
    (tmp_path / "words.txt").write_text(" ".join(mixed))
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path / "home"))
    folder = tmp_path / "home" / "tables" / TABLE.parent.name / TABLE.name
    shutil.copytree(TABLE, folder)
    shutil.copytree(folder, folder.with_name(OTHER))
    _add_regime(folder, dtype="bfloat16")
    for dtype in ("float32", "int8"):
        _add_regime(folder.with_name(OTHER), dtype=dtype, runtime="onnxruntime")
    return tmp_path / "home"


def _add_regime(folder: Path, dtype: str, **more: str) -> None:
    """The rounds of a table once more, in another regime."""
    for one in rounds.read_all(folder):
        records = [row for row in one.rows.to_pylist() if row["dtype"] == "float32" and row["runtime"] == "torch"]
        for record in records:
            record |= {"dtype": dtype, **more}
            record["signature"] = record["signature"].replace("dtype=float32", f"dtype={dtype}")
        rounds.write(folder, one.rows.from_pylist(records, schema=one.rows.schema), one.device, one.stack)
    LatencyTable.read(folder)


def run(folder: Path, executor: Here, dtype: Any, **changes: Any) -> Result:
    train, target = RUN["train"] | changes.pop("train", {}), changes.pop("target", {})
    serving = {"sequence": 8, "threads": 1, "dtype": dtype, "runtime": changes.pop("runtime", "torch")}
    target = [{"device": "cpu", "serving": serving, **target}]
    text = [str(folder.parent / "words.txt")]
    return search(
        Run.parse(RUN | {"text": text, "train": train, "target": target} | changes), folder, executor=executor
    )


def told(result: Result) -> list[tuple[str, str, float, float]]:
    """Of each complete trial the student, how it is served, its loss and its latency as they are known best."""
    data = result.data
    trials = [trial for trial in data["trials"] if trial["state"] == "complete"]
    return sorted(
        (Architecture.from_json(t["architecture"]).key, t["served"].get("dtype", ""), t["loss"],
         milliseconds(Architecture.from_json(t["architecture"]), t["served"].get("dtype", "")))
        for t in trials
    )  # fmt: skip


def test_a_search_over_precisions_tells_what_two_searches_would(tmp_path: Path) -> None:
    executor = Here()
    both = run(tmp_path / "both", executor, list(DTYPES))
    assert len(executor.of(Distil)) == 3  # a student is trained once
    assert len(executor.of(ServedLoss)) == 3
    mine = told(both)
    assert len(mine) == 6
    for dtype in DTYPES:
        alone = Here()
        other = run(tmp_path / dtype, alone, dtype, trials=0)  # of what is known already
        assert alone.of(Distil) == []
        assert alone.of(ServedLoss) == []  # each loss is kept beside its student
        assert [(key, loss) for key, _, loss, _ in told(other)] == [
            (key, loss) for key, own, loss, _ in mine if own == dtype
        ]
    _check_members(both, tmp_path / "words.txt")
    losses = {(key, dtype): loss for key, dtype, loss, _ in mine}
    apart = [abs(losses[key, "bfloat16"] - losses[key, "float32"]) for key, dtype in losses if dtype == "float32"]
    assert 0 < max(apart) < 0.05


def _check_members(result: Result, words: Path) -> None:
    """Each loss is that of the student as it is served, and it is said everywhere how that is."""
    teacher = load_teacher(RUN["teacher"])
    text = load_text([str(words)], teacher)
    assert "bfloat16" in {member.served["dtype"] for member in result.front}  # twice as fast
    for member in result.front:
        trial, dtype = Archive().find(member.trial), member.served["dtype"]
        assert trial is not None
        assert member.loss == served_loss(trial.student, Serving(dtype=dtype), teacher, text)["loss"]
        assert member.trained_loss == trial.loss == pytest.approx(Heldout(teacher, text)(trial.student)["loss"])
        card = (result.folder / member.student / "README.md").read_text()
        assert re.search(rf"\| dtype \| {dtype} \|", card)
        assert re.search(rf"\| held-out loss \| {member.loss:.4f} \|", card)
    assert "bfloat16" in (result.folder / "report.html").read_text()


def test_a_kill_changes_nothing_that_is_told(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", Here(), list(DTYPES), trials=2)
    shutil.rmtree(tmp_path / "home" / "trials")
    with pytest.raises(KeyboardInterrupt):  # the second student is trained, and not judged yet
        run(tmp_path / "run", Here((ServedLoss, 1)), list(DTYPES), trials=2)
    again = Here()
    result = run(tmp_path / "run", again, list(DTYPES), trials=2)
    assert len(again.of(ServedLoss)) == 1
    assert told(result) == told(whole)
    assert [(m.key, m.loss, m.tokens) for m in result.front] == [(m.key, m.loss, m.tokens) for m in whole.front]


def test_who_is_trained_further_is_judged_as_it_is_served_again(tmp_path: Path) -> None:
    result = run(tmp_path / "run", Here(), list(DTYPES), trials=2, train={"finish": "front"})
    finished = [member for member in result.front if member.tokens > FLASH + 1_000]
    assert finished
    for member in finished:
        trial = Archive().find(member.trial)
        assert trial is not None
        assert trial.tokens == member.tokens
        judged = {score.artefact: score.values["loss"] for score in trial.scores} | {"": trial.loss}
        assert judged[Serving(dtype=member.served["dtype"]).artefact] == member.loss
        assert member.trained_loss == trial.loss


def test_what_cannot_be_served_costs_that_serving_alone(tmp_path: Path) -> None:
    result = run(tmp_path / "run", Here(unserved=lambda trial: True), list(DTYPES), trials=2)
    states = {(t["served"]["dtype"], t["state"]) for t in result.data["trials"]}
    assert states <= {("float32", "complete"), ("bfloat16", "failed")}
    assert sum(t["state"] == "complete" for t in result.data["trials"]) == 2
    assert {member.served["dtype"] for member in result.front} == {"float32"}
    causes = {t["cause"] for t in result.data["trials"] if t["state"] == "failed"}
    assert causes <= {"no such kernel"}
    again = Here()
    assert told(run(tmp_path / "run", again, list(DTYPES), trials=2)) == told(result)
    assert again.of(Distil) == []


def test_a_run_from_before_goes_on_with_the_loss_of_what_was_trained(tmp_path: Path) -> None:
    old = run(tmp_path / "run", Here(), list(DTYPES), trials=1, target={"loss": "trained"})
    assert len({loss for _, _, loss, _ in told(old)}) == 1
    path = tmp_path / "run" / "run.toml"
    path.write_text("\n".join(line for line in path.read_text().splitlines() if line != 'loss = "trained"'))
    executor = Here()
    result = run(tmp_path / "run", executor, list(DTYPES), trials=2)
    assert executor.of(ServedLoss) == []
    losses = [loss for _, _, loss, _ in told(result)]
    assert len(losses) == 4
    assert len(set(losses)) == 2
    with pytest.raises(RunError, match=r"target\[0\].loss: 'trained' there, 'served' now"):
        run(tmp_path / "run", executor, list(DTYPES), trials=2, target={"loss": "served"})


def test_what_this_machine_cannot_serve_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    executor = Here()
    with pytest.raises(InputError, match=r"this machine lacks 1 \(torch float16: the cpu serves .*\); leave them out"):
        run(tmp_path / "run", executor, [*DTYPES, "float16"])
    assert executor.jobs == []


def test_a_student_is_judged_and_handed_over_as_the_file_that_another_runtime_serves(tmp_path: Path) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    ways = {"dtype": ["float32", "int8"], "runtime": ["torch", "onnxruntime"]}
    executor = Here()
    result = run(tmp_path / "run", executor, trials=1, **ways)
    assert len(executor.of(Distil)) == 1
    trials = {(t["served"]["runtime"], t["served"]["dtype"]): t for t in result.data["trials"]}
    assert set(trials) == {
        ("torch", "float32"),
        ("onnxruntime", "float32"),
        ("onnxruntime", "int8"),
    }  # no int8 by torch
    trial = Archive().find(result.front[0].trial)
    assert trial is not None
    assert {t["loss"] for (_, dtype), t in trials.items() if dtype == "float32"} == {trial.loss}
    judged = {score.artefact: score.values["loss"] for score in trial.scores}
    assert trials["onnxruntime", "int8"]["loss"] == judged["onnxruntime int8"]
    assert abs(judged["onnxruntime int8"] - trial.loss) < 0.05
    (target,) = result.file.targets
    assert set(target.tables) == {"onnxruntime"}
    for member in result.front:
        if member.served["runtime"] == "onnxruntime":
            folder = result.folder / member.student / "served"
            assert artefact_of(folder, "onnxruntime", member.served["dtype"]).file.is_file()
    again = Here()
    assert told(run(tmp_path / "run", again, trials=1, **ways)) == told(result)
    assert again.of(Distil) == again.of(ServedLoss) == []
