"""Students finished together: a live teacher is asked once for all of them, whatever each has behind it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distilsearch.architecture import Architecture
from distilsearch.distill.course import Course
from distilsearch.distill.recipes import EMBEDDING, View
from distilsearch.distill.steps import runs
from distilsearch.distill.store.archive import Archive
from distilsearch.distill.store.trial import Trial
from distilsearch.distill.targets import targets as module
from distilsearch.distill.teachers.teacher import Teacher
from distilsearch.distill.texts.data import Text, load_text
from distilsearch.errors import Interrupted

RECIPE = replace(EMBEDDING, batch_tokens=256, warmup_tokens=256, views=(View(), View(16, 0.2)))
STEP, SHORT, LONGER, FINAL = 256, 1_024, 4_096, 8_192  # tokens
MODEL = "student/model.safetensors"
Make = Callable[..., Any]


class Finish:
    """Students in an archive of their own, each with a training of some length behind it, that are trained further."""

    def __init__(self, folder: Path, teacher: Teacher, text: Text, had: dict[Architecture, int]) -> None:
        self.archive, self.teacher, self.text, self.students = Archive(folder), teacher, text, list(had)
        for student, tokens in had.items():
            if tokens:
                self.train([student], tokens)

    def train(self, students: list[Architecture], tokens: int, **conditions: Any) -> list[Trial]:
        """Train with a live teacher."""
        training = Course(self.teacher, self.text, RECIPE, tokens, 0, "float32").training
        asked = (self.teacher, self.text, students, RECIPE, training)
        trials = self.archive.distil(*asked, cache_limit=0, **conditions)
        assert all(isinstance(trial, Trial) for trial in trials)
        return trials

    def end(self, **conditions: Any) -> list[Trial]:
        """Finish all of them together."""
        return self.train(self.students, FINAL, **conditions)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The batches that the teacher was asked about."""
    batches: list[bytes] = []
    ask = module.ask_teacher

    def count(teacher: Teacher, batch: Any, *more: Any) -> Any:
        batches.append(batch.input_ids.numpy().tobytes())
        return ask(teacher, batch, *more)

    monkeypatch.setattr(module, "ask_teacher", count)
    return batches


def students(teacher: Teacher, make: Make) -> dict[Architecture, int]:
    """Students, and how long each was trained before: one has a short, one a longer training behind it, one none."""
    sizes: list[dict[str, int]] = [{"layers": 2}, {"layers": 1}, {"layers": 1, "width": 64, "heads": 4}]
    return dict(zip([make(teacher, **genes) for genes in sizes], (SHORT, LONGER, 0), strict=True))


@pytest.fixture
def had(teacher: Teacher, make_architecture: Make) -> dict[Architecture, int]:
    """See `students`."""
    return students(teacher, make_architecture)


@pytest.fixture(scope="module")
def finished_alone(
    teacher: Teacher, text_file: Path, make_architecture: Make, tmp_path_factory: pytest.TempPathFactory
) -> list[Trial]:
    """The same, each finished by itself."""
    folder = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTILSEARCH_HOME", str(folder / "home"))
        behind = students(teacher, make_architecture)
        one = Finish(folder / "trials", teacher, load_text([str(text_file)], teacher, 32, 0.2), behind)
        return [one.train([student], FINAL)[0] for student in behind]


def same(ours: list[Trial], theirs: list[Trial]) -> None:
    """Equal to the bit."""
    assert [trial.files[MODEL] for trial in ours] == [trial.files[MODEL] for trial in theirs]
    assert [(trial.loss, trial.curve) for trial in ours] == [(trial.loss, trial.curve) for trial in theirs]


def test_the_teacher_is_asked_once_about_each_batch_for_students_of_trunks_of_all_lengths(
    teacher: Teacher,
    text: Text,
    had: dict[Architecture, int],
    finished_alone: list[Trial],
    asked: list[bytes],
    tmp_path: Path,
) -> None:
    together = Finish(tmp_path / "together", teacher, text, had)
    asked.clear()
    same(together.end(), finished_alone)
    assert len(asked) == FINAL // STEP  # the one that has nothing behind it needs all steps, the others join it
    assert not list(module.open_set("none").parent.glob("set-*/*.safetensors"))  # it was a live one


def test_steps_that_all_have_behind_them_are_not_asked_about(
    teacher: Teacher, text: Text, had: dict[Architecture, int], asked: list[bytes], tmp_path: Path
) -> None:
    two = {student: tokens for student, tokens in had.items() if tokens}
    together = Finish(tmp_path / "together", teacher, text, two)
    asked.clear()
    together.end()
    assert len(asked) == (FINAL - SHORT // 2) // STEP  # from where the rate of the shorter training began to fall


@pytest.mark.parametrize("stopped", [True, False], ids=["stopped", "killed between two checkpoints"])
def test_a_finish_that_goes_on_asks_about_what_is_missing_alone(
    stopped: bool,
    teacher: Teacher,
    text: Text,
    had: dict[Architecture, int],
    finished_alone: list[Trial],
    asked: list[bytes],
    tmp_path: Path,
) -> None:
    together, end = Finish(tmp_path / "together", teacher, text, had), 20
    asked.clear()

    def stop() -> None:
        if len(asked) == end:
            raise Interrupted("stopped")

    save = runs.Run.save

    def killed(run: runs.Run, path: Path) -> None:
        save(run, path)
        if run.step == end:
            raise KeyboardInterrupt  # the others' checkpoints are of the step before

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs.Run, "save", save if stopped else killed)
        conditions: dict[str, Any] = {"between": stop} if stopped else {"checkpoint_seconds": 0.0}
        with pytest.raises(Interrupted if stopped else KeyboardInterrupt):
            together.end(**conditions)
    assert len(asked) == end
    same(together.end(), finished_alone)
    assert len(asked) == FINAL // STEP + (0 if stopped else 1)
