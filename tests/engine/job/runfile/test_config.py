import json
import math
import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilsearch.engine.job.runfile.config import Run
from distilsearch.engine.job.runfile.continuing import continued
from distilsearch.engine.job.runfile.toml import to_toml
from distilsearch.errors import InputError, RunError

LEAST = {"teacher": "quickstart", "text": ["python-docs"]}


def test_everything_has_a_default_but_teacher_and_text() -> None:
    run = Run.parse(LEAST)
    assert run.target[0].serving["sequence"] == 128
    for missing in LEAST:
        with pytest.raises(InputError, match=f"{missing}: is missing"):
            Run.parse({key: value for key, value in LEAST.items() if key != missing})


def test_a_run_survives_being_written_out() -> None:
    run = Run.parse(
        LEAST
        | {
            "space": {"layers": [1, 2], "inherit": ["even"]},
            "target": [{"serving": {"batch": 8}, "latency_ms": 5}, {"device": "0123abcd"}],
            "storage": {"url": "sqlite:///a 'quoted' \"path\".db"},
        }
    )
    assert Run.parse(tomllib.loads(run.to_toml())) == run


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"trails": 3}, "unknown key 'trails': did you mean 'trials'"),
        ({"train": {"flash_token": 3}}, "did you mean 'flash_tokens'"),
        ({"target": [{"latencies": 3}]}, "did you mean 'latency'"),
        (
            {"target": [{"latency": 3}]},
            "^target.0.latency: it should be a share of the teacher's, .*latency_ms; got 3$",
        ),
        ({"target": [{"latency": "3 ms"}]}, 'such as "0.2x teacher"'),
        ({"target": [{"latency": "0x teacher"}]}, 'such as "0.2x teacher"'),
        ({"target": [{"latency": "0.2x student"}]}, 'such as "0.2x teacher"'),
        (
            {"target": [{"latency": "5x teacher"}]},
            'it allows more than the teacher takes; 5x its speed is "0.2x teacher"',
        ),
        ({"target": [{"latency": "0.2x teacher", "latency_ms": 3}]}, "two limits on the same; give one of them"),
        ({"choose": "best"}, "choose: it should be 'auto', 'knee', 'quality' or 'fastest' .*; got 'best'"),
        ({"target": [{"serving": {"bach": 1}}]}, "did you mean 'batch'"),
        ({"target": [{"serving": {"batch": 0}}]}, "serving batch must be a positive whole number"),
        ({"target": []}, "target"),
        ({"target": {"latency_ms": 3}}, r"^target: there may be several of it, each a table under \[\[target\]\]"),
        ({"trials": -1}, "trials"),
        ({"trials": True}, "^trials: expected a whole number; got True$"),
        ({"text": []}, "text"),
        ({"name": "../elsewhere"}, "name"),
        ({"target": [{"latency_ms": -1}]}, "^target.0.latency_ms: it should be greater than 0; got -1$"),
        ({"train": {"flash_tokens": 100, "longer_tokens": [100, 200]}}, "^train: longer_tokens must rise, from above"),
        ({"text_temperature": 0.5}, "^text_temperature: it should be greater than or equal to 1; got 0.5$"),
        ({"text_tokens": 0}, "text_tokens"),
        ({"text_block": 8}, "text_block: it should be greater than or equal to 16"),
        ({"text_block": "long"}, "text_block"),
        (
            {"train": {"device": "cpuu"}},
            "^train.device: unknown training device 'cpuu': did you mean 'cpu'[?] known: auto",
        ),
        ({"train": {"device": "cuda:x"}}, "train.device: unknown training device 'cuda:x'"),
        ({"train": {"workers": 0}}, '^train.workers: it should be "auto" or a number of 1 or more; got 0$'),
        ({"train": {"workers": "many"}}, "train.workers: it should be .auto. or a number"),
        ({"train": {"workers": True}}, "train.workers: it should be .auto. or a number"),
        ({"train": {"worker": 2}}, "did you mean 'workers'"),
        ({"target": [{"latency_ms": math.inf}]}, "target.0.latency_ms: it should be a finite number"),
        ({"target": [{"memory_mb": 0}]}, "target.0.memory_mb: it should be greater than 0"),
        ({"target": [{"parameters": 0.5}]}, "target.0.parameters: expected a whole number; got 0.5"),
        ({"target": [{"memory": 3}]}, "did you mean 'memory_mb'"),
        ({"executor": {"name": "locl"}}, "^executor.name: unknown executor 'locl': did you mean 'local'"),
        ({"executor": {"adress": "x"}}, "did you mean 'address'"),
        (
            {"target": [{"serving": {"batch": [1, 2]}}]},
            "serving batch must be one value; a list may be given of dtype or",
        ),
        ({"target": [{"serving": {"dtype": []}}]}, "serving dtype needs one or more different choices"),
        ({"target": [{"serving": {"dtype": ["float32", "float32"]}}]}, "serving dtype needs one or more different"),
        ({"target": [{"serving": {"dtype": ["float32", "fp8"]}}]}, "unknown serving dtype 'fp8'"),
        (
            {"target": [{"serving": {"mode": ["eager", "compile"]}}, {}]},
            "choices of a serving need a run of one target",
        ),
        ({"stop_below": 0.1, "target": [{}, {}, {}]}, "^stop_below and longer_tokens need at most 2 targets$"),
    ],
)
def test_senseless_runs_are_refused(wrong, message) -> None:
    with pytest.raises(InputError, match=message):
        Run.parse(LEAST | wrong)


