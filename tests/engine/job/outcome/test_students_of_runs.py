"""What lies in a run's `students/`: the front, or who is missing by name; nothing of the user's is touched."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from distilsearch.cli import app
from distilsearch.distill.store.trial import read_trial
from distilsearch.engine.job.outcome.exports import export_students
from distilsearch.engine.report.files import read_result
from distilsearch.engine.report.students import remarks

OLD = Path(__file__).parents[3] / "old" / "0.1.0"
KEPT = read_trial(sorted((OLD / "trials").iterdir())[0])
TRIAL = KEPT.student


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run, its students as a search leaves them."""
    run = Path(shutil.copytree(OLD / "run", tmp_path / "run"))
    shutil.rmtree(run / "students")
    for key in _keys(run):
        shutil.copytree(TRIAL, run / "students" / key)
    return run


def _keys(run: Path) -> list[str]:
    return [member.key for member in read_result(run).front]


def test_a_run_with_all_its_students_needs_no_word(run: Path) -> None:
    assert [*remarks(run, read_result(run))] == []


@pytest.mark.parametrize("gone", ["one", "all"])
def test_students_that_have_gone_are_named_and_searching_again_brings_them_back(run: Path, gone: str) -> None:
    first, *_ = keys = _keys(run)
    missing = keys if gone == "all" else [first]
    shutil.rmtree(run / "students" / first)
    if gone == "all":
        shutil.rmtree(run / "students")
    done = CliRunner().invoke(app, ["report", str(run)], catch_exceptions=False)
    said = [line for line in done.stderr.splitlines() if line.startswith("note: the student ")]
    assert [line.split()[3] for line in said] == missing
    assert f"`distilsearch distill {run} {first} --out DIR` trains it again" in said[0]
    assert export_students(run, dict.fromkeys(keys, KEPT)) == {key: f"students/{key}" for key in keys}
    assert [*remarks(run, read_result(run))] == []


def test_what_a_user_put_in_a_students_place_is_left_and_named(run: Path, tmp_path: Path) -> None:
    key, *others = keys = _keys(run)
    place = run / "students" / key
    shutil.rmtree(place)
    place.mkdir()
    (place / "thesis.tex").write_text("years of work")
    assert export_students(run, dict.fromkeys(keys, KEPT)) == {k: f"students/{k}" for k in others}
    assert [path.name for path in place.iterdir()] == ["thesis.tex"]
    (said,) = remarks(run, read_result(run))
    assert said == f"{place} holds something else than the student {key}; move it away and search again"
    shutil.rmtree(place)
    (tmp_path / "elsewhere").mkdir()
    place.symlink_to(tmp_path / "elsewhere")
    assert key not in export_students(run, {key: KEPT})
    assert not [*(tmp_path / "elsewhere").iterdir()]


def test_students_of_earlier_calls_stay_and_are_named(run: Path) -> None:
    for name in ("0123456789ab", "cba987654321"):
        shutil.copytree(TRIAL, run / "students" / name)
    (run / "students" / "notes").mkdir()
    (said,) = remarks(run, read_result(run))
    assert said.endswith("no longer on the front: 0123456789ab, cba987654321")
    export_students(run, dict.fromkeys(_keys(run), KEPT))
    assert (run / "students" / "cba987654321").exists()


def test_a_student_whose_trial_has_gone_is_still_the_runs_and_additions_to_it_stay(run: Path, tmp_path: Path) -> None:
    first, *others = keys = _keys(run)
    (run / "students" / first / "onnx").mkdir()
    (run / "students" / first / "onnx" / "model.onnx").write_text("converted")
    trials = {first: KEPT} | dict.fromkeys(others, replace(KEPT, home=tmp_path / "gone"))
    assert export_students(run, trials, {key: {} for key in keys}) == {key: f"students/{key}" for key in keys}
    assert (run / "students" / first / "onnx" / "model.onnx").read_text() == "converted"
