"""Semantic textual similarity: Spearman correlation of a model's similarities with human scores.

Works on any embedding model, student or teacher, and reads text as sentence-transformers would: with its prompt, case
and length, and in the similarity that its folder names.
"""

import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from distilsearch.errors import InputError, TrialError
from distilsearch.families import family
from distilsearch.sheet import other_separator, read_sheet

from ..given import pairs_file
from ..students.student import Student
from ..teachers.teacher import Teacher, load_teacher
from .evaluation import Given, Subject

PAIRS = ("sentence1", "sentence2", "score")
HEADED = re.compile(r"[a-z_ ]*(score|label|similar|relate|rating|gold)[a-z_ ]*")  # how the third column is called


@dataclass(frozen=True)
class Similarity:
    """Sentence similarity on a csv of rows (sentence1, sentence2, score), both sentences after the same prompt."""

    pairs: Path
    prompt: str = ""
    name = "similarity"
    kinds = ("embedding",)

    @classmethod
    def of(cls, given: Given) -> "Similarity":
        """On the file that is given; an `InputError` where there is none, or it holds no pairs."""
        file = pairs_file(given.file)
        read_pairs(file)  # before a model is loaded for it
        return cls(file, given.prompt)

    @property
    def heldout(self) -> str:
        """A sha256 of the file, and of the prompt's name where there is one."""
        digest = hashlib.sha256(self.pairs.read_bytes())
        digest.update(self.prompt.encode())
        return digest.hexdigest()

    def __call__(self, model: Subject) -> dict[str, float]:
        """The Spearman correlation of a model's similarities with the scores."""
        value = sts_spearman(model, self.pairs, prompt=self.prompt)
        if not np.isfinite(value):
            raise TrialError(f"the correlation on {self.pairs} is not a number: all pairs look or count the same")
        return {"spearman": value}


def sts_spearman(model: str | Path | Teacher | Student, pairs: Path | str, batch: int = 64, prompt: str = "") -> float:
    """Spearman correlation on a csv of rows (sentence1, sentence2, score).

    Args:
        model: a folder, a name, a teacher, or a student in memory.
        prompt: the name of one of its prompts; "" is its default one.
    """
    subject = model if isinstance(model, Teacher | Student) else load_teacher(str(model))
    teacher = subject.teacher if isinstance(subject, Student) else subject
    if teacher.kind != "embedding":
        raise InputError(f"sentence similarity needs an embedding model; {teacher.name} is a {teacher.kind} model")
    subject = replace(subject, teacher=teacher.shown(prompt)) if isinstance(subject, Student) else teacher.shown(prompt)
    left, right, scores = read_pairs(Path(pairs))
    vectors = encode(subject, left + right, batch)
    alike = SIMILARITIES[teacher.surroundings.similarity](vectors[: len(left)], vectors[len(left) :])
    return float(spearmanr(alike.numpy(), np.asarray(scores)).statistic)


def read_pairs(path: Path) -> tuple[list[str], list[str], list[float]]:
    """Sentences and scores of a csv; an `InputError` names the line that is off, and does not quote it.

    The first line may be a header: one that names `sentence1`, `sentence2` and `score` says which columns to read;
    otherwise there are these three, in this order.
    """
    rows = read_sheet(path, header=False).rows
    if not rows:
        raise InputError(f"{path} is empty; expected lines of sentence, sentence, score")
    names = [cell.strip().lower() for cell in rows[0][1]]
    places = tuple(names.index(name) for name in PAIRS) if set(PAIRS) <= set(names) else None
    headed = places is not None or bool(len(names) == len(PAIRS) and HEADED.fullmatch(names[-1]))
    pairs = [_pair(f"{path}, line {line}", cells, places) for line, cells in rows[headed:]]
    if len(pairs) < 2:
        raise InputError(f"{path} holds {len(pairs)} pairs; at least two are needed")
    left, right, scores = zip(*pairs, strict=True)
    return list(left), list(right), list(scores)