@pytest.mark.parametrize("written", ["0.2x teacher", " 0.20X the Teacher", ".2 x teacher", "0.2x"])
def test_a_share_of_the_teachers_latency_has_one_spelling(written: str) -> None:
    run = Run.parse(LEAST | {"target": [{"latency": written}]})
    assert (run.target[0].latency, run.target[0].latency_share) == ("0.2x teacher", 0.2)
    assert run.target[0].limits_latency
    assert Run.parse(tomllib.loads(run.to_toml())) == run


def test_another_run_file_is_refused_and_the_difference_named() -> None:
    first = Run.parse(LEAST | {"trials": 4, "target": [{"latency_ms": 5}]})
    continued(Run.parse(LEAST | {"trials": 40, "target": [{"latency_ms": 5}]}), first)
    with pytest.raises(RunError, match=r"target\[0\].latency_ms: 5.0 there, 6.0 now"):
        continued(Run.parse(LEAST | {"trials": 4, "target": [{"latency_ms": 6}]}), first)


def test_a_run_file_is_read_with_paths_relative_to_it(tmp_path) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.txt").write_text("text")
    path = tmp_path / "my run.toml"
    (tmp_path / "mine.toml").write_text("base = 'embedding'\n")
    path.write_text('teacher = "quickstart"\ntext = ["corpus/*.txt", "owner/dataset"]\n[train]\nrecipe = "mine.toml"\n')
    run = Run.read(path)
    assert run.name == "my-run"
    assert run.train.recipe == str(tmp_path / "mine.toml")
    assert run.text == (str(tmp_path / "corpus" / "*.txt"), "owner/dataset")


def test_files_that_are_no_run_files_are_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="there is no run file"):
        Run.read(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("teacher = ")
    with pytest.raises(InputError, match="not valid TOML"):
        Run.read(tmp_path / "bad.toml")
    with pytest.raises(InputError, match="cannot read"):
        Run.read(tmp_path)


def test_a_space_is_checked_when_the_file_is_read() -> None:
    with pytest.raises(InputError, match="did you mean 'layers'"):
        Run.parse(LEAST | {"space": {"layer": [1]}})
    with pytest.raises(InputError, match="heads must divide width"):
        Run.parse(LEAST | {"space": {"width": [100], "heads": [7]}})


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True)
WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
POSITIVE = st.floats(1e-3, 1e9)
LENGTHS = st.lists(st.integers(1, 10**7), unique=True, max_size=3).map(sorted)
STRATEGIES = st.one_of(
    st.fixed_dictionaries({"name": st.just("ehvi")}, optional={"draws": st.integers(0, 64)}),
    st.fixed_dictionaries({"name": st.just("reward")}, optional={"target": POSITIVE, "alpha": st.floats(-2, 2)}),
    st.sampled_from(["enumerate", "ehvi", {"name": "enumerate"}]),
)


def _subsets(choices: tuple[str, ...]) -> st.SearchStrategy[Any]:
    return st.one_of(st.sampled_from(choices), st.lists(st.sampled_from(choices), min_size=1, unique=True))


def _tables(**optional: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=optional)


