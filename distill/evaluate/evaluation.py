"""What every evaluation is: a name, what it is held against, and scores of a student's folder."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from distilsearch.progress import Between, Progress, nothing, silent

from ..teachers.teacher import Teacher
from ..texts.data import Text

Subject = str | Path | Teacher  # a folder or name of a model, or one that is loaded already


class Evaluation(Protocol):
    """Scores a model, however it was made: a student, its teacher, or what a runtime has made of it."""

    @property
    def name(self) -> str:
        """The name it is listed under."""
        ...

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of teacher whose students it scores."""
        ...

    @property
    def heldout(self) -> str:
        """A key of the data it is held against: equal keys, comparable scores."""
        ...

    def __call__(self, model: Subject) -> dict[str, float]:
        """Scores by name, finite; an `InputError` for a model of another kind."""
        ...


@dataclass(frozen=True, eq=False)
class Given:
    """What an evaluation may be made of; each takes what it needs and refuses to be made without."""

    file: Path | None = None
    teacher: Teacher | None = None
    text: Text | None = None
    prompt: str = ""  # the name of one of the model's own
    reader: Teacher | None = None  # whose tokens the text was cut into; the teacher where none is given
    between: Between = nothing  # to be called between steps of long work
    progress: Progress = silent  # is told of long work: who says nothing for long counts as hung


Maker = Callable[..., Evaluation]
"""Makes an evaluation of a `Given`; its further arguments, with defaults, are its options, as plain values."""
