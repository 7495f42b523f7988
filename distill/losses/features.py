"""Normalised hidden states of mapped layers through a projection: MobileBERT's feature-map transfer."""

import torch.nn.functional as F
from torch import Tensor

from .loss import Loss, Step, projected, projection


def feature_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of normalised states (b, s, v) (arXiv 2004.02984)."""
    v = (teacher.shape[-1],)
    return F.mse_loss(F.layer_norm(student.float(), v), F.layer_norm(teacher.float(), v))


def _value(step: Step) -> Tensor:
    return step.over_states(lambda ours, theirs: feature_loss(projected(step, ours), theirs))


FEATURES = Loss(
    "normalised hidden states of mapped layers through a projection",
    _value,
    student=("states",),
    teacher=("states",),
    head=projection,
)
