"""A student as it is cut from its teacher, before any step: what training is held against."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from .course import Course
from .evaluate import Evaluation
from .heldout.heldout import heldout_loss
from .store.trial import UNTRAINED, Trial
from .students.student import Student, build_student
from .supernets.supers import cut_from


def untrained(course: Course, trial: Trial) -> Student:
    """The student of a trial before its first step, in memory."""
    teacher, text, architecture = course.teacher, course.text, trial.architecture
    if course.start:
        model, basis = cut_from(course.start, teacher, architecture)
    else:
        model, basis = build_student(teacher, architecture, text, course.seed)
    ending = teacher.ending.cut(basis)
    loss = trial.untrained_loss
    if loss is None:
        loss = heldout_loss(teacher, text, model, architecture, ending=ending)
    return Student(architecture, model.eval(), teacher, loss, ((0, loss),), 0.0, 0, cut=ending)


def before_training(course: Course, trial: Trial, evaluation: Evaluation) -> Callable[[Path], Mapping[str, float]]:
    """What scores the student of a trial before its first step, instead of the one in the folder that is given."""

    def score(_: Path) -> Mapping[str, float]:
        with tempfile.TemporaryDirectory() as folder:
            return evaluation(untrained(course, trial).save(Path(folder) / UNTRAINED))

    return score
