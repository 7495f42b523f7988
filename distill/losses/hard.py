"""The masked or next words themselves: the one loss that asks nothing of the teacher."""

import torch.nn.functional as F
from torch import Tensor

from .loss import Loss, Step
from .words import over_words


def hard_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of (k, vocabulary) logits with the words (k,) that stood there or come next."""
    return F.cross_entropy(logits.float(), labels)


def _value(step: Step) -> Tensor:
    assert step.labels is not None

    def compare(hidden: Tensor, labels: Tensor) -> Tensor:
        assert step.decode is not None
        return hard_loss(step.decode(hidden), labels)

    return over_words(step, compare, step.labels)


HARD = Loss("the masked or next words themselves", _value, student=("chosen",), kinds=("mlm", "causal"))
