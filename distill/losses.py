"""Distillation losses as pure functions of tensors: no model, no state.

Notation
    b, s       sequences in the batch, tokens a sequence
    w, v       student width, teacher width (they may differ)
    r          relation heads: a divisor of both widths
    n          embeddings compared with each other

All return a scalar. Inputs may be bfloat16; sums run in float32.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def token_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - cosine of each token's hidden state, student (b, s, w) against teacher (b, s, w), averaged."""
    return 1.0 - F.cosine_similarity(student.float(), teacher.float(), dim=-1).mean()


def embedding_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - cosine of each sequence's embedding, both (n, w) of unit length, averaged."""
    return 1.0 - (student.float() * teacher.float()).sum(-1).mean()


def similarity_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of all pairwise cosines, unit embeddings (n, w) against (n, v), diagonal left out."""
    n = len(student)
    difference = student.float() @ student.float().T - teacher.float() @ teacher.float().T  # (n, n)
    return difference.square().sum() / max(1, n * (n - 1))


def relation_heads(student: int, teacher: int, most: int = 12) -> int:
    """The largest common divisor of both widths up to `most`.

    >>> relation_heads(256, 384), relation_heads(384, 384)
    (8, 12)
    """
    common = math.gcd(student, teacher)
    return max(heads for heads in range(1, most + 1) if common % heads == 0)


def relation_loss(student: Tensor, teacher: Tensor, heads: int) -> Tensor:
    """KL of the self-relations softmax(A A^T / sqrt(d)) of one of Q, K, V: (b, s, w) against (b, s, v).

    The MiniLMv2 loss (arXiv 2012.15828): all heads are joined and split anew into `heads`, so widths and head
    counts may differ. Averaged over rows; its backward is written out, see `_RelationKL`.
    """
    loss: Tensor = _RelationKL.apply(_split(student, heads), _split(teacher, heads))  # type: ignore[no-untyped-call]
    return loss


def logits_loss(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(teacher || student) of the next-token or masked-token distributions, both (n, vocabulary), times T^2."""
    p = F.log_softmax(teacher.float() / temperature, dim=-1)
    q = F.log_softmax(student.float() / temperature, dim=-1)
    return F.kl_div(q, p, reduction="batchmean", log_target=True) * temperature**2


def pooled(hidden: Tensor, pooling: str) -> Tensor:
    """(n, s, w) hidden states of unpadded sequences -> (n, w) embeddings of unit length."""
    vector = hidden[:, 0] if pooling == "cls" else hidden.mean(1)
    return F.normalize(vector.float(), dim=-1)


def _split(states: Tensor, heads: int) -> Tensor:
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


LOSSES: Mapping[str, str] = {
    "tokens": "cosine of each token's last hidden state with the teacher's",
    "embedding": "cosine of each sequence's embedding with the teacher's",
    "similarity": "pairwise cosines of the sequences' embeddings",
    "relation": "Q-Q, K-K and V-V relations of one layer",
    "logits": "the masked-token distributions",
}
"""The losses a recipe may weigh, and what each compares."""
