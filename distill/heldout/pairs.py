"""Pairs of texts out of held-out blocks, and how well a model tells which follow each other.

A pair is the two halves of a block. Those of blocks at even places are shown as they are; a block at an odd place is
shown with the second half of the one before it, which is of another place of the text (blocks are shuffled). So half of
the pairs follow, whoever knows nothing is right of one in two, and all students are asked about the same pairs. No word
is hidden.

What a pair needs is a text that goes on: a document that ends before the second half has begun says nothing of it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.optimize
import scipy.special
import torch
from torch import Tensor

from distilsearch.architecture import Architecture
from distilsearch.arrays import FloatArray
from distilsearch.errors import TextError
from distilsearch.families import family

from ..compute.precision import autocast
from ..students.judge import Judge
from ..targets.batch import alternate_pairs
from ..teachers.teacher import Teacher
from ..texts.data import BlockArray, Text
from .words import ROWS

FEWEST_WHOLE = 0.1  # share of blocks whose second half goes on with the first's document
FITTED = 1024  # training blocks that a head is fitted on, at most
PENALTY = 1e-2  # on the squared weights of that head, which reads standardised states


@dataclass(frozen=True)
class Judged:
    """The share of `count` pairs that were judged rightly."""

    accuracy: float
    count: int


def judged(
    teacher: Teacher,
    blocks: BlockArray,
    model: Any,
    architecture: Architecture,
    judge: Judge,
    precision: str = "float32",
) -> Judged:
    """Ask a model's judge about the pairs of blocks (h, block)."""
    first, follows = _states(teacher, blocks, model, architecture, precision)
    with torch.inference_mode():
        said = judge(first.to(judge.relation.weight)).float()
        right = int(((said[:, 0] > said[:, 1]).long().cpu() == follows).sum())
    return Judged(right / len(follows), len(follows))


def fitted_judge(teacher: Teacher, text: Text) -> tuple[Judge, int]:
    """A judge for a teacher that has none: a logistic regression on its first tokens' states, which stay as they are.

    Returns:
        The judge, and the number of training blocks that it was fitted on.
    """
    blocks = text.train[:FITTED]
    own = family(teacher.facts.family).architecture(teacher.facts)
    states, follows = _states(teacher, blocks, teacher.model(), own)
    mean, scale = states.mean(0), states.std(0).clamp(min=1e-6)
    best, bias = _regression(((states - mean) / scale).double().numpy(), follows.double().numpy())
    weight = torch.from_numpy(best).float() / scale
    relation = torch.nn.Linear(len(weight), 2)
    with torch.no_grad():
        relation.weight.copy_(torch.stack([weight, -weight]) / 2)
        relation.bias.copy_(torch.stack([one := bias - weight @ mean, -one]) / 2)
    return Judge(None, relation).requires_grad_(False), len(blocks)


def check_pairs(text: Text) -> None:
    """A `TextError` where the halves of a text's blocks are hardly ever of one document."""
    if text.whole is not None and text.whole < FEWEST_WHOLE:
        raise TextError(
            f"the text has no next sentences to tell: a pair is the two halves of a block of {text.block} tokens, and"
            f" in {text.whole:.0%} of the blocks both are of one document (one sentence a row, or a list, makes none);"
            " name text of longer documents, choose a smaller text_block, or a recipe without next_sentence and"
            ' quality = "loss"'
        )


def _states(
    teacher: Teacher, blocks: BlockArray, model: Any, architecture: Architecture, precision: str = "float32"
) -> tuple[Tensor, Tensor]:
    """First tokens' states (h, w) of pairs, and whether (h,) they follow each other."""
    kind, device = family(architecture.family), next(model.parameters()).device
    types, states, follows = int(architecture.values.get("types", 0)), [], []
    for start in range(0, len(blocks), ROWS):  # an even number, so that places stay even or odd
        batch = alternate_pairs(teacher, blocks[start : start + ROWS]).to(device)
        assert batch.follows is not None
        with torch.inference_mode(), autocast(precision, device.type):
            states.append(kind.encode(model, batch.model_inputs(types)).last_hidden_state[:, 0].float())
        follows.append(batch.follows.cpu())
    return torch.cat(states), torch.cat(follows)


def _regression(states: FloatArray, follows: FloatArray) -> tuple[FloatArray, float]:
    """Weights (w,) and bias of the penalised logistic regression of follows (n,) on states (n, w), in float64."""

    def loss(parameters: FloatArray) -> tuple[float, FloatArray]:
        weight, logits = parameters[:-1], states @ parameters[:-1] + parameters[-1]
        value = np.mean(np.logaddexp(0, logits) - follows * logits) + PENALTY * weight @ weight
        off = (scipy.special.expit(logits) - follows) / len(follows)
        return float(value), np.append(states.T @ off + 2 * PENALTY * weight, off.sum())

    best = scipy.optimize.minimize(loss, np.zeros(states.shape[1] + 1), jac=True, method="L-BFGS-B").x
    return best[:-1], float(best[-1])
