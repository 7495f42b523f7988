"""Semantic textual similarity: Spearman correlation of a model's cosines with human scores.

Works on any saved embedding model, student or teacher, through this package's own loading.
"""

import csv
import hashlib
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

from ..teacher import Teacher, load_teacher
from .evaluation import Given, Subject


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
    """Sentences and scores of a csv without header; an `InputError` names the row that is off."""
    left, right, scores = [], [], []
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.reader(file), 1):
            try:
                first, second, score = row
                scores.append(float(score))
            except ValueError as error:
                raise InputError(f"{path} row {number}: expected sentence, sentence, score; got {row}") from error
            left.append(first)
            right.append(second)
    if len(scores) < 2:
        raise InputError(f"{path} holds {len(scores)} pairs; at least two are needed")
    return left, right, scores


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
