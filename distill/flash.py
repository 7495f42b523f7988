"""Flash distillation: the short, complete schedule that ranks students in seconds.

Every trial sees the same tokens in the same order and ends its learning-rate schedule, so that what is compared
are finished short runs, not beginnings of long ones.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path

from distilsearch.architecture import Architecture
from distilsearch.progress import Progress, silent

from . import FLASH_TOKENS
from .recipes import Recipe, default_recipe
from .students.student import Student
from .teachers.teacher import Teacher
from .texts.data import Text
from .training import distill_student


def flash_distill(
    teacher: Teacher,
    architecture: Architecture,
    text: Text,
    recipe: Recipe | None = None,
    tokens: int = FLASH_TOKENS,
    seed: int = 0,
    precision: str = "auto",
    folder: Path | None = None,
    progress: Progress = silent,
) -> Student:
    """A student after a short schedule."""
    chosen = recipe or default_recipe(teacher.kind)
    return distill_student(teacher, architecture, text, chosen, tokens, seed, precision, folder, progress)


def area(curve: Sequence[tuple[int, float]]) -> float:
    """The mean held-out loss over a run's tokens, by the trapezoid rule from its first measurement in training on."""
    curve = [(tokens, loss) for tokens, loss in curve if tokens]
    if len(curve) == 1:
        return curve[0][1]
    pairs = itertools.pairwise(curve)
    total = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairs)
    return total / (curve[-1][0] - curve[0][0])
