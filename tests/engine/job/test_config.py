import tomllib

import pytest

from distilsearch.engine.job.config import Run
from distilsearch.engine.job.continuing import check_same
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
        ({"target": [{"latency": 3}]}, "did you mean 'latency_ms'"),
        ({"target": [{"serving": {"bach": 1}}]}, "did you mean 'batch'"),
        ({"target": [{"serving": {"batch": 0}}]}, "serving batch must be a positive whole number"),
        ({"target": []}, "target"),
        ({"trials": -1}, "trials"),
        ({"trials": True}, "^trials: it should be a valid integer; got True$"),
        ({"text": []}, "text"),
        ({"name": "../elsewhere"}, "name"),
        ({"target": [{"latency_ms": -1}]}, "^target.0.latency_ms: it should be greater than 0; got -1$"),
        ({"train": {"flash_tokens": 100, "longer_tokens": [100, 200]}}, "^train: longer_tokens must rise, from above"),
        ({"text_temperature": 0.5}, "^text_temperature: it should be greater than or equal to 1; got 0.5$"),
        ({"text_tokens": 0}, "text_tokens"),
        ({"stop_below": 0.1, "target": [{}, {}, {}]}, "^stop_below and longer_tokens need at most 2 targets$"),
    ],
)
def test_senseless_runs_are_refused(wrong, message) -> None:
    with pytest.raises(InputError, match=message):
        Run.parse(LEAST | wrong)


def test_another_run_file_is_refused_and_the_difference_named() -> None:
    first = Run.parse(LEAST | {"trials": 4, "target": [{"latency_ms": 5}]})
    check_same(Run.parse(LEAST | {"trials": 40, "target": [{"latency_ms": 5}]}), first)
    with pytest.raises(RunError, match=r"target\[0\].latency_ms: 5.0 there, 6.0 now"):
        check_same(Run.parse(LEAST | {"trials": 4, "target": [{"latency_ms": 6}]}), first)


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
