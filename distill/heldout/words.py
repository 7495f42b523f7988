"""How well a model knows the words of blocks that it was not trained on: hidden ones, or those that come next.

Which words are hidden, and how, depends on a block's place among the held-out ones alone, so that all students of a
teacher are asked for the same ones.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from distilsearch.architecture import Architecture
from distilsearch.families import family

from ..compute.precision import autocast
from ..recipes import View
from ..targets.batch import Batch, make_batch
from ..teachers.teacher import Teacher
from ..texts.data import BlockArray

ROWS = 32
MASK = 0.15
CHUNK = 1024  # rows of logits at a time


@dataclass(frozen=True)
class Words:
    """What a model made of `count` words: the mean cross-entropy in nats, and the share that it thought likeliest."""

    loss: float
    accuracy: float
    count: int

    @property
    def perplexity(self) -> float:
        """The number of words, all as likely, that it was as unsure between."""
        return math.exp(min(self.loss, 700.0))  # beyond, there is no such float


def words_of(
    teacher: Teacher, blocks: BlockArray, model: Any, architecture: Architecture, precision: str = "float32"
) -> Words:
    """Ask a model for the words of blocks (h, block), as its teacher's tokenizer reads them."""
    kind, device = family(architecture.family), next(model.parameters()).device

    def answers(batch: Batch) -> Iterator[Tensor]:
        shown = batch.to(device)
        with torch.inference_mode(), autocast(precision, device.type):
            hidden = kind.encode(model, {"input_ids": shown.input_ids}).last_hidden_state.flatten(0, 1)
            for place in range(0, len(shown.labels), CHUNK):
                chosen = hidden[shown.masked[place : place + CHUNK]]
                yield kind.decode(model, kind.transform(model, chosen)).float()

    return words_by(teacher, blocks, answers)


def words_by(teacher: Teacher, blocks: BlockArray, answers: Callable[[Batch], Iterable[Tensor]]) -> Words:
    """Ask whoever answers a batch with the logits (k, vocabulary) of its words, in parts, in their order."""
    total, right, count = 0.0, 0, 0
    for start in range(0, len(blocks), ROWS):
        batch = make_batch(teacher, blocks[start : start + ROWS], View(), MASK, (1 << 30, start))
        place = 0
        for logits in answers(batch):
            labels = batch.labels[place : place + len(logits)].to(logits.device)
            total += float(F.cross_entropy(logits, labels, reduction="sum"))
            right += int((logits.argmax(-1) == labels).sum())
            place += len(logits)
        count += len(batch.labels)
    return Words(total / count, right / count, count)
