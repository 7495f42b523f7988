"""Whole runs whose requests are of many lengths: counted once, searched by their mean, and measured at a few nodes."""

import json
import shutil
import tomllib
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from distilsearch.architecture import Architecture
from distilsearch.distill.teachers.teacher import load_teacher
from distilsearch.distill.texts.requests import lengths_of, longest_of, paragraphs, requests_in, requests_of
from distilsearch.engine.job import run as run_module
from distilsearch.engine.job.commands.covering import covered, in_words
from distilsearch.engine.job.jobs import Job, Measure, Profile, dumps, loads
from distilsearch.engine.job.outcome.result import Result
from distilsearch.engine.job.plans.planning import question
from distilsearch.engine.job.preflight import check_run
from distilsearch.engine.job.run import search
from distilsearch.engine.job.runfile.config import Run
from distilsearch.engine.job.runfile.sections import ExportSection
from distilsearch.engine.report.files import read_result
from distilsearch.engine.report.requests import request_lines
from distilsearch.errors import InputError, Interrupted, RunError, TextError
from distilsearch.operators import Serving
from distilsearch.profiling import open_device
from distilsearch.profiling.clock import Measured, over_lengths
from distilsearch.progress import nothing, silent
from distilsearch.request_lengths import RequestLengths

OLD = Path(__file__).parents[3] / "old" / "0.1.0"
(TABLE,) = (OLD / "tables").glob("*/*")
GENES = {"layers": [1, 2, 3], "width": [16], "heads": [1], "ffn": [16, 32], "inherit": ["even"]}
RUN: dict[str, Any] = {
    "name": "lengths",
    "teacher": str(OLD / "teacher"),
    "trials": 2,
    "space": GENES,
    "train": {"device": "cpu", "precision": "float32", "flash_tokens": 2_048, "threads": 1, "finish": "none"},
}


def seconds(model: Architecture, length: int) -> float:
    """What a model takes for a request of a length."""
    return 1e-4 * float(model["layers"]) * (4 + length + length**2 / 16)


