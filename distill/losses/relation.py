"""Self-relations of queries, keys and values of one layer, by KL: MiniLMv2's loss (arXiv 2012.15828).

Notation
    r          relation heads: a divisor of both widths
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .loss import Loss, Step

PARTS = ("queries", "keys", "values")


def relation_heads(student: int, teacher: int, most: int = 12) -> int:
    """The largest common divisor of both widths up to `most`.

    >>> relation_heads(256, 384), relation_heads(384, 384)
    (8, 12)
    """
    common = math.gcd(student, teacher)
    return max(heads for heads in range(1, most + 1) if common % heads == 0)


def relation_loss(student: Tensor, teacher: Tensor, heads: int) -> Tensor:
    """KL of the self-relations softmax(A A^T / sqrt(d)) of one of Q, K, V: (b, s, w) against (b, s, v).

    All heads are joined and split anew into `heads`, so widths and head counts may differ. Averaged over rows; its
    backward is written out, see `_RelationKL`. Inputs may be bfloat16; sums run in float32.
    """
    loss: Tensor = _RelationKL.apply(split(student, heads), split(teacher, heads))  # type: ignore[no-untyped-call]
    return loss


def relations(step: Step, compare: Callable[[Tensor, Tensor, int], Tensor]) -> Tensor:
    """The sum over Q-Q, K-K and V-V of a comparison (student, teacher, relation heads)."""
    parts = []
    for part in PARTS:
        ours, theirs = step.student[part], step.teacher[part]
        parts.append(compare(ours, theirs, relation_heads(ours.shape[-1], theirs.shape[-1])))
    return torch.stack(parts).sum()


def split(states: Tensor, heads: int) -> Tensor:
    """(b, s, w) -> (b * heads, s, w / heads)."""
    b, s, w = states.shape
    return states.view(b, s, heads, w // heads).transpose(1, 2).reshape(b * heads, s, w // heads)


class _RelationKL(torch.autograd.Function):
    """Mean over rows of KL(softmax(T T^T / sqrt(dt)) || softmax(S S^T / sqrt(ds))), with a closed-form backward.

    d loss / d logits = (q - p) / rows, and the logits are S S^T / sqrt(d), so dS = (G + G^T) S / sqrt(d): one
    product instead of the two that autograd would take, and no softmax to be kept but the difference q - p.
    """

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor) -> Tensor:
        scale = student.shape[-1] ** -0.5
        p = torch.bmm(teacher, teacher.transpose(1, 2)).float().mul_(teacher.shape[-1] ** -0.5)
        q = torch.bmm(student, student.transpose(1, 2)).float().mul_(scale)
        p, q = p.log_softmax(-1), q.log_softmax(-1)  # (n, s, s)
        rows = q.shape[0] * q.shape[1]
        chances = p.exp()
        loss = torch.dot(chances.flatten(), (p - q).flatten()) / rows
        gradient = q.exp_().sub_(chances)
        ctx.save_for_backward(student, (gradient + gradient.transpose(1, 2)).to(student.dtype))
        ctx.scale = scale / rows
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        student, gradient = ctx.saved_tensors
        return torch.bmm(gradient, student) * (grads[0] * ctx.scale).to(student.dtype), None


RELATION = Loss(
    "Q-Q, K-K and V-V relations of one layer, by KL",
    lambda step: relations(step, relation_loss),
    student=PARTS,
    teacher=PARTS,
)
