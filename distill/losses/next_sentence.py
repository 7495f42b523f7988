"""Whether a block's second half follows its first: BERT's NSP, told by a head that is thrown away."""

import torch.nn.functional as F
from torch import Tensor, nn

from .loss import Loss, Step, projected


def next_sentence_loss(logits: Tensor, follows: Tensor) -> Tensor:
    """Cross-entropy of (n, 2) logits with whether (n,) a second segment follows the first."""
    return F.cross_entropy(logits.float(), follows)


def judge(basis: Tensor, many: int) -> nn.Module:
    """Tells from the first token's state (n, w) whether two segments follow each other; it begins undecided."""
    linear = nn.Linear(basis.shape[1], 2)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def _value(step: Step) -> Tensor:
    assert step.follows is not None
    return next_sentence_loss(projected(step, step.student["hidden"][:, 0].float()), step.follows)


NEXT_SENTENCE = Loss(
    "whether a block's second half follows its first, told by a head that is thrown away (masked LM)",
    _value,
    kinds=("mlm",),
    pairs=True,
    head=judge,
)
