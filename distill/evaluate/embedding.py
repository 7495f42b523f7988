"""Semantic textual similarity: Spearman correlation of a model's cosines with human scores.

Works on any saved embedding model, student or teacher, through this package's own loading.
"""

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from distilsearch.architecture import Architecture
from distilsearch.errors import InputError, TrialError
from distilsearch.families import family
from distilsearch.sheet import other_separator, read_sheet

from ..teacher import Teacher, load_teacher
from .evaluation import Given, Subject

PAIRS = ("sentence1", "sentence2", "score")
HEADED = re.compile(r"[a-z_ ]*(score|label|similar|relate|rating|gold)[a-z_ ]*")  # how the third column is called


@dataclass(frozen=True)
class Similarity:
    """Sentence similarity on a csv of rows (sentence1, sentence2, score)."""

    pairs: Path
    name = "similarity"
    kinds = ("embedding",)

    @classmethod
    def of(cls, given: Given) -> "Similarity":
        """On the file that is given."""
        if given.file is None or not given.file.is_file():
            raise InputError(f"there is no file {given.file}; name a csv of sentence, sentence, score")
        return cls(given.file)

    @property
    def heldout(self) -> str:
        """A sha256 of the file."""
        return hashlib.sha256(self.pairs.read_bytes()).hexdigest()

    def __call__(self, model: Subject) -> dict[str, float]:
        """The Spearman correlation of a model's cosines with the scores."""
        value = sts_spearman(model, self.pairs)
        if not np.isfinite(value):
            raise TrialError(f"the correlation on {self.pairs} is not a number: all pairs look or count the same")
        return {"spearman": value}


def sts_spearman(model: str | Path | Teacher, pairs: Path | str, batch: int = 64, longest: int = 128) -> float:
    """Spearman correlation on a csv of rows (sentence1, sentence2, score); `model` is a folder, name or teacher."""
    teacher = model if isinstance(model, Teacher) else load_teacher(str(model))
    if teacher.kind != "embedding":
        raise InputError(f"sentence similarity needs an embedding model; {teacher.name} is a {teacher.kind} model")
    architecture = family(teacher.facts.family).architecture(teacher.facts)
    return model_spearman(teacher.model(), architecture, teacher.tokenizer, pairs, batch, longest)


def model_spearman(
    model: Any, architecture: Architecture, tokenizer: Any, pairs: Path | str, batch: int = 64, longest: int = 128
) -> float:
    """The same for a model in memory."""
    left, right, scores = read_pairs(Path(pairs))
    vectors = embed(model, architecture, tokenizer, left + right, batch, longest)
    cosines = (vectors[: len(left)] * vectors[len(left) :]).sum(-1).numpy()
    return float(spearmanr(cosines, np.asarray(scores)).statistic)


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


def embed(
    model: Any, architecture: Architecture, tokenizer: Any, sentences: list[str], batch: int = 64, longest: int = 128
) -> Tensor:
    """(n, w) unit embeddings of sentences, longest first in batches of similar length."""
    serve, device = family(architecture.family).serve, next(model.parameters()).device
    ids = [encoding.ids for encoding in tokenizer.backend_tokenizer.encode_batch_fast(sentences)]
    ids = [row if len(row) <= longest else [*row[: longest - 1], row[-1]] for row in ids]
    order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
    vectors = torch.zeros(len(ids), int(architecture["width"]))
    with torch.inference_mode():
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            padded = torch.full((len(rows), len(ids[rows[0]])), int(tokenizer.pad_token_id), dtype=torch.int64)
            for place, row in enumerate(rows):
                padded[place, : len(ids[row])] = torch.tensor(ids[row])
            lengths = torch.tensor([len(ids[row]) for row in rows])
            mask = (torch.arange(padded.shape[1])[None] < lengths[:, None]).long()
            vectors[rows] = serve(model, architecture, padded.to(device), mask.to(device)).float().cpu()
    return vectors
