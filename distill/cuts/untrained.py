"""What students lose as they are cut, on the blocks that cuts are judged on; each is kept in the home.

It costs a forward pass, and no training: of all that is known of a student before it is trained, it says most.
"""

import hashlib
import json
from collections.abc import Sequence
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
from ..texts.data import Text
from .judging import FEWEST_BLOCKS, shown


def untrained_losses(
    teacher: Teacher, text: Text, students: Sequence[Architecture], seed: int = 0, between: Between = nothing
) -> list[float | None]:
    """The loss of each student before its first step; None of one that cannot be cut, or says no number."""
    losses = []
    some = shown(text, FEWEST_BLOCKS)
    for student in students:
        between()
        content = json.dumps([1, outputs_key(teacher), some.sha256, seed, student.to_json()], sort_keys=True)
        path = targets_folder() / f"cut-{hashlib.sha256(content.encode()).hexdigest()[:32]}.json"
        loss = _read(path)
        if loss is None and (loss := _measured(teacher, text, some, student, seed)) is not None:
            write_atomically(path, json.dumps({"loss": loss}))
        losses.append(loss)
    return losses


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
