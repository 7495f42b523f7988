"""Whether a block's second half follows its first: BERT's NSP, told by the head that BERT's own checkpoints have."""

import torch.nn.functional as F
from torch import Tensor, nn

from ..students.judge import Judge
from .loss import Loss, Step, projected


def next_sentence_loss(logits: Tensor, follows: Tensor) -> Tensor:
    """Cross-entropy of (n, 2) logits with whether (n,) a second segment follows the first; that it does comes first."""
    return F.cross_entropy(logits.float(), 1 - follows)


def judge(basis: Tensor, many: int) -> nn.Module:
    """Tells from the first token's state (n, w) whether two segments follow each other; it begins undecided."""
    return Judge.undecided(basis.shape[1])


def _value(step: Step) -> Tensor:
    assert step.follows is not None
    return next_sentence_loss(projected(step, step.student["hidden"][:, 0].float()), step.follows)


NEXT_SENTENCE = Loss(
    "whether a block's second half follows its first, told by a head that is saved with the student (masked LM)",
    _value,
    kinds=("mlm",),
    pairs=True,
    head=judge,
)
