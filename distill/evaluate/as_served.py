"""The held-out loss of a finished student as it is served: in a precision that is not the one it was trained to.

It is what `heldout` takes at the end of a training, of the same blocks, so the losses of one student compare. Torch
serves a model that was cast to its precision: weights, activations and what follows the transformer. Of any other
runtime it is the loss of the exported file, which lies beside the student from then on.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from distilsearch.errors import InputError, TrialError
from distilsearch.families import family
from distilsearch.operators import TORCH, Serving

from ..heldout.heldout import held_out
from ..job import Training
from ..quality import ACCURACY, LOSS, Held
from ..served.asked import check_ways
from ..served.kept import held_as_served
from ..served.samples import check_calibration
from ..students.judge import judge_of
from ..teachers.teacher import Teacher, load_teacher
from ..texts.data import Text

NAME = "served"  # of the scores that an archive keeps


def heldout_of(training: Training) -> str:
    """A sha256 of what the loss of a training's students is held against, and of what it is."""
    return hashlib.sha256(f"{training.teacher} {training.text} {training.quality}".encode()).hexdigest()


def served_loss(
    folder: Path, serving: Serving, teacher: Teacher, text: Text, quality: str = LOSS
) -> Mapping[str, float]:
    """The held-out loss of the student in a folder as it is served, and its parts, by name.

    Raises:
        TrialError: it cannot be served so, or its loss is not a number.
    """
    if serving.runtime == TORCH:
        held = _by_torch(folder, serving.dtype, teacher, text, quality)
    else:
        held = _exported(folder, serving, teacher, text, quality)
    return {"loss": held.loss, **held.parts}


def check_judged(servings: Iterable[Serving], text: Text) -> None:
    """Refuse servings whose packages are missing, that nothing exports to, or that the text is too short for."""
    ways = [(serving.runtime, serving.dtype) for serving in servings if serving.runtime != TORCH]
    check_ways(ways, text=True)
    check_calibration(ways, text)


def _exported(folder: Path, serving: Serving, teacher: Teacher, text: Text, quality: str) -> Held:
    """By the runtime; what the packages are there for and cannot do with this student is its own failure."""
    check_judged([serving], text)
    try:
        return held_as_served(folder, replace(serving, threads=None), teacher, text, quality)
    except InputError as error:
        raise TrialError(f"{serving.runtime} cannot serve {folder} in {serving.dtype}: {error}") from error


def _by_torch(folder: Path, dtype: str, teacher: Teacher, text: Text, quality: str) -> Held:
    student, number = load_teacher(str(folder)), getattr(torch, dtype)
    judge = judge_of(student) if quality == ACCURACY else None
    if quality == ACCURACY and judge is None:
        raise TrialError(f"the student in {folder} has lost the head that tells next sentences")
    architecture = family(student.facts.family).architecture(student.facts)
    ending = replace(student, prompt=teacher.prompt).ending
    try:
        model, judge = student.model().to(number), None if judge is None else judge.to(number)
        return held_out(teacher, text, model, architecture, ending=ending, judge=judge)
    except RuntimeError as error:  # a kernel that torch lacks for the precision
        raise TrialError(f"torch does not serve {folder} in {dtype} here: {error}") from error
