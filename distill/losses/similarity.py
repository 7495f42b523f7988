"""Pairwise cosines of a batch's embeddings: whoever computes it must hold the whole batch."""

from torch import Tensor

from ..states import pooled
from .loss import Loss, Step


def similarity_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of all pairwise cosines, unit embeddings (n, w) against (n, v), diagonal left out."""
    n = len(student)
    difference = student.float() @ student.float().T - teacher.float() @ teacher.float().T  # (n, n)
    return difference.square().sum() / max(1, n * (n - 1))


def _value(step: Step) -> Tensor:
    ours = pooled(step.student["hidden"].float(), step.pooling, step.attention_mask)
    return similarity_loss(ours, step.teacher["pooled"])


SIMILARITY = Loss(
    "pairwise cosines of the sequences' embeddings",
    _value,
    teacher=("pooled",),
    kinds=("embedding",),
    padded=True,
    whole=True,
)
