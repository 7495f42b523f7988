"""Distillation losses as pure functions of tensors: no model, no state.

Notation
    b, s       sequences in the batch, tokens a sequence
    w, v       student width, teacher width (they may differ)
    r          relation heads: a divisor of both widths
    n          embeddings compared with each other

All return a scalar. Inputs may be bfloat16; sums run in float32.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def token_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - cosine of each token's hidden state, student (b, s, w) against teacher (b, s, w), averaged."""
    cosines: Tensor = _Cosine.apply(student.float(), teacher.float())  # type: ignore[no-untyped-call]
    return 1.0 - cosines.mean()


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


def relation_mse(student: Tensor, teacher: Tensor, heads: int, softmax: bool = True) -> Tensor:
    """Mean squared difference of the relations of (b, s, w) and (b, s, v); without softmax, of the raw scores.

    AutoDistil's loss (arXiv 2201.12507); its released code takes the scores.
    """
    ours, theirs = (_scores(_split(states.float(), heads)) for states in (student, teacher))  # (b r, s, s)
    loss: Tensor = F.mse_loss(ours.softmax(-1), theirs.softmax(-1)) if softmax else F.mse_loss(ours, theirs)
    return loss


def _scores(states: Tensor) -> Tensor:
    return torch.bmm(states, states.transpose(1, 2)) / math.sqrt(states.shape[-1])


def attention_loss(student: tuple[Tensor, Tensor], teacher: tuple[Tensor, Tensor], heads: tuple[int, int]) -> Tensor:
    """Mean KL of the rows of attention maps, teacher against student, of (queries, keys), each (b, s, w) or (b, s, v).

    `heads` are the student's and the teacher's; where they differ, the maps of neighbouring heads are averaged
    down to the largest common divisor.
    """
    common = math.gcd(*heads)
    q, p = (_maps(*states, count, common) for states, count in zip((student, teacher), heads, strict=True))
    return (p * (p.clamp_min(1e-30).log() - q.clamp_min(1e-30).log())).sum(-1).mean()


def _maps(queries: Tensor, keys: Tensor, heads: int, kept: int) -> Tensor:
    """(b, s, w) twice -> attention maps (b, kept, s, s)."""
    q, k = (_split(states.float(), heads) for states in (queries, keys))
    maps = (torch.bmm(q, k.transpose(1, 2)) / math.sqrt(q.shape[-1])).softmax(-1)  # (b heads, s, s)
    b, s = queries.shape[:2]
    return maps.view(b, kept, heads // kept, s, s).mean(2)


def hidden_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of hidden states of one width, (b, s, v) each."""
    return F.mse_loss(student.float(), teacher.float())


def layer_map(mapping: str, layers: int, depth: int) -> list[tuple[int, ...]]:
    """For each student layer the teacher layers it learns from, all counted from 0.

    "uniform" spreads them, "last" takes the last ones, "uniform+last" both (KD-NAS, arXiv 2303.09639), "final"
    only the last layer from the last.

    >>> layer_map("uniform+last", 2, 6)
    [(2, 4), (5, 5)]
    """
    uniform = [max(0, (i + 1) * depth // layers - 1) for i in range(layers)]
    last = [max(0, depth - layers + i) for i in range(layers)]
    if mapping == "uniform":
        return [(i,) for i in uniform]
    if mapping == "last":
        return [(i,) for i in last]
    if mapping == "uniform+last":
        return list(zip(uniform, last, strict=True))
    return [()] * (layers - 1) + [(depth - 1,)]


MAPPINGS = ("uniform", "last", "uniform+last", "final")


def feature_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """MobileBERT's feature-map transfer: mean squared difference of normalised states (b, s, v) (arXiv 2004.02984)."""
    v = (teacher.shape[-1],)
    return F.mse_loss(F.layer_norm(student.float(), v), F.layer_norm(teacher.float(), v))


def distribution_losses(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Mean squared differences of each token's mean and variance over its features, (b, s, w) against (b, s, v)."""
    ours, theirs = student.float(), teacher.float()
    mean = F.mse_loss(ours.mean(-1), theirs.mean(-1))
    return mean, F.mse_loss(ours.var(-1, unbiased=False), theirs.var(-1, unbiased=False))


def hard_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of (k, vocabulary) logits with the words (k,) that stood there or come next."""
    return F.cross_entropy(logits.float(), labels)


def next_sentence_loss(logits: Tensor, follows: Tensor) -> Tensor:
    """Cross-entropy of (n, 2) logits with whether (n,) a second segment follows the first: BERT's NSP."""
    return F.cross_entropy(logits.float(), follows)


def chunked(loss: Callable[..., Tensor], chunk: int, *tensors: Tensor) -> Tensor:
    """The mean of a row-wise mean loss over rows of `tensors`, `chunk` rows at a time.

    Logits of a whole batch need rows x vocabulary floats; made inside `loss` and again in the backward pass, they
    need a chunk's.
    """
    rows = len(tensors[0])
    if rows <= chunk:
        return loss(*tensors)
    total = tensors[0].new_zeros((), dtype=torch.float32)
    for start in range(0, rows, chunk):
        parts = [tensor[start : start + chunk] for tensor in tensors]
        value: Tensor = checkpoint(loss, *parts, use_reentrant=False)
        total = total + value * (len(parts[0]) / rows)
    return total


LOSSES: Mapping[str, str] = {
    "tokens": "cosine of each token's last hidden state with the teacher's",
    "embedding": "cosine of each sequence's embedding with the teacher's",
    "similarity": "pairwise cosines of the sequences' embeddings",
    "relation": "Q-Q, K-K and V-V relations of one layer, by KL",
    "relation_mse": "the same by mean squared error",
    "relation_scores": "the same of the raw scores, without softmax",
    "attention": "attention maps of mapped layers, by KL (encoders)",
    "hidden": "hidden states of mapped layers through a projection, mean squared error",
    "features": "normalised hidden states of mapped layers through a projection",
    "mean": "each token's mean over the features of mapped layers",
    "variance": "each token's variance over the features of mapped layers",
    "logits": "the masked-token or next-token distributions, by KL at a temperature",
    "hard": "the masked or next words themselves",
    "next_sentence": "whether a block's second half follows its first, told by a head that is thrown away (masked LM)",
}
"""The losses a recipe may weigh, and what each compares."""
