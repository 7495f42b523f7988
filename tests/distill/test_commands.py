"""The commands of distillation: winners of a run or one architecture, with a card; scores; bad input in one line."""

import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from distilsearch import cli
from distilsearch.cli import app
from distilsearch.cli_progress import stopped_by_interrupt
from distilsearch.distill.course import Course
from distilsearch.distill.material import Material
from distilsearch.distill.store import distilled
from distilsearch.distill.store.archive import Archive
from distilsearch.distill.store.deliver import Order, deliver
from distilsearch.distill.store.trial import TRUNK
from distilsearch.distill.teachers.teacher import Teacher, load_teacher
from distilsearch.engine.job.outcome.remeasure import measured_fidelity
from distilsearch.engine.job.outcome.winners import material, run_of, winners
from distilsearch.errors import InputError, Interrupted
from distilsearch.home import register_run

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
        {"key": "abb2", "architecture": large.to_json(), "loss": 0.3},
    ]
    serving = {"objective": "latency_ms", "device": "cpu", "serving": {"batch": 1, "sequence": 16}}
    result = {"schema": 1, "name": "run", "quality": "agreement", "objectives": ["loss", "latency_ms"], "reference": {}}
    result |= {"teacher": {"name": "tiny", "architecture": large.to_json()}, "targets": [serving]}
    (folder / "result.json").write_text(json.dumps(result | {"front": front, "trials": [], "knee": "aaa1"}))
    lines = [f"teacher = {json.dumps(str(teacher.folder))}", f"text = [{json.dumps(str(text_file))}]"]
    lines.append("text_block = 32")
    (folder / "run.toml").write_text("\n".join([*lines, "[train]", f"recipe = {json.dumps(str(recipe))}"]))
    return folder


