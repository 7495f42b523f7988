"""The same self-relations by mean squared error: AutoDistil's loss (arXiv 2201.12507)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .loss import Loss
from .relation import PARTS, relations, split


def relation_mse(student: Tensor, teacher: Tensor, heads: int, softmax: bool = True) -> Tensor:
    """Mean squared difference of the relations of (b, s, w) and (b, s, v); without softmax, of the raw scores."""
    ours, theirs = (_scores(split(states.float(), heads)) for states in (student, teacher))  # (b r, s, s)
    loss: Tensor = F.mse_loss(ours.softmax(-1), theirs.softmax(-1)) if softmax else F.mse_loss(ours, theirs)
    return loss


def _scores(states: Tensor) -> Tensor:
    return torch.bmm(states, states.transpose(1, 2)) / math.sqrt(states.shape[-1])


RELATION_MSE = Loss(
    "the same by mean squared error", lambda step: relations(step, relation_mse), student=PARTS, teacher=PARTS
)
