"""The commands of distillation: winners of a run or one architecture, with a card; scores; bad input in one line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from distilsearch.cli import app
from distilsearch.cli_distill import from_run
from distilsearch.distill.teacher import Teacher, load_teacher
from distilsearch.engine.job.remeasure import measured_fidelity
from distilsearch.errors import InputError, RunError

RECIPE = 'base = "embedding"\nbatch_tokens = 256\n'


@pytest.fixture
def run_folder(teacher: Teacher, text_file: Path, make_architecture: Callable[..., Any], tmp_path: Path) -> Path:
    """A finished run of two students, as `distilsearch search` leaves it."""
    folder = tmp_path / "run"
    folder.mkdir()
    recipe = tmp_path / "mine.toml"
    recipe.write_text(RECIPE)
    small, large = make_architecture(teacher, layers=1), make_architecture(teacher)
    front = [
        {
            "key": "aaa1",
            "architecture": small.to_json(),
            "loss": 0.5,
            "latency_ms": {"predicted": 1.5, "measured": 1.25},
        },
        {"key": "abb2", "architecture": large.to_json(), "loss": 0.4},
    ]
    result = {"schema": 1, "name": "run", "quality": "agreement", "objectives": ["loss", "latency_ms"], "reference": {}}
    result |= {
        "teacher": {"name": "tiny", "architecture": large.to_json()},
        "front": front,
        "trials": [],
        "targets": [],
    }
    (folder / "result.json").write_text(json.dumps(result | {"knee": "aaa1"}))
    lines = [f"teacher = {json.dumps(str(teacher.folder))}", f"text = [{json.dumps(str(text_file))}]"]
    (folder / "run.toml").write_text("\n".join([*lines, "[train]", f"recipe = {json.dumps(str(recipe))}"]))
    return folder


@pytest.fixture
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny teacher has 64 positions."""
    from distilsearch.distill import data

    load = data.load_text
    monkeypatch.setattr(data, "load_text", lambda sources, teacher, **more: load(sources, teacher, block=32, **more))


@pytest.mark.usefixtures("short_blocks")
def test_the_winner_of_a_run_gets_a_card(run_folder: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("aaa bbb,aaa bbb,5\naaa ccc,aaa bbb,3\nfee fed,aaa bbb,0\n")
    out = tmp_path / "student"
    words = ["distill", str(run_folder), "--out", str(out), "--tokens", "2000", "--pairs", str(pairs)]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0
    assert load_teacher(str(out)).facts.layers == 1
    card = (out / "README.md").read_text()
    for part in ("sha256", "recipe", "mine", "words.txt", "1.25", "pairs.csv, Spearman", "tokens"):
        assert part in card
    done = CliRunner().invoke(app, ["evaluate", str(out), "--pairs", str(pairs)], catch_exceptions=False)
    assert done.stdout.startswith("pairs.csv: ")


@pytest.mark.usefixtures("short_blocks")
def test_one_architecture(teacher: Teacher, text_file: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text(RECIPE)
    words = ["distill", "layers=2", "width=32", "heads=2", "ffn=64", "--out", str(tmp_path / "s"), "--tokens", "1000"]
    words += ["--teacher", str(teacher.folder), "--text", str(text_file), "--recipe", str(recipe)]
    words += ["--text-temperature", "2", "--text-tokens", "3000"]
    assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
    assert load_teacher(str(tmp_path / "s")).facts.width == 32
    with pytest.raises(InputError, match="layers must be a positive whole number"):
        CliRunner().invoke(app, [*words, "layers=one"], catch_exceptions=False)
    with pytest.raises(InputError, match="needs --teacher"):
        CliRunner().invoke(app, words[:7], catch_exceptions=False)


@pytest.mark.usefixtures("short_blocks")
def test_several_winners_train_side_by_side_and_go_on(run_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "both"
    for tokens in ("1500", "3000"):
        words = ["distill", str(run_folder), "aaa1", "abb2", "aaa1", "--out", str(out), "--tokens", tokens]
        done = CliRunner().invoke(app, words, catch_exceptions=False)
        assert done.exit_code == 0
        assert len(done.stdout.splitlines()) == 2
    layers = {load_teacher(str(folder)).facts.layers for folder in out.iterdir() if not folder.name.startswith(".")}
    assert layers == {1, 2}
    assert CliRunner().invoke(app, words, catch_exceptions=False).stdout == done.stdout
    for changed, message in ((["--tokens", "1500"], "3,072 tokens already"), (["--seed", "1"], "another architecture")):
        with pytest.raises(InputError, match=message):
            CliRunner().invoke(app, [*words, *changed], catch_exceptions=False)
    one = out / next(folder.name for folder in out.iterdir() if not folder.name.startswith("."))
    with pytest.raises(InputError, match="holds a student"):
        CliRunner().invoke(app, [*words, "--out", str(one)], catch_exceptions=False)


def test_keys_may_be_shortened_and_must_be_one(run_folder: Path) -> None:
    (winner,) = from_run([str(run_folder), "ab"]).winners
    assert winner.architecture["layers"] == 2
    assert [w.latency for w in from_run([str(run_folder)]).winners] == [{"predicted": 1.5, "measured": 1.25}]
    with pytest.raises(RunError, match="2 students whose key begins with 'a'"):
        from_run([str(run_folder), "a"])
    with pytest.raises(RunError, match="no students"):
        from_run([str(run_folder), "zzz"])


@pytest.mark.usefixtures("short_blocks")
def test_a_run_carries_its_measured_rank_fidelity(run_folder: Path) -> None:
    words = ["fidelity", str(run_folder), "--students", "3", "--fresh", "1"]
    for budget in (512, 1_536):
        words += ["--budgets", str(budget)]
    done = CliRunner().invoke(app, [*words, "--also", "kdnas"], catch_exceptions=False)
    assert done.stdout.startswith("measured: 512 against 1,536 tokens, 3 students")
    assert "loss at 512 tokens of kdnas: spearman" in done.stdout
    found = json.loads((run_folder / "result.json").read_text())["rank_fidelity"]
    assert -1 <= found["spearman"] <= 1
    assert {row["predictor"] for row in found["rows"]} == {"loss", "area", "trend", "parameters"}
    assert measured_fidelity(run_folder).model_dump() == found
    assert "512 against 1,536" in (run_folder / "report.html").read_text()
    with pytest.raises(InputError, match="name a --folder"):
        CliRunner().invoke(app, ["fidelity"], catch_exceptions=False)
