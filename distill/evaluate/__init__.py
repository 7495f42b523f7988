"""Evaluations of finished models, one file a task family; `EVALUATIONS` lists them.

An evaluation takes a model's folder and answers with scores by name, so that an archive can keep them by evaluation,
held-out data and artefact. A new one is one file with a class that fulfils `evaluation.Evaluation`, and one line here.
"""

import inspect
from pathlib import Path
from typing import Any

from distilsearch.errors import unknown
from distilsearch.progress import Between, Progress, nothing, silent

from ..teachers.teacher import Teacher
from ..texts.data import Text
from .agreement import Heldout
from .embedding import Similarity
from .evaluation import Evaluation, Given, Maker, Subject
from .glue import Glue
from .next_sentence import NextSentence
from .words import WordsKnown

__all__ = [
    "EVALUATIONS", "Evaluation", "Given", "Glue", "Heldout", "NextSentence", "Similarity", "WordsKnown",
    "evaluate_model", "open_evaluation",
]  # fmt: skip

EVALUATIONS: dict[str, Maker] = {
    "glue": Glue.of,
    "heldout": Heldout.of,
    "next_sentence": NextSentence.of,
    "similarity": Similarity.of,
    "words": WordsKnown.of,
}
"""How to make each known evaluation of what is given; a plugin may add its own."""


def open_evaluation(
    name: str,
    file: Path | None = None,
    teacher: Teacher | None = None,
    text: Text | None = None,
    prompt: str = "",
    reader: Teacher | None = None,
    between: Between = nothing,
    progress: Progress = silent,
    **options: Any,
) -> Evaluation:
    """The evaluation of that name; an `InputError` names the nearest known one, or what it needs to be given.

    Args:
        file: what it is held against: a file, or a folder of some.
        between, progress: called between steps of long work; it may take its time, or raise `Interrupted`.
        options: its own.
    """
    if name not in EVALUATIONS:
        raise unknown("evaluation", name, EVALUATIONS)
    make = EVALUATIONS[name]
    taken = [*inspect.signature(make).parameters][1:]  # the first one is given
    for option in options:
        if option not in taken:
            raise unknown(f"option of the evaluation {name!r}", option, taken)
    return make(Given(file, teacher, text, prompt, reader, between, progress), **options)


def evaluate_model(model: Subject, pairs: Path) -> float:
    """Spearman correlation of a model's cosines with the scores of a csv of sentence pairs."""
    return open_evaluation("similarity", Path(pairs))(model)["spearman"]