class Here:
    """Does jobs at once, in this process, and times nothing: what it would measure follows `seconds`."""

    workers = 1

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def submit(self, job: Job, progress: Any = None) -> "Future[Any]":
        self.jobs.append(job)
        future: Future[Any] = Future()
        future.set_result(self._answer(loads(dumps(job))))
        return future

    def _answer(self, job: Job) -> Any:
        if isinstance(job, Profile):
            return TABLE.parent.name, TABLE.name
        if not isinstance(job, Measure):
            return job.read(json.loads(json.dumps(job.run(silent, nothing))))
        lengths = job.serving.lengths
        assert lengths is not None
        times = [[seconds(model, node) for node in lengths.nodes] for model in job.architectures]
        timed = [over_lengths([Measured(s, s, s, 8, 0.0, 1.0, "ok") for s in own], lengths) for own in times]
        return job.read(json.loads(json.dumps([one.to_json() for one in timed])))

    def stop(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a table, a text of paragraphs, and a file of requests."""
    words = (OLD / "text" / "words.txt").read_text().split()
    drawn = np.random.default_rng(0)
    mixed = drawn.choice(words, 10 * len(words))
    (tmp_path / "words.txt").write_text(" ".join(mixed))
    requests = [" ".join(drawn.choice(words, int(count))) for count in drawn.integers(1, 40, 300)]
    (tmp_path / "queries.txt").write_text("\n\n".join(requests))
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path / "home"))
    shutil.copytree(TABLE, tmp_path / "home" / "tables" / TABLE.parent.name / TABLE.name)
    return tmp_path


def asked(folder: Path, **changes: Any) -> Run:
    serving = {"lengths": str(folder / "queries.txt"), "threads": 1} | changes.pop("serving", {})
    target = [{"device": "cpu", "serving": serving}]
    return Run.parse(RUN | {"text": [str(folder / "words.txt")], "target": target} | changes)


def run(folder: Path, executor: Here, **changes: Any) -> Result:
    return search(asked(folder, **changes), folder / "run", executor=executor)


def test_a_search_is_of_the_mean_over_the_requests_and_says_median_and_tail(home: Path) -> None:
    result = run(home, Here())
    teacher = load_teacher(RUN["teacher"])
    counted = lengths_of(requests_in(str(home / "queries.txt")), teacher)
    (target,) = result.data["targets"]
    lengths = RequestLengths.parse(target["serving"]["lengths"])
    assert "sequence" not in target["serving"]
    assert (lengths.requests, lengths.longest) == (300, max(counted)) == (300, min(longest_of(teacher), max(counted)))
    for entry in (result.data["teacher"], *result.data["front"]):
        latency, model = entry["latency_ms"], Architecture.from_json(entry["architecture"])
        taken = 1e3 * np.array([seconds(model, length) for length in counted])
        assert latency["measured"] == pytest.approx(taken.mean(), rel=0.02)
        assert (latency["measured_p50"], latency["measured_p99"]) == pytest.approx(
            tuple(np.quantile(taken, [0.5, 0.99], method="inverted_cdf"))
        )
        assert latency["lower"] < latency["predicted"] < latency["upper"]
        assert 0 < latency["predicted_p50"] <= latency["predicted_p99"]
    lines = request_lines(read_result(home / "run"))
    assert lines[0] == f"latency_ms is the mean over requests of {lengths.words}, in ms:"
    assert len(lines) == 2 + len(result.front)
    assert f"requests of {lengths.words}" in (home / "run" / "report.html").read_text()


def test_a_run_goes_on_with_the_lengths_it_began_with(home: Path) -> None:
    before = run(home, Here())
    kept = tomllib.loads((home / "run" / "run.toml").read_text())["target"][0]
    assert kept["request_lengths"] == before.data["targets"][0]["serving"]["lengths"]
    (home / "queries.txt").unlink()
    check_run(asked(home), home / "run")  # nobody misses what has been counted
    again = run(home, Here(), trials=3)
    assert again.data["targets"][0]["serving"] == before.data["targets"][0]["serving"]
    measured = {member["key"]: member["latency_ms"] for member in before.data["front"]}
    for member in again.data["front"]:
        assert member["latency_ms"] == measured.get(member["key"], member["latency_ms"])
    with pytest.raises(RunError, match=r"lengths"):
        run(home, Here(), serving={"lengths": "text"})


def test_median_and_tail_of_trials_outlive_a_kill_before_the_front_is_measured(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "measure_front", killed)
    with pytest.raises((KeyboardInterrupt, Interrupted)):
        run(home, Here())
    monkeypatch.setattr(run_module, "measure_front", lambda *_: None)
    again = Here()
    result = run(home, again)
    counted = lengths_of(requests_in(str(home / "queries.txt")), load_teacher(RUN["teacher"]))
    assert len(result.data["trials"]) == 2
    for trial in result.data["trials"]:
        latency, model = trial["latency_ms"], Architecture.from_json(trial["architecture"])
        taken = 1e3 * np.array([seconds(model, length) for length in counted])
        assert (latency["measured_p50"], latency["measured_p99"]) == pytest.approx(
            tuple(np.quantile(taken, [0.5, 0.99], method="inverted_cdf"))
        )
        assert latency["slowness"] == 1.0
    assert not [job for job in again.jobs if isinstance(job, Measure)]


def test_a_file_of_requests_is_the_same_one_after_it_is_gone(home: Path) -> None:
    file = home / "run.toml"
    file.write_text(
        f'name = "x"\nteacher = "{OLD / "teacher"}"\ntext = ["words.txt"]\ntrials = 1\n[[target]]\n'
        'serving = { lengths = "queries.txt" }\n'
    )
    before = Run.read(file)
    (home / "queries.txt").unlink()
    assert Run.read(file) == before
    assert before.target[0].lengths_from == str((home / "queries.txt").resolve())


def test_batches_are_padded_to_the_longest_of_requests_drawn_together(home: Path) -> None:
    executor = Here()
    result = run(home, executor, trials=1, serving={"batch": 4})
    lengths = RequestLengths.parse(result.data["targets"][0]["serving"]["lengths"])
    counted = lengths_of(requests_in(str(home / "queries.txt")), load_teacher(RUN["teacher"]))
    together = np.random.default_rng(0).choice(counted, (20_000, 4)).max(axis=1)
    assert lengths.mean == pytest.approx(together.mean(), rel=0.02)
    served = next(job.serving for job in executor.jobs if isinstance(job, Measure))
    assert all(part.padded and part.batch == 4 for part, _ in served.parts)


def test_profile_covers_the_lengths_of_a_run_or_those_it_is_given(home: Path) -> None:
    device = open_device("cpu")
    (serving,) = covered([asked(home)], device, {})
    assert serving.lengths is not None
    assert "requests of 3 to" in in_words(serving)
    (batched,) = covered([asked(home)], device, {"batch": [4]})
    assert batched.lengths is not None
    assert batched.lengths.mean > serving.lengths.mean
    assert list(covered([asked(home)], device, {"sequence": [8]})) == [Serving(sequence=8, threads=1)]
    counted = {"serving": {"lengths": "gone.txt"}, "request_lengths": str(serving.lengths)}
    ((kept, spaces),) = covered([asked(home, target=[counted, counted])], device, {}).items()
    assert (kept, len(spaces)) == (replace(serving, threads=None), 1)
    plain = asked(home, target=[{"device": "cpu", "serving": {"sequence": 8, "threads": 1}}])
    assert list(covered([plain], device, {"lengths": str(home / "queries.txt")})) == [serving]
    with pytest.raises(InputError, match="give one of them"):
        covered([plain], device, {"lengths": "text", "sequence": [8]})


@pytest.mark.parametrize(
    ("serving", "words"),
    [
        ({"sequence": 8}, "serving sequence is one length for all requests, and lengths are their own"),
        ({"padded": True, "batch": 2}, "serving padded is for one sequence"),
        ({"phase": "decode"}, "serving lengths are of requests that are read whole"),
        ({"phase": "prefill"}, "serving lengths are of requests that are read whole"),
        ({"lengths": ""}, 'serving lengths should be "text", or a file of requests, one a line'),
        ({"lengths": 3}, 'serving lengths should be "text", or a file of requests, one a line'),
        ({"lengths": ["text"]}, "serving lengths must be one value"),
    ],
)
def test_a_serving_that_makes_no_sense_is_refused(home: Path, serving: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        asked(home, serving=serving)


def test_a_summary_without_lengths_or_a_damaged_one_is_refused(home: Path) -> None:
    serving = {"lengths": "text"}
    for target, words in (
        ({"request_lengths": "300 requests, p50 4, p99 4: 4 x 1.000000"}, "give lengths alone"),
        ({"serving": serving, "request_lengths": "a few"}, "'a few' sums up no lengths of requests"),
    ):
        with pytest.raises(InputError, match=words):
            asked(home, target=[target])


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        ("", InputError, r"queries.txt as requests: .* needs 20 requests or more; got 0"),
        ("\n".join(["fee"] * 19), InputError, r"needs 20 requests or more; got 19"),
        (None, InputError, r"there is no file .*queries.txt; expected what lengths of a serving are to be had from"),
        (b"\x00\xff\x00" * 50, TextError, r"queries.txt"),
    ],
)
def test_a_file_that_holds_no_requests_is_refused(home: Path, content: Any, error: type, words: str) -> None:
    file = home / "queries.txt"
    file.unlink()
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        file.write_text(content)

    def begin() -> None:
        check_run(asked(home), home / "run")
        run(home, Here())

    with pytest.raises(error, match=words):
        begin()
    assert not (home / "run").exists()


def test_requests_are_rows_paragraphs_or_lines(home: Path) -> None:
    (home / "rows.jsonl").write_text("\n".join(json.dumps({"text": f"one\n\ntwo {i}"}) for i in range(3)))
    (home / "plain.txt").write_text("one\ntwo\n\nthree\n\n\nfour")
    (home / "lines.txt").write_text("one\ntwo\n \nthree")
    sources = [str(home / name) for name in ("rows.jsonl", "plain.txt")]
    assert list(requests_of(sources)) == ["one\n\ntwo 0", "one\n\ntwo 1", "one\n\ntwo 2", "one\ntwo", "three", "four"]
    assert list(requests_in(str(home / "lines.txt"))) == ["one", "two", "three"]
    assert list(requests_in(str(home / "rows.jsonl"))) == ["one\n\ntwo 0", "one\n\ntwo 1", "one\n\ntwo 2"]
    assert paragraphs("a\n" * 40 + "\nb") == [*["a"] * 40, "", "b"]
    with pytest.raises(TextError, match="there is no file"):
        list(requests_in(str(home / "nothing.txt")))


def test_a_request_has_the_tokens_that_a_server_reads(home: Path) -> None:
    teacher = load_teacher(RUN["teacher"])
    texts = ["", "ba", "ba be bi", "ba " * 1_000]
    own = [len(teacher.tokenizer(text)["input_ids"]) for text in texts]
    assert lengths_of(texts, teacher) == [min(longest_of(teacher), length) for length in own]


def test_a_question_of_some_minutes_is_the_same_as_before_where_requests_have_one_length(home: Path) -> None:
    plain = asked(home, target=[{"device": "cpu", "serving": {"sequence": 8}}])
    kept = plain.model_dump(mode="json")
    assert kept["target"][0].pop("request_lengths") is None
    assert "lengths" not in kept["target"][0]["serving"]
    former: Any = SimpleNamespace(model_dump=lambda mode: json.loads(json.dumps(kept)))
    assert question(former, {}, plain.students()) == question(plain, {}, plain.students())
    assert question(asked(home), {}, plain.students()) != question(plain, {}, plain.students())
    exported = plain.model_copy(update={"export": ExportSection(runtime=["openvino"])})
    assert question(exported, {}, plain.students()) == question(plain, {}, plain.students())
