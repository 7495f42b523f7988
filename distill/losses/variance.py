"""Each token's variance over the features of mapped layers: widths may differ without a projection."""

import torch.nn.functional as F
from torch import Tensor

from .loss import Loss, Step


def variance_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of each token's variance over its features, (b, s, w) against (b, s, v)."""
    ours, theirs = student.float(), teacher.float()
    return F.mse_loss(ours.var(-1, unbiased=False), theirs.var(-1, unbiased=False))


def _value(step: Step) -> Tensor:
    return step.over_states(variance_loss)


VARIANCE = Loss(
    "each token's variance over the features of mapped layers", _value, student=("states",), teacher=("states",)
)
