"""The cosine of each token's last hidden state with the teacher's."""

from typing import Any

import torch
from torch import Tensor

from .loss import Loss, Step


def token_loss(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """1 - cosine of each token's hidden state, student (b, s, w) against teacher (b, s, w), averaged, in float32.

    Padding, where the `mask` (b, s) is 0, does not count.
    """
    cosines: Tensor = _Cosine.apply(student.float(), teacher.float())  # type: ignore[no-untyped-call]
    return 1.0 - (cosines.mean() if mask is None else (cosines * mask).sum() / mask.sum())


def _value(step: Step) -> Tensor:
    loss = token_loss(step.student["hidden"], step.mapped(step.teacher["hidden"].float()), step.attention_mask)
    return loss if step.attention_mask is None else step.share * loss


class _Cosine(torch.autograd.Function):
    """Cosines c (...) of s (..., w) and t (..., w), with the closed form of its backward.

    dc / ds = t / (|s| |t|) - c s / |s|^2: two passes over the states where autograd takes a dozen.
    """

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor) -> Tensor:
        ours, theirs = (torch.linalg.vector_norm(x, dim=-1).clamp_min_(1e-8) for x in (student, teacher))
        cosines: Tensor = (student * teacher).sum(-1) / (ours * theirs)
        ctx.save_for_backward(student, teacher, cosines / ours.square(), 1 / (ours * theirs))
        return cosines

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        student, teacher, along, across = ctx.saved_tensors
        scaled = student * (grads[0] * -along).unsqueeze(-1)
        gradient: Tensor = scaled.addcmul_(teacher, (grads[0] * across).unsqueeze(-1))
        return gradient, None


TOKENS = Loss("cosine of each token's last hidden state with the teacher's", _value, teacher=("hidden",), padded=True)
