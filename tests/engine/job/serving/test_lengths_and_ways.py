"""Whole runs whose requests are of many lengths, and whose students are served in several runtimes and precisions."""

import shutil
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distilsearch.architecture import Architecture
from distilsearch.distill.store.archive import Archive
from distilsearch.engine.job.jobs import Job, Measure
from distilsearch.engine.job.outcome.result import Result
from distilsearch.engine.job.run import search
from distilsearch.engine.job.runfile.config import Run
from distilsearch.engine.report.files import read_result
from distilsearch.engine.report.requests import request_lines
from distilsearch.operators import Serving
from distilsearch.predictors.latency import LatencyPredictor
from distilsearch.profiling import LatencyTable
from distilsearch.profiling.clock import Measured, over_lengths
from distilsearch.profiling.tables import rounds
from distilsearch.request_lengths import RequestLengths

from .test_whole_served import OLD, OTHER, RUN, TABLE, Distil
from .test_whole_served import Here as Served

WAYS = {("torch", "float32"): 4.0, ("onnxruntime", "float32"): 2.0, ("onnxruntime", "int8"): 1.0}  # how long each takes


def seconds(model: Architecture, serving: Serving, length: int) -> float:
    """What a model takes for a request of a length."""
    return 1e-5 * WAYS[serving.runtime, serving.dtype] * float(model["layers"]) * (4 + length + length**2 / 16)


class Here(Served):
    """Does jobs at once; what it would measure of requests follows `seconds`."""

    def _answer(self, job: Job) -> Any:
        if not isinstance(job, Measure):
            return super()._answer(job)
        lengths = job.serving.lengths
        assert lengths is not None
        times = [[seconds(model, job.serving, node) for node in lengths.nodes] for model in job.architectures]
        return [over_lengths([Measured(s, s, s, 8, 0.0, 1.0, "ok") for s in own], lengths) for own in times]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with tables of two runtimes, a text, and a file of requests."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    words, drawn = (OLD / "text" / "words.txt").read_text().split(), np.random.default_rng(0)
    (tmp_path / "words.txt").write_text(" ".join(drawn.choice(words, 10 * len(words))))
    requests = (" ".join(drawn.choice(words, int(count))) for count in drawn.integers(1, 40, 300))
    (tmp_path / "queries.txt").write_text("\n".join(requests))
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path / "home"))
    folder = tmp_path / "home" / "tables" / TABLE.parent.name / TABLE.name
    shutil.copytree(TABLE, folder)
    (other := folder.with_name(OTHER)).mkdir()
    for one, (dtype, share) in product(rounds.read_all(folder), (("float32", 0.5), ("int8", 0.25))):
        rows = [row for row in one.rows.to_pylist() if (row["dtype"], row["runtime"]) == ("float32", "torch")]
        for row in rows:
            row |= {"dtype": dtype, "runtime": "onnxruntime", "seconds": share * row["seconds"]}
            row["signature"] = row["signature"].replace("dtype=float32", f"dtype={dtype}")
        rounds.write(other, one.rows.from_pylist(rows, schema=one.rows.schema), one.device, one.stack)
    return tmp_path


def run(folder: Path, executor: Here, trials: int) -> Result:
    ways = {"runtime": ["torch", "onnxruntime"], "dtype": ["float32", "int8"]}
    target = [{"device": "cpu", "serving": {"lengths": str(folder / "queries.txt"), "threads": 1, **ways}}]
    asked = RUN | {"text": [str(folder / "words.txt")], "target": target, "trials": trials}
    return search(Run.parse(asked), folder / "run", executor=executor)


@pytest.mark.slow
def test_students_runtimes_and_precisions_are_searched_by_the_mean_over_requests(home: Path) -> None:
    executor = Here()
    result = run(home, executor, trials=2)
    assert len(executor.of(Distil)) == 2
    trials = [trial for trial in result.data["trials"] if trial["state"] == "complete"]
    ways = [(t["served"]["runtime"], t["served"]["dtype"]) for t in trials]
    assert sorted(ways) == sorted([*WAYS, *WAYS])
    (target,) = result.data["targets"]
    lengths = RequestLengths.parse(target["serving"]["lengths"])
    predictors = {
        runtime: LatencyPredictor.fit(LatencyTable.read(Path(table)))
        for runtime, table in {"torch": target["table"], **target["tables"]}.items()
    }
    assert result.front
    for member in result.data["front"]:
        student, way = Architecture.from_json(member["architecture"]), member["served"]
        serving = Serving(threads=1, runtime=way["runtime"], dtype=way["dtype"], lengths=lengths)
        latency, at = member["latency_ms"], {node: 1e3 * seconds(student, serving, node) for node in lengths.nodes}
        assert latency["measured"] == pytest.approx(np.dot(lengths.weights, list(at.values())))
        assert (latency["measured_p50"], latency["measured_p99"]) == pytest.approx((at[lengths.p50], at[lengths.p99]))
        says = predictors[serving.runtime].predict([student], serving)
        assert says.p50_ms is not None
        assert (latency["predicted"], latency["predicted_p50"]) == pytest.approx((says.mean_ms[0], says.p50_ms[0]))
        trial = Archive().find(member["trial"])
        assert trial is not None
        judged = {score.artefact: score.values["loss"] for score in trial.scores}
        assert member["loss"] == pytest.approx(judged.get(serving.artefact, trial.loss))
    rows = [(member["loss"], member["latency_ms"]["measured"]) for member in result.data["front"]]
    assert not any(a != b and a[0] <= b[0] and a[1] <= b[1] for a in rows for b in rows)
    lines = request_lines(read_result(home / "run"))
    assert lines[0] == f"latency_ms is the mean over requests of {lengths.words}, in ms:"
    assert len(lines) == 2 + len(rows)
    again = Here()
    assert run(home, again, trials=2).data["front"] == result.data["front"]
    assert again.of(Distil) == again.of(Measure) == []
