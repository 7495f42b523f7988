"""Each token's mean over the features of mapped layers: widths may differ without a projection."""

import torch.nn.functional as F
from torch import Tensor

from .loss import Loss, Step


def mean_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of each token's mean over its features, (b, s, w) against (b, s, v)."""
    ours, theirs = student.float(), teacher.float()
    return F.mse_loss(ours.mean(-1), theirs.mean(-1))


def _value(step: Step) -> Tensor:
    return step.over_states(mean_loss)


MEAN = Loss("each token's mean over the features of mapped layers", _value, student=("states",), teacher=("states",))
