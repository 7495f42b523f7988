"""The masked-token or next-token distributions, by KL at a temperature."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .loss import Loss, Step
from .words import over_words


def logits_loss(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(teacher || student) of the next-token or masked-token distributions, both (n, vocabulary), times T^2."""
    p = F.log_softmax(teacher.float() / temperature, dim=-1)
    q = F.log_softmax(student.float() / temperature, dim=-1)
    return F.kl_div(q, p, reduction="batchmean", log_target=True) * temperature**2


def _value(step: Step) -> Tensor:
    def compare(hidden: Tensor, transformed: Tensor) -> Tensor:
        assert step.decode is not None
        assert step.teacher_decode is not None
        with torch.no_grad():
            theirs = step.teacher_decode(transformed)
        return logits_loss(step.decode(hidden), theirs, step.temperature)

    return over_words(step, compare, step.teacher["transformed"])


LOGITS = Loss(
    "the masked-token or next-token distributions, by KL at a temperature",
    _value,
    student=("chosen",),
    teacher=("transformed",),
    kinds=("mlm", "causal"),
)