def targets(choices: bool) -> st.SearchStrategy[dict[str, Any]]:
    dtypes, modes = ("float32", "bfloat16"), ("eager", "compile", "graph")
    some = _subsets if choices else st.sampled_from
    serving = _tables(batch=st.integers(1, 64), threads=st.integers(1, 8), dtype=some(dtypes), mode=some(modes))
    limits = {"latency_ms": POSITIVE, "memory_mb": POSITIVE, "parameters": st.integers(1, 10**9)}
    return _tables(device=WORDS, serving=serving, **limits)


@st.composite
def run_files(draw: st.DrawFn) -> dict[str, Any]:
    """A valid run file: some of its keys, in any combination."""
    lengths = draw(LENGTHS) or [160_000]
    train = draw(_tables(
        device=st.sampled_from(["auto", "cpu", "cuda", "cuda:1"]), precision=st.sampled_from(["auto", "bf16"]),
        recipe=WORDS, final_tokens=st.integers(0, 10**9), workers=st.one_of(st.just("auto"), st.integers(1, 99)),
        threads=st.integers(1, 99)))  # fmt: skip
    target = draw(
        st.one_of(st.lists(targets(True), min_size=1, max_size=1), st.lists(targets(False), min_size=1, max_size=2))
    )
    space = draw(st.sampled_from([{}, {"family": "bert", "layers": [1, 2]}, {"layers": 3, "inherit": ["even"]}]))
    more = draw(_tables(
        name=NAMES, text_temperature=st.floats(1, 9), text_tokens=st.integers(1), text_column=NAMES,
        text_heldout=st.integers(32, 2_000),
        strategy=STRATEGIES, trials=st.integers(0, 10**6), seed=st.integers(0), loss_at_most=POSITIVE,
        source=st.just("distilled"),
        stop_below=st.floats(0, 0.99), storage=_tables(url=WORDS, cache_limit_gb=POSITIVE),
        executor=_tables(address=WORDS, depot=WORDS)))  # fmt: skip
    train |= {"flash_tokens": lengths[0], "longer_tokens": lengths[1:]}
    basics = {"teacher": draw(WORDS), "text": draw(st.lists(WORDS, min_size=1, max_size=3))}
    return basics | more | {"train": train, "target": target, "space": space}


@given(run_files())
@settings(deadline=None)
def test_any_run_survives_being_written_out(data: dict[str, Any]) -> None:
    run = Run.parse(data)
    text = run.to_toml()
    again = Run.parse(tomllib.loads(text))
    assert again == run
    assert again.to_toml() == text
    continued(again, run)


@given(run_files(), st.data())
@settings(deadline=None, max_examples=30)
def test_an_unknown_key_names_the_nearest_one(data: dict[str, Any], draw: Any) -> None:
    section = draw.draw(st.sampled_from(["", "train", "target", "storage", "executor"]))
    whole = json.loads(json.dumps(Run.parse(data).model_dump(mode="json")))
    table = whole[section] if section else whole
    table = table[0] if isinstance(table, list) else table
    key = draw.draw(st.sampled_from(sorted(table)))
    table[key + "_"] = table[key]
    with pytest.raises(InputError, match=f"unknown key '{key}_': did you mean '{key}'"):
        Run.parse(whole)


VALUES = st.recursive(
    st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), WORDS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=3)),
    max_leaves=6,
)


@given(st.dictionaries(WORDS, VALUES, max_size=4))
@settings(deadline=None)
def test_toml_reads_back_as_what_was_written(data: dict[str, Any]) -> None:
    data = {
        key: [] if isinstance(v, list) and any(isinstance(one, dict) for one in v) else v for key, v in data.items()
    }
    assert tomllib.loads(to_toml(data)) == data


def test_choices_of_a_serving_are_told_apart_from_one_value() -> None:
    one = Run.parse(LEAST | {"target": [{"serving": {"dtype": ["bfloat16"]}}]}).target[0]
    assert (one.serving["dtype"], one.choices, len(one.servings)) == ("bfloat16", {}, 1)
    several = {"dtype": ["float32", "bfloat16"], "mode": ["eager", "compile"], "batch": 4}
    target = Run.parse(LEAST | {"target": [{"serving": several}]}).target[0]
    assert target.choices == {name: tuple(several[name]) for name in ("dtype", "mode")}
    assert {(s.dtype, s.mode, s.batch) for s in target.servings} == {
        ("float32", "eager", 4), ("float32", "compile", 4), ("bfloat16", "eager", 4), ("bfloat16", "compile", 4)
    }  # fmt: skip
