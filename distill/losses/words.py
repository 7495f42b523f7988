"""What the losses of hidden or next words share: logits are made chunk by chunk, and parts may hide no word."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from .loss import Step

CHUNK = 1024  # rows of logits at a time


def over_words(step: Step, loss: Callable[[Tensor, Tensor], Tensor], wanted: Tensor) -> Tensor:
    """A row-wise mean loss (states (k, w), wanted (k, ...)) over the words that a step asks for, by its share."""
    chosen: Tensor = step.student["chosen"]
    if not len(chosen):  # a part of a batch may hide no word
        return chosen.float().sum()
    return chunked(loss, CHUNK, chosen, wanted) * step.share


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
