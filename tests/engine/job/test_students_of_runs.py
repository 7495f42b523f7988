"""What lies in a run's `students/`: the front, brought back where it has gone; nothing of the user's is touched."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from distilsearch.cli import app
from distilsearch.engine.job.again import report_again
from distilsearch.engine.job.exports import export_students, remarks
from distilsearch.engine.report.files import read_result

OLD = Path(__file__).parents[2] / "old" / "0.1.0"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run whose students have gone from its folder, and lie in the home's trials."""
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path / "home"))
    shutil.copytree(OLD / "trials", tmp_path / "home" / "trials")
    for trial in (tmp_path / "home" / "trials").iterdir():  # what was kept for tests has no weights
        (trial / "student" / "config.json").touch()
    return Path(shutil.copytree(OLD / "run", tmp_path / "run"))


def _keys(run: Path) -> list[str]:
    return [member.key for member in read_result(run).front]


def test_a_report_brings_back_students_that_have_gone(run: Path) -> None:
    shutil.rmtree(run / "students", ignore_errors=True)
    result, said = report_again(run)
    keys = _keys(run)
    assert keys
    assert [path.name for path in sorted((run / "students").iterdir())] == sorted(keys)
    assert all(f"the student {key} had gone" in line for key, line in zip(keys, said, strict=True))
    assert report_again(run) == (result, [])
    shutil.rmtree(run / "students" / keys[0])
    done = CliRunner().invoke(app, ["report", str(run)], catch_exceptions=False)
    assert f"note: the student {keys[0]} had gone" in done.stderr
    assert (run / "students" / keys[0] / "README.md").exists()


def test_students_that_nobody_has_are_named(run: Path, tmp_path: Path) -> None:
    shutil.rmtree(run / "students", ignore_errors=True)
    shutil.rmtree(tmp_path / "home" / "trials")
    _, said = report_again(run)
    assert all(f"the student {key} is gone" in line for key, line in zip(_keys(run), said, strict=True))
    assert f"`distilsearch distill {run} {_keys(run)[0]} --out DIR` trains it again" in said[0]


def test_what_a_user_put_in_a_students_place_is_left_and_named(run: Path, tmp_path: Path) -> None:
    report_again(run)
    key, *others = _keys(run)
    place = run / "students" / key
    shutil.rmtree(place)
    place.mkdir()
    (place / "thesis.tex").write_text("years of work")
    trial = next((tmp_path / "home" / "trials").iterdir()) / "student"
    assert export_students(run, dict.fromkeys([key, *others], trial), {}) == {k: f"students/{k}" for k in others}
    assert [path.name for path in place.iterdir()] == ["thesis.tex"]
    assert f"{place} holds something else than the student {key}; move it away" in report_again(run)[1][0]
    shutil.rmtree(place)
    (tmp_path / "elsewhere").mkdir()
    place.symlink_to(tmp_path / "elsewhere")
    assert key not in export_students(run, {key: trial})
    assert not [*(tmp_path / "elsewhere").iterdir()]


def test_students_of_earlier_calls_stay_and_are_named(run: Path) -> None:
    report_again(run)
    first, *_ = _keys(run)
    for name in ("0123456789ab", "cba987654321"):
        shutil.copytree(run / "students" / first, run / "students" / name)
    (run / "students" / "notes").mkdir()
    (said,) = remarks(run, read_result(run))
    assert said.endswith("no longer on the front: 0123456789ab, cba987654321")
    assert (run / "students" / "cba987654321").exists()


def test_a_student_without_its_trial_is_still_the_runs(run: Path, tmp_path: Path) -> None:
    report_again(run)
    keys = _keys(run)
    (run / "students" / keys[0] / "onnx").mkdir()
    (run / "students" / keys[0] / "onnx" / "model.onnx").write_text("converted")
    trial = next((tmp_path / "home" / "trials").iterdir()) / "student"
    there = export_students(run, {keys[0]: trial}, {key: {} for key in keys})
    assert there == {key: f"students/{key}" for key in keys}
    assert (run / "students" / keys[0] / "onnx" / "model.onnx").read_text() == "converted"
    assert json.loads((run / "result.json").read_text())["front"]
