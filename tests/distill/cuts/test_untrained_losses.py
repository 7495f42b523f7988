"""What students lose as they are cut: kept by what they are cut from and judged on, found under its former name."""

import pytest

from distilsearch.distill.cuts import untrained_losses as module
from distilsearch.distill.cuts.untrained_losses import untrained_losses
from distilsearch.distill.students import inherit
from distilsearch.distill.students.inherit import statistics
from distilsearch.distill.texts.data import measured_on


@pytest.fixture
def other(text):
    """The same text, of which fewer blocks count."""
    return measured_on(text, len(text.heldout) - 1)


def test_students_are_judged_once_whatever_is_held_out(teacher, text, other, make_architecture, monkeypatch) -> None:
    students = [make_architecture(teacher), make_architecture(teacher, inherit="none")]
    losses = untrained_losses(teacher, text, students)
    monkeypatch.setattr(module, "_measured", None)
    assert untrained_losses(teacher, other, students) == losses


def test_losses_that_a_former_version_named_by_the_whole_text_are_found(
    teacher, text, other, make_architecture, monkeypatch
) -> None:
    student = make_architecture(teacher)
    losses = untrained_losses(teacher, text, [student])
    (path,) = module.targets_folder().glob("cut-*.json")
    path.rename(module._place(module.outputs_key(teacher), student, 0, text.sha256))
    assert untrained_losses(teacher, other, [student]) == losses  # not known by the other's name: measured
    monkeypatch.setattr(module, "_measured", None)
    assert untrained_losses(teacher, text, [student]) == losses


def test_what_a_teacher_shows_of_itself_is_measured_once_whatever_is_held_out(
    teacher, text, other, monkeypatch
) -> None:
    shown = statistics(teacher, text)
    monkeypatch.setattr(inherit, "_measure", None)
    assert statistics(teacher, other).heads.equal(shown.heads)
    path = inherit._place(teacher, text.learnt)
    path.rename(inherit._place(teacher, text.sha256))
    assert statistics(teacher, text).heads.equal(shown.heads)
