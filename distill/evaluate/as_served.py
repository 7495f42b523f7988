"""The held-out loss of a finished student as it is served: in a precision that is not the one it was trained to.

It is what `heldout` takes at the end of a training, of the same blocks, so the losses of one student compare. Torch
serves a model that was cast to its precision: weights, activations and what follows the transformer.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from distilsearch.errors import TrialError
from distilsearch.families import family
from distilsearch.operators import TORCH, Serving

from ..heldout import held_out
from ..job import Training
from ..judge import judge_of
from ..quality import ACCURACY, LOSS, Held
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
    if serving.runtime != TORCH:
        raise TrialError(f"nothing takes the loss of a student that {serving.runtime} serves in {serving.dtype}")
    held = _by_torch(folder, serving.dtype, teacher, text, quality)
    return {"loss": held.loss, **held.parts}


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
