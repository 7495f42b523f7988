"""The cosine of each sequence's embedding with the teacher's."""

import torch.nn.functional as F
from torch import Tensor

from ..states import pooled
from .loss import Loss, Step


def embedding_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - cosine of each sequence's embedding, both (n, w) of unit length, averaged, in float32."""
    return 1.0 - (student.float() * teacher.float()).sum(-1).mean()


def _value(step: Step) -> Tensor:
    ours = pooled(step.student["hidden"].float(), step.pooling, step.attention_mask)
    return embedding_loss(ours, F.normalize(step.aligned(step.teacher["pooled"], ours.shape[1]), dim=-1))


EMBEDDING = Loss(
    "cosine of each sequence's embedding with the teacher's",
    _value,
    teacher=("pooled",),
    kinds=("embedding",),
    padded=True,
)
