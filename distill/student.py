"""A student: a stock transformers model cut from its teacher, and how it is saved.

The saved folder needs nothing of this package: `AutoModel.from_pretrained` loads it, and for embedding teachers
`SentenceTransformer` does, with the same outputs.
"""

import json
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

from .card import card
from .data import Text
from .inherit import guide, statistics
from .teacher import Teacher, quiet


@dataclass(frozen=True, eq=False)
class Student:
    """A trained student. `curve` holds (tokens, loss) on the held-out blocks; `loss` is its last point."""

    architecture: Architecture
    model: Any
    teacher: Teacher
    loss: float
    curve: tuple[tuple[int, float], ...]
    seconds: float
    tokens: int
    about: Mapping[str, Any] = field(default_factory=dict)  # recipe, text, seed and precision, for the card

    @property
    def parameters(self) -> int:
        """Parameters of the model, tied ones once."""
        return sum(parameter.numel() for parameter in self.model.parameters())

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
                self.model.save_pretrained(str(temporary))
            self.teacher.tokenizer.save_pretrained(str(temporary))
            if self.teacher.kind == "embedding":
                _write_sentence_files(temporary, self)
            (temporary / "README.md").write_text(card(self), encoding="utf-8")
            replace_folder(temporary, target)
        except OSError as error:
            raise RunError(f"cannot save the student to {target}: {error}; free space or name another") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return target


def build_student(teacher: Teacher, architecture: Architecture, text: Text, seed: int = 0) -> tuple[Any, Tensor]:
    """The student before training, cut from the teacher, and the basis (v, w) its hidden states live in.

    The gene `inherit` = "none" leaves it the random weights of the seed.
    """
    kind = family(architecture.family)
    _check(teacher, architecture, text)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind.build(architecture, teacher.config)
    rotates = family(teacher.facts.family).rotates
    guidance = guide(statistics(teacher, text), int(architecture["width"]), rotates)
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


def _write_sentence_files(folder: Path, student: Student) -> None:
    prefix = "sentence_transformers.models"
    names = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"{prefix}.{name}"} for i, (path, name) in enumerate(names)
    ]
    pool = str(student.architecture["pool"])
    modes = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens", "mean_sqrt": "mean_sqrt_len_tokens"}
    pooling = {"word_embedding_dimension": int(student.architecture["width"])}
    pooling |= {f"pooling_mode_{mode}": name == pool for name, mode in modes.items()}
    for path, _ in names:
        ensure_folder(folder / path)
    _dump(folder / "modules.json", modules)
    _dump(folder / "1_Pooling" / "config.json", pooling)
    _dump(folder / "2_Normalize" / "config.json", {})
    longest = {"max_seq_length": _longest(student), "do_lower_case": False}
    _dump(folder / "sentence_bert_config.json", longest)


def _longest(student: Student) -> int:
    """The teacher's own limit on sentence length, or as much as the positions of both allow."""
    longest = student.teacher.longest - student.teacher.facts.positions + int(student.architecture["positions"])
    try:
        settings = json.loads((student.teacher.folder / "sentence_bert_config.json").read_text(encoding="utf-8"))
        return min(longest, int(settings["max_seq_length"]))
    except (OSError, ValueError, KeyError, TypeError):
        return longest


def _dump(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
