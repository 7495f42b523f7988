"""What a prediction is asked to be of: as the run serves, and what is given stands instead."""

from pathlib import Path
from typing import Any

import pytest

from distilsearch.engine.job.runfile.config import Run
from distilsearch.engine.job.serving.asked import Way, way_of
from distilsearch.errors import InputError
from distilsearch.operators import Serving
from distilsearch.profiling import fingerprint, open_device
from distilsearch.request_lengths import RequestLengths

LENGTHS = "40 requests, p50 8, p99 16: 4 x 0.250000, 8 x 0.500000, 16 x 0.250000"
COUNTED = {"serving": {"lengths": "text", "batch": 2}, "request_lengths": LENGTHS}
SEVERAL = {"serving": {"runtime": ["torch", "onnxruntime"], "dtype": ["float32", "int8"], "threads": 2}}


def run(*targets: dict[str, Any]) -> Run:
    return Run.parse({"teacher": "t", "text": ["x"], "target": list(targets)})


@pytest.mark.parametrize(
    ("target", "given", "serving"),
    [
        ({}, {}, Serving()),
        ({"serving": {"batch": 4, "sequence": 64, "threads": 2}}, {}, Serving(4, 64, threads=2)),
        ({"serving": {"batch": 4, "sequence": 64, "threads": 2}}, {"batch": 1}, Serving(1, 64, threads=2)),
        ({"serving": {"batch": 4, "sequence": 64, "padded": True}}, {"batch": 1}, Serving(1, 64)),
        ({"serving": {"dtype": "bf16"}}, {"dtype": "fp32"}, Serving()),
        ({"serving": {"mode": "compile"}}, {"runtime": "openvino"}, Serving(runtime="openvino")),
        (SEVERAL, {}, Serving(threads=2)),
        (SEVERAL, {"dtype": "int8"}, Serving(dtype="int8", runtime="onnxruntime", threads=2)),
        (SEVERAL, {"runtime": "openvino"}, Serving(runtime="openvino", threads=2)),
        (COUNTED, {}, Serving(2, lengths=RequestLengths.parse(LENGTHS))),
        (COUNTED, {"sequence": 32}, Serving(2, 32)),
    ],
)
def test_a_run_says_what_is_not_given(target: dict[str, Any], given: dict[str, Any], serving: Serving) -> None:
    way = way_of(run(target), None, given)
    assert (way.device, way.serving, way.lengths) == ("auto", serving, None)


def test_without_a_run_it_is_the_usual_serving() -> None:
    assert way_of(None, None, {}) == Way("auto", Serving())
    assert way_of(None, "cpu", {"threads": 3, "lengths": LENGTHS}).serving.lengths == RequestLengths.parse(LENGTHS)


def test_lengths_that_nobody_has_counted_for_that_batch_are_still_to_be_counted(tmp_path: Path) -> None:
    open_ = run({"serving": {"lengths": "text"}})
    assert way_of(open_, None, {}).lengths == "text"
    assert way_of(run(COUNTED), None, {"batch": 8}).lengths == "text"
    (tmp_path / "queries.txt").write_text("one\n")
    file = str(tmp_path / "queries.txt")
    way = way_of(run(COUNTED), None, {"lengths": file})
    assert (way.lengths, way.serving) == (file, Serving(2))
    assert way.of(RequestLengths.parse(LENGTHS)).sequence == 16


def test_of_several_machines_it_is_the_one_that_is_named() -> None:
    digits = fingerprint(open_device("cpu").facts())
    two = run({"device": "0123456789ab", "serving": {"batch": 4}}, {"device": "cpu", "serving": {"batch": 2}})
    assert [(way.device, way.serving.batch) for way in (way_of(two, name, {}) for name in (None, "cpu", "auto"))] == [
        ("0123456789ab", 4), ("cpu", 2), ("auto", 2),
    ]  # fmt: skip
    assert way_of(run({"device": digits, "serving": {"batch": 3}}), "cpu", {}).serving.batch == 3
    assert way_of(two, "another", {}).serving.batch == 4
    assert [way_of(two, name, {}).targets for name in (None, "cpu", "another")] == [2, 1, 2]
    assert way_of(two, "xla", {}).device == "xla"  # which is not here: whoever looks for its table says so


def test_what_else_a_run_serves_by_is_known_where_nothing_chooses() -> None:
    assert way_of(run(SEVERAL), None, {}).others == ("onnxruntime float32", "onnxruntime int8")
    assert way_of(run(SEVERAL), None, {"runtime": "onnxruntime"}).others == ("onnxruntime int8",)
    assert way_of(run(SEVERAL), None, {"dtype": "int8"}).others == ()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lengths": LENGTHS, "sequence": 8}, "--sequence is one length for all requests, and --lengths are their own"),
        ({"lengths": " "}, "--lengths should be text, or a file of requests, one a line; got nothing"),
        ({"lengths": "none.txt"}, "there is no file none.txt; expected a file of requests, one a line"),
        ({"runtime": "openvino", "mode": "compile"}, "mode is torch's own"),
    ],
)
def test_what_does_not_go_together_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        way_of(None, None, given)
