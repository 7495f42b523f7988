"""Evaluations of finished models, one file a task family; `EVALUATIONS` lists them.

An evaluation takes a model's folder and answers with scores by name, so that an archive can keep them by evaluation,
held-out data and artefact. A new one is one file with a class that fulfils `evaluation.Evaluation`, and one line here.
"""

from pathlib import Path

from distilsearch.errors import unknown

from ..data import Text
from ..teacher import Teacher
from .agreement import Heldout
from .embedding import Similarity
from .evaluation import Evaluation, Given, Maker, Subject
from .next_sentence import NextSentence
from .words import WordsKnown

__all__ = [
    "EVALUATIONS", "Evaluation", "Given", "Heldout", "NextSentence", "Similarity", "WordsKnown", "evaluate_model",
    "open_evaluation",
]  # fmt: skip

EVALUATIONS: dict[str, Maker] = {
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
) -> Evaluation:
    """The evaluation of that name; an `InputError` names the nearest known one, or what it needs to be given."""
    if name not in EVALUATIONS:
        raise unknown("evaluation", name, EVALUATIONS)
    return EVALUATIONS[name](Given(file, teacher, text, prompt, reader))


def evaluate_model(model: Subject, pairs: Path) -> float:
    """Spearman correlation of a model's cosines with the scores of a csv of sentence pairs."""
    return open_evaluation("similarity", Path(pairs))(model)["spearman"]