def _pair(where: str, cells: Sequence[str], places: tuple[int, ...] | None) -> tuple[str, str, float]:
    if places is None and len(cells) != len(PAIRS):
        hint = other_separator(cells) or "; put a sentence with commas in double quotes"
        raise InputError(f"{where} has {len(cells)} cells; expected three, sentence, sentence, score{hint}")
    if places is not None and max(places) >= len(cells):
        raise InputError(f"{where} has {len(cells)} cells, fewer than the header names")
    first, second, score = (cells[place] for place in places or range(len(PAIRS)))
    try:
        value = float(score)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(
            f"{where}: the score is no number; expected sentence, sentence, score (decimals with a point), and no"
            f" header but a first line such as {','.join(PAIRS)}"
        )
    return first, second, value


def encode(subject: Teacher | Student, texts: Sequence[str], batch: int = 64) -> Tensor:
    """(n, o) vectors of texts: those of `SentenceTransformer.encode` with the subject's prompt.

    Texts are lower-cased, cut and pooled as its folder says; longest first, in batches of similar length.
    """
    teacher = subject.teacher if isinstance(subject, Student) else subject
    if isinstance(subject, Student):
        model, architecture, longest = subject.model, subject.architecture, subject.length
    else:
        own = family(subject.facts.family).architecture(subject.facts)
        model, architecture, longest = subject.model(), own, subject.surroundings.length
    read, device = family(architecture.family).encode, next(model.parameters()).device
    ending = replace(subject.ending, skip=_skipped(teacher))
    ids = _ids(teacher, texts, longest)
    order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
    parts: list[Tensor] = []
    with torch.inference_mode():
        for start in range(0, len(order), batch):
            padded, mask = _padded([ids[i] for i in order[start : start + batch]], teacher.tokenizer.pad_token_id)
            inputs = {"input_ids": padded.to(device), "attention_mask": mask.to(device)}
            parts.append(ending.vectors(read(model, inputs).last_hidden_state, inputs["attention_mask"]).float().cpu())
    return torch.cat(parts)[torch.tensor(order).argsort()].clone()


def _ids(teacher: Teacher, texts: Sequence[str], longest: int) -> list[list[int]]:
    """Token ids of texts after the prompt; a text that is too long loses words where its tokenizer cuts, no frame."""
    before, after = map(len, teacher.frame)
    rows = [encoding.ids for encoding in teacher.reader.encode_batch_fast([teacher.prompt + text for text in texts])]
    for place, row in enumerate(rows):
        if (over := len(row) - longest) > 0:
            start = before if teacher.tokenizer.truncation_side == "left" else len(row) - after - over
            rows[place] = row[:start] + row[start + over :]
    return rows


def _skipped(teacher: Teacher) -> int:
    """How many first tokens are not pooled, counted as sentence-transformers counts those of a prompt."""
    if not teacher.prompt or teacher.surroundings.include_prompt:
        return 0
    ids = teacher.reader.encode(teacher.prompt).ids
    return len(ids) - (ids[-1] in teacher.tokenizer.all_special_ids)


def _padded(rows: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Rows of ids, the longest first, as ids (n, s) and their mask (n, s)."""
    padded = torch.full((len(rows), len(rows[0])), int(pad), dtype=torch.int64)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = torch.tensor(row)
    lengths = torch.tensor([len(row) for row in rows])
    return padded, (torch.arange(padded.shape[1])[None] < lengths[:, None]).long()


def _cosine(left: Tensor, right: Tensor) -> Tensor:
    left, right = (torch.nn.functional.normalize(x, dim=-1) for x in (left, right))
    return (left * right).sum(-1)


SIMILARITIES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {  # of vectors (n, o), by sentence-transformers' names
    "cosine": _cosine,
    "dot": lambda left, right: (left * right).sum(-1),
    "euclidean": lambda left, right: -(left - right).norm(dim=-1),
    "manhattan": lambda left, right: -(left - right).abs().sum(-1),
}
