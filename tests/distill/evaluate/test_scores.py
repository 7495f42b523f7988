"""Scores by the names of evaluations: a kept student's are kept beside it, whatever folder it is asked by."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from distilsearch.cli import app
from distilsearch.distill.course import Course
from distilsearch.distill.evaluate.scores import evaluations, scores_of, trial_in
from distilsearch.distill.losses import KINDS
from distilsearch.distill.recipes import recipe
from distilsearch.distill.store.archive import Archive
from distilsearch.distill.store.trial import Trial
from distilsearch.distill.teachers.teacher import Teacher
from distilsearch.distill.texts.data import Text
from distilsearch.errors import InputError
from distilsearch.testing.glue_folders import write_task

TINY = recipe("embedding", batch_tokens=256)


class Counting:
    """An evaluation that says how often it has been asked."""

    name, kinds, heldout = "counting", KINDS, "0" * 64

    def __init__(self) -> None:
        self.asked: list[Path | str] = []

    def __call__(self, model: Any) -> dict[str, float]:
        self.asked.append(model)
        return {"times": float(len(self.asked))}


@pytest.fixture
def trial(teacher: Teacher, text: Text, make_architecture: Any) -> Trial:
    """A student in the archive."""
    course = Course(teacher, text, TINY, 512, 0, "float32")
    (made,) = Archive().distil(teacher, text, [make_architecture(teacher)], TINY, course.training)
    assert isinstance(made, Trial)
    return made


def test_the_score_of_a_kept_student_is_kept_and_found_by_its_copies(trial: Trial, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(trial.student, copy)
    (copy / "README.md").write_text("a card that says more")
    counting = Counting()
    for folder in (trial.student, copy, trial.student):
        assert scores_of(str(folder), counting) == {"times": 1.0}
    assert counting.asked == [trial.student]
    kept = Archive().find(trial.key)
    assert kept is not None
    assert [score.values for score in kept.scores if score.evaluation == "counting"] == [{"times": 1.0}]


def test_other_models_are_scored_each_time(trial: Trial, teacher: Teacher, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(trial.student, other)
    (other / "config.json").write_text((other / "config.json").read_text() + " ")
    assert trial_in(other, Archive()) is None
    counting = Counting()
    for model in (str(other), str(teacher.folder), str(other), "a hub name"):
        scores_of(model, counting)
    assert counting.asked == [str(other), str(teacher.folder), str(other), "a hub name"]


def test_a_sound_copy_of_a_damaged_student_is_scored_itself(trial: Trial, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(trial.student, copy)
    (trial.student / "model.safetensors").write_bytes(b"")
    counting = Counting()
    assert scores_of(str(copy), counting) == {"times": 1.0}
    assert counting.asked == [str(copy)]


def test_an_evaluation_is_made_of_each_file_or_of_teacher_and_text(
    teacher: Teacher, text_file: Path, tmp_path: Path
) -> None:
    files = [tmp_path / "a.csv", tmp_path / "b.csv"]
    for path in files:
        path.write_text("aaa,bbb,1\nbbb,ccc,2\n")
    assert [what for what, _ in evaluations("similarity", files)] == ["a.csv", "b.csv"]
    ((what, heldout),) = evaluations("heldout", (), str(teacher.folder), [str(text_file)])
    assert what == "heldout"
    assert heldout(teacher)["loss"] == pytest.approx(0, abs=1e-6)
    said: list[str] = []
    given = ("heldout", (), str(teacher.folder), [str(text_file)])
    ((_, fewer),) = evaluations(*given, progress=lambda what, *_: said.append(what), most_heldout=4)
    assert "the text is scored on 4 of 5 held-out blocks" in said
    assert fewer(teacher)["loss"] == pytest.approx(0, abs=1e-6)
    with pytest.raises(InputError, match="name the teacher too"):
        evaluations("heldout", (), "", [str(text_file)])
    with pytest.raises(InputError, match="name a csv"):
        evaluations("similarity")


def test_the_command_names_evaluations_and_plugins(teacher: Teacher, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("aaa bbb,aaa bbb,5\naaa ccc,aaa bbb,3\nfee fed,aaa bbb,0\n")
    done = CliRunner().invoke(app, ["evaluate", str(teacher.folder), "--on", str(pairs)], catch_exceptions=False)
    assert done.stdout.startswith("pairs.csv: spearman ")
    for words, message in (
        (["evaluate", str(teacher.folder), "--with", "similar"], "did you mean 'similarity'"),
        (["--plugin", "no_such_plugin", "evaluate", str(teacher.folder)], "'no_such_plugin' cannot be imported"),
    ):
        error = CliRunner().invoke(app, words).exception
        assert isinstance(error, InputError)
        assert message in str(error)


def test_several_models_are_scored_by_an_evaluation_with_options(
    teacher: Teacher, mlm_teacher: Teacher, tmp_path: Path
) -> None:
    folder = str(write_task(tmp_path / "RTE", "RTE"))
    options = [part for one in ("seeds=1", "epochs=1", "learning_rates=[1e-4]") for part in ("--option", one)]
    asked = ["evaluate", str(teacher.folder), str(mlm_teacher.folder), "--with", "glue", "--on", folder, *options]
    done = CliRunner().invoke(app, asked, catch_exceptions=False)
    named = "RTE (seeds 1, epochs 1, learning_rates [0.0001]): accuracy"
    lines = [line for line in done.stdout.splitlines() if "accuracy" in line]
    assert [line.partition(": accuracy")[0] for line in lines] == [
        f"{model.folder}, {named}".removesuffix(": accuracy") for model in (teacher, mlm_teacher)
    ]
    plain = json.loads(CliRunner().invoke(app, [*asked, "--json"], catch_exceptions=False).stdout)
    assert set(plain["models"]) == {str(teacher.folder), str(mlm_teacher.folder)}
    with pytest.raises(InputError, match="options of evaluation 'glue': seeds: expected a whole number"):
        CliRunner().invoke(app, [*asked[:-6], "--option", "seeds=few"], catch_exceptions=False)
