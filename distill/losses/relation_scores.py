"""The raw scores of the self-relations, without softmax: what AutoDistil's released code compares."""

from torch import Tensor

from .loss import Loss, Step
from .relation import PARTS, relations
from .relation_mse import relation_mse


def _value(step: Step) -> Tensor:
    return relations(step, lambda ours, theirs, heads: relation_mse(ours, theirs, heads, softmax=False))


RELATION_SCORES = Loss("the same of the raw scores, without softmax", _value, student=PARTS, teacher=PARTS)
