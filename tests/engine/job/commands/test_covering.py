"""`profile --space run.toml` times what the run's targets serve on this device, and says what it times."""

from types import SimpleNamespace
from typing import Any

import pytest

from distilsearch.engine.job.commands.covering import covered, in_words
from distilsearch.engine.job.runfile.config import Run
from distilsearch.engine.job.runfile.continuing import ADDED, continued
from distilsearch.engine.job.serving.combinations import in_short
from distilsearch.errors import InputError
from distilsearch.operators import Serving
from distilsearch.profiling.device import fingerprint
from distilsearch.request_lengths import RequestLengths

FACTS = {"kind": "cpu", "model": "abacus"}
CPU: Any = SimpleNamespace(name="cpu", facts=lambda: FACTS)
GENES = {"layers": [1, 2], "width": [128], "heads": [4], "ffn": [256], "inherit": ["even"]}


def run(*targets: dict[str, Any], genes: dict[str, Any] = GENES) -> Run:
    return Run.parse({"teacher": "t", "text": ["x"], "space": genes, "target": list(targets) or [{}]})


@pytest.mark.parametrize(
    ("target", "wanted"),
    [
        ({}, [Serving()]),
        ({"serving": {"batch": 8, "sequence": 64}}, [Serving(batch=8, sequence=64)]),
        ({"device": "cpu", "serving": {"threads": 2}}, [Serving(threads=2)]),
        ({"serving": {"dtype": ["float32", "bfloat16"]}}, [Serving(), Serving(dtype="bfloat16")]),
        ({"device": fingerprint(FACTS), "serving": {"sequence": 32}}, [Serving(sequence=32)]),
    ],
)
def test_the_servings_are_those_of_the_targets(target: dict[str, Any], wanted: list[Serving]) -> None:
    assert list(covered([run(target)], CPU, {})) == wanted


def test_targets_of_other_machines_are_not_timed_here() -> None:
    here, there = {"serving": {"sequence": 64}}, {"device": "cuda", "serving": {"sequence": 512}}
    assert list(covered([run(there, here)], CPU, {})) == [Serving(sequence=64)]
    with pytest.raises(InputError, match="serves on cuda, and not on the cpu of this machine"):
        covered([run(there)], CPU, {"batch": [2]})
    assert list(covered([run(there)], CPU, {"batch": [2], "sequence": [16]})) == [Serving(batch=2, sequence=16)]


def test_what_is_given_stands_instead() -> None:
    target = {"serving": {"batch": 8, "sequence": 64, "threads": 2}}
    parts = covered([run(target)], CPU, {"batch": [1, 4], "dtype": "bfloat16"})
    assert [(s.batch, s.sequence, s.dtype, s.threads) for s in parts] == [
        (1, 64, "bfloat16", 2),
        (4, 64, "bfloat16", 2),
    ]


BY_FOUR = {"serving": {"runtime": ["torch", "onnxruntime"], "dtype": ["float32", "int8"]}}  # int8 of torch is none


@pytest.mark.parametrize(
    ("target", "given", "ways"),
    [
        (BY_FOUR, {"dtype": "int8"}, ["onnxruntime int8"]),
        (BY_FOUR, {"runtime": "torch"}, ["torch float32"]),
        (BY_FOUR, {"runtime": "openvino"}, ["openvino float32", "openvino int8"]),
        (BY_FOUR, {"runtime": "torch", "dtype": "int8"}, ["torch int8"]),  # for the device to refuse
        ({"serving": {"mode": "compile"}}, {"runtime": "onnxruntime"}, ["onnxruntime float32"]),
        ({"serving": {"runtime": ["torch", "onnxruntime"]}}, {"mode": "compile"}, ["torch compile float32"]),
        ({"serving": {"batch": 4, "padded": True}}, {"batch": [1]}, ["torch float32"]),
    ],
)
def test_of_what_is_given_no_way_is_timed_that_no_machine_has(
    target: dict[str, Any], given: dict[str, Any], ways: list[str]
) -> None:
    assert [in_short(serving) for serving in covered([run(target)], CPU, given)] == ways


def test_lengths_that_a_run_has_kept_are_those_of_its_batch_whoever_names_that() -> None:
    kept = "40 requests, p50 8, p99 16: 4 x 0.250000, 8 x 0.500000, 16 x 0.250000"
    target = {"serving": {"batch": 2, "lengths": "text"}, "request_lengths": kept}
    as_kept = [Serving(batch=2, lengths=RequestLengths.parse(kept))]
    for given in ({}, {"batch": [2]}):
        assert list(covered([run(target)], CPU, given)) == as_kept
    assert list(covered([run({"serving": {"batch": 2}})], CPU, {"lengths": kept})) == as_kept


def test_runs_that_serve_alike_are_timed_together_and_others_apart() -> None:
    other = run({}, genes={**GENES, "width": [192]})
    parts = covered([run({}), other, run({"serving": {"batch": 2}})], CPU, {})
    assert {serving.batch: len(spaces) for serving, spaces in parts.items()} == {1: 2, 2: 1}


def test_the_example_says_nothing_of_how_anybody_serves() -> None:
    assert list(covered([run({"device": "cuda"})], CPU, {}, plain=True)) == [Serving()]


def test_what_is_timed_is_said() -> None:
    assert in_words(Serving(batch=8, threads=2)) == "batch 8, 128 tokens, float32, 2 threads, eager"
    assert in_words(Serving(dtype="bfloat16", mode="compile")) == "batch 1, 128 tokens, bfloat16, all threads, compile"


def test_the_budget_of_profiling_may_change_and_is_none_in_old_runs() -> None:
    assert ADDED["target"]["profile_minutes"] is None
    assert continued(run({"profile_minutes": 2.5}), run({})).target[0].profile_minutes == 2.5
    with pytest.raises(InputError, match="profile_minutes"):
        run({"profile_minutes": 0})
