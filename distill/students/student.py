"""A student: a stock transformers model cut from its teacher, and how it is saved.

The saved folder needs nothing of this package: `AutoModel.from_pretrained` loads it, and for embedding teachers
`SentenceTransformer` does, with the same outputs.
"""

import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distilsearch.architecture import Architecture
from distilsearch.errors import RunError, TrialError
from distilsearch.families import family
from distilsearch.home import ensure_folder, replace_folder
from distilsearch.places import STUDENT, own_folder

from ..quality import Bought
from ..teachers.ending import Ending
from ..teachers.surroundings import write_surroundings
from ..teachers.teacher import Teacher, quiet
from ..texts.data import Text
from .card import card
from .inherit import guide, statistics
from .judge import Judge, whole


@dataclass(frozen=True, eq=False)
class Student:
    """A trained student. `curve` holds (tokens, loss) on the held-out blocks, from 0 tokens on; `loss` is its last.

    `blocks`: by the tokens of a point of the curve that was taken on the first of these blocks alone, on how many.
    """

    architecture: Architecture
    model: Any
    teacher: Teacher
    loss: float
    curve: tuple[tuple[int, float], ...]
    seconds: float
    tokens: int
    about: Mapping[str, Any] = field(default_factory=dict)  # recipe, text, seed and precision, for the card
    cut: Ending | None = None  # what follows the model, where it is cut from the teacher's
    judge: Judge | None = None  # of pairs, trained beside the model
    parts: Mapping[str, float] = field(default_factory=dict)  # that the loss was made of, where it was
    probe: Bought | None = None  # its loss on a second text, where one was given
    blocks: Mapping[int, int] = field(default_factory=dict)

    @property
    def parameters(self) -> int:
        """Parameters of the model, tied ones once."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def ending(self) -> Ending:
        """What makes vectors of the model's states."""
        ending = self.cut or self.teacher.ending
        if ending.width not in (None, int(self.architecture["width"])):
            raise TrialError(
                f"the student is {self.architecture['width']} wide and its Dense module reads {ending.width}; give "
                "`cut`, the teacher's ending cut to the student's directions"
            )
        return ending

    @property
    def length(self) -> int:
        """The most tokens of a text: the teacher's own limit, or as many as the positions of both allow."""
        positions = int(self.architecture["positions"]) - self.teacher.facts.positions
        return min(self.teacher.surroundings.length, self.teacher.longest + positions)

    @property
    def whole(self) -> Any:
        """The stock model that is saved: with the head that judges pairs, where one was trained and its type has it."""
        return self.model if self.judge is None else whole(self.model, self.judge)

    def save(self, path: Path | str) -> Path:
        """Write a stock checkpoint; the folder appears whole or not at all, and replaces an older student.

        Raises:
            RunError: `path` holds something else, or cannot be written.
        """
        target = own_folder(path, STUDENT)
        ensure_folder(target.parent)
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        try:
            with quiet():
                self.whole.save_pretrained(str(temporary))
            self.teacher.tokenizer.save_pretrained(str(temporary))
            if self.teacher.kind == "embedding":
                width = int(self.architecture["width"])
                write_surroundings(temporary, self.teacher.surroundings, self.ending, width, self.length)
            (temporary / "README.md").write_text(card(self), encoding="utf-8")
            replace_folder(temporary, target)
        except OSError as error:
            raise RunError(f"cannot save the student to {target}: {error}; free space or name another") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return target


def build_student(
    teacher: Teacher, architecture: Architecture, text: Text, seed: int = 0, ordered: bool = False
) -> tuple[Any, Tensor]:
    """The student before training, cut from the teacher, and the basis (v, w) its hidden states live in.

    The gene `inherit` = "none" leaves it the random weights of the seed. `ordered` puts what matters most first, along
    every axis that the family's models are `sliced` by.
    """
    kind = family(architecture.family)
    _check(teacher, architecture, text)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind.build(architecture, teacher.config)
    rotates = family(teacher.facts.family).rotates
    guidance = guide(statistics(teacher, text), int(architecture["width"]), rotates, ordered)
    if architecture["inherit"] != "none":
        kind.inherit(model, teacher.model("cpu"), architecture, guidance)
    return model, guidance["basis"]


def _check(teacher: Teacher, architecture: Architecture, text: Text) -> None:
    facts = teacher.facts
    if teacher.config.model_type not in family(architecture.family).teachers:
        raise TrialError(f"a {architecture.family} student cannot be cut from the {facts.family} teacher {facts.name}")
    if architecture["vocabulary"] != facts.vocabulary:
        raise TrialError(
            f"the student's vocabulary of {architecture['vocabulary']} is not the teacher's {facts.vocabulary}: "
            "their tokens would not mean the same words; leave the gene to the teacher"
        )
    if architecture["head"] != facts.head:
        raise TrialError(f"the student's head is {architecture['head']!r}, the teacher's {facts.head!r}")
    cut = architecture.family == facts.family and architecture["inherit"] != "none" and teacher.kind != "causal"
    for gene in ("positions", "types", "embedding") if cut else ():
        if architecture.values.get(gene, getattr(facts, gene)) != getattr(facts, gene):
            raise TrialError(
                f"the student's {gene} of {architecture[gene]} is not the teacher's {getattr(facts, gene)}, whose "
                "tables it starts from; leave the gene to the teacher"
            )
    longest = int(architecture["positions"]) - facts.positions + teacher.longest
    if text.block > longest:
        raise TrialError(
            f"blocks of {text.block} tokens do not fit a student of {longest}; read the text in shorter blocks, "
            "or leave the positions to the teacher"
        )
