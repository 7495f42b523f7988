"""Attention maps of mapped layers, by KL. Of encoders only: grouped heads and causal masks make other maps."""

import math

import torch
from torch import Tensor

from .loss import Loss, Step
from .relation import split

MADE_OF = ("all_queries", "all_keys")


def attention_loss(student: tuple[Tensor, Tensor], teacher: tuple[Tensor, Tensor], heads: tuple[int, int]) -> Tensor:
    """Mean KL of the rows of attention maps, teacher against student, of (queries, keys), each (b, s, w) or (b, s, v).

    `heads` are the student's and the teacher's; where they differ, the maps of neighbouring heads are averaged
    down to the largest common divisor.
    """
    common = math.gcd(*heads)
    q, p = (_maps(*states, count, common) for states, count in zip((student, teacher), heads, strict=True))
    return (p * (p.clamp_min(1e-30).log() - q.clamp_min(1e-30).log())).sum(-1).mean()


def _maps(queries: Tensor, keys: Tensor, heads: int, common: int) -> Tensor:
    """(b, s, w) twice -> attention maps (b, common, s, s)."""
    q, k = (split(states.float(), heads) for states in (queries, keys))
    maps = (torch.bmm(q, k.transpose(1, 2)) / math.sqrt(q.shape[-1])).softmax(-1)  # (b heads, s, s)
    b, s = queries.shape[:2]
    return maps.view(b, common, heads // common, s, s).mean(2)


def _value(step: Step) -> Tensor:
    def compare(layer: int, one: int) -> Tensor:
        ours = step.student["all_queries"][layer], step.student["all_keys"][layer]
        return attention_loss(ours, (step.teacher["all_queries"][one], step.teacher["all_keys"][one]), step.heads)

    return step.over_layers(compare)


ATTENTION = Loss(
    "attention maps of mapped layers, by KL (encoders)",
    _value,
    student=MADE_OF,
    teacher=MADE_OF,
    kinds=("embedding", "mlm"),
    instead="the loss 'relation', since attention maps are compared for encoders only",
)