def test_the_winner_of_a_run_gets_a_card(run_folder: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("aaa bbb,aaa bbb,5\naaa ccc,aaa bbb,3\nfee fed,aaa bbb,0\n")
    out = tmp_path / "student"
    words = ["distill", str(run_folder), "--out", str(out), "--tokens", "2000", "--pairs", str(pairs)]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0
    assert load_teacher(str(out)).facts.layers == 1
    card = (out / "README.md").read_text()
    assert re.search(r"pairs.csv, Spearman \| -?\d\.\d+ \(-?\d\.\d+ before training\)", card)
    for part in ("sha256", "recipe", "mine", "words.txt", "1.25", "pairs.csv, Spearman", "tokens"):
        assert part in card
    done = CliRunner().invoke(app, ["evaluate", str(out), "--pairs", str(pairs)], catch_exceptions=False)
    assert done.stdout.startswith("pairs.csv: ")
    copies = []
    for name, blocks in (("one", 99), ("two", 128)):  # of runs that measured on different numbers of blocks
        copies.append(str(shutil.copytree(out, tmp_path / name / "students" / "aaa1")))
        most = f"text_heldout = {blocks}\n"
        (tmp_path / name / "run.toml").write_text(most + (run_folder / "run.toml").read_text())
    done = CliRunner().invoke(app, ["evaluate", *copies, "--pairs", str(pairs)], catch_exceptions=False)
    assert [line.split(": ")[0] for line in done.stdout.splitlines()] == [f"{copy}, pairs.csv" for copy in copies]


def test_one_architecture(teacher: Teacher, text_file: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text(RECIPE)
    words = ["distill", "layers=2", "width=32", "heads=2", "ffn=64", "--out", str(tmp_path / "s"), "--tokens", "1000"]
    words += ["--teacher", str(teacher.folder), "--text", str(text_file), "--recipe", str(recipe)]
    words += ["--text-temperature", "2", "--text-tokens", "3000"]
    assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
    assert load_teacher(str(tmp_path / "s")).facts.width == 32
    with pytest.raises(InputError, match="layers must be a positive whole number"):
        CliRunner().invoke(app, ["distill", "layers=one", *words[2:]], catch_exceptions=False)
    with pytest.raises(InputError, match="needs --teacher"):
        CliRunner().invoke(app, words[:7], catch_exceptions=False)


def test_several_winners_train_side_by_side_and_go_on(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "both"
    for tokens in ("1500", "3000"):
        words = ["distill", str(run_folder), "aaa1", "abb2", "aaa1", "--out", str(out), "--tokens", tokens]
        done = CliRunner().invoke(app, words, catch_exceptions=False)
        assert done.exit_code == 0
        assert len(done.stdout.splitlines()) == 2
    assert {load_teacher(str(folder)).facts.layers for folder in out.iterdir()} == {1, 2}
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    with monkeypatch.context() as patched:
        patched.setattr(distilled, "train", None)
        assert CliRunner().invoke(app, words, catch_exceptions=False).stdout == done.stdout
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    weights = next(out.rglob("model.safetensors"))
    weights.write_bytes(b"damaged")
    CliRunner().invoke(app, words, catch_exceptions=False)
    assert weights.stat().st_size > 1_000
    for changed, message in ((["--tokens", "1500"], "3,072 tokens already"), (["--seed", "1"], "another architecture")):
        with pytest.raises(InputError, match=message):
            CliRunner().invoke(app, [*words, *changed], catch_exceptions=False)
    with pytest.raises(InputError, match="holds a student"):
        CliRunner().invoke(app, [*words, "--out", str(next(out.iterdir()))], catch_exceptions=False)
    assert len([*Archive().trials()]) == 4


def test_a_winner_goes_on_from_the_trunk_that_its_run_left(run_folder: Path, tmp_path: Path) -> None:
    """The run has trained it for 4,000 tokens, in the precision that it resolved and with its own seed."""
    with (run_folder / "run.toml").open("r+") as file:
        lines = file.read()
        file.seek(0)
        file.write("seed = 3\n" + lines)
    run = run_of(run_folder)
    teacher, text, recipe = material(run).opened()
    recipe = replace(recipe, warmup_tokens=500)
    (tmp_path / "mine.toml").write_text(RECIPE + "warmup_tokens = 500\n")
    training = Course(teacher, text, recipe, 4_000, 3, "bf16").training
    register_run(run_folder, [training.to_json()])
    (short,) = Archive().distil(teacher, text, [winners(run_folder)[0].architecture], recipe, training)
    assert (short.folder / TRUNK).exists()
    words = ["distill", str(run_folder), "--out", str(tmp_path / "student"), "--tokens", "12000"]
    assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
    assert not (short.folder / TRUNK).exists()  # it has been passed
    (long,) = Archive().matching(training.at(12_000))
    assert (tmp_path / "student" / "model.safetensors").read_bytes() == (
        long.student / "model.safetensors"
    ).read_bytes()


def test_the_first_interrupt_saves_and_the_second_ends(capsys: pytest.CaptureFixture[str]) -> None:
    former = signal.getsignal(signal.SIGINT)
    with stopped_by_interrupt() as between:
        between()
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Interrupted, match="continues where it was"):
            between()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is former
    assert "press again" in capsys.readouterr().err


def test_an_interrupted_command_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise Interrupted("stopped; the same command continues where it was")

    monkeypatch.setattr(cli, "app", stop)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "stopped; the same command continues where it was\n"


def test_what_is_not_a_student_is_not_written_over(run_folder: Path, tmp_path: Path) -> None:
    """And nothing is read before that is known: neither is the run's teacher there."""
    (run_folder / "run.toml").write_text('teacher = "/no/such"\ntext = ["/no/such"]\n')
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("years of work")
    for out, message in ((mine, "is not empty and holds no student"), (mine / "thesis.tex", "is a file")):
        with pytest.raises(InputError, match=message):
            CliRunner().invoke(app, ["distill", str(run_folder), "--out", str(out)], catch_exceptions=False)
    assert (mine / "thesis.tex").read_text() == "years of work"
    (tmp_path / "student.logs").write_text("mine")
    with pytest.raises(InputError, match=r"student.logs, which is a file"):
        deliver(Order(Material("/no/such", ()), {}, 1), tmp_path / "student", trackers=("tensorboard",))


def test_a_run_carries_its_measured_rank_fidelity(run_folder: Path) -> None:
    words = ["fidelity", str(run_folder), "--students", "3", "--fresh", "1"]
    for budget in (512, 1_536):
        words += ["--budgets", str(budget)]
    done = CliRunner().invoke(app, [*words, "--also", "kdnas"], catch_exceptions=False)
    assert done.stdout.startswith("measured: 512 against 1,536 tokens, 3 students; ranked by agreement; ")
    assert "loss at 512 tokens of kdnas: spearman" in done.stdout
    found = json.loads((run_folder / "result.json").read_text())["rank_fidelity"]
    assert -1 <= found["spearman"] <= 1
    assert {row["predictor"] for row in found["rows"]} == {"loss", "area", "trend", "parameters"}
    measured = measured_fidelity(run_folder)
    assert measured is not None
    assert measured.model_dump(mode="json") == found
    assert "512 against 1,536" in (run_folder / "report.html").read_text()
    assert len([*Archive().trials()]) == 9
