"""Hidden states of mapped layers through a projection that is trained beside the student: KD-NAS's loss."""

import torch.nn.functional as F
from torch import Tensor

from .loss import Loss, Step, projected, projection


def hidden_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of hidden states of one width, (b, s, v) each."""
    return F.mse_loss(student.float(), teacher.float())


def _value(step: Step) -> Tensor:
    return step.over_states(lambda ours, theirs: hidden_loss(projected(step, ours), theirs))


HIDDEN = Loss(
    "hidden states of mapped layers through a projection, mean squared error",
    _value,
    student=("states",),
    teacher=("states",),
    head=projection,
)
