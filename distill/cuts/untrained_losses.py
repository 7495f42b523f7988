"""What students lose as they are cut, on the blocks that cuts are judged on; each is kept in the home.

It costs a forward pass, and no training: of all that is known of a student before it is trained, it says most.
"""

import hashlib
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from distilsearch import strict
from distilsearch.architecture import Architecture
from distilsearch.errors import TrialError
from distilsearch.home import targets_folder, write_atomically
from distilsearch.progress import Between, nothing

from ..heldout.heldout import heldout_loss
from ..students.student import build_student
from ..targets.cache import outputs_key
from ..teachers.teacher import Teacher
from ..texts.data import Text, learnt_name
from .judging import FEWEST_BLOCKS, name_of_shown, shown


def untrained_losses(
    teacher: Teacher, text: Text, students: Sequence[Architecture], seed: int = 0, between: Between = nothing
) -> list[float | None]:
    """The loss of each student before its first step; None of one that cannot be cut, or says no number."""
    losses = []
    some, asked = shown(text, FEWEST_BLOCKS), outputs_key(teacher)
    for student in students:
        between()
        place = partial(_place, asked, student, seed)
        path = place(learnt_name(text, place))
        loss = _read(path)
        if loss is None and (loss := _measured(teacher, text, some, student, seed)) is not None:
            write_atomically(path, json.dumps({"loss": loss}))
        losses.append(loss)
    return losses


def _place(teacher: str, student: Architecture, seed: int, text: str) -> Path:
    content = [1, teacher, name_of_shown(text, FEWEST_BLOCKS), seed, student.to_json()]
    named = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
    return targets_folder() / f"cut-{named}.json"


def _measured(teacher: Teacher, text: Text, some: Text, student: Architecture, seed: int) -> float | None:
    """Cut as a training would cut it, from the statistics of the whole text."""
    try:
        model, basis = build_student(teacher, student, text, seed)
        return heldout_loss(teacher, some, model.eval(), student, ending=teacher.ending.cut(basis))
    except TrialError:
        return None


def _read(path: Path) -> float | None:
    try:
        return strict.number(strict.table(strict.read_json(path), "a loss")["loss"], "loss")
    except (OSError, ValueError, KeyError, TypeError):
        return None
