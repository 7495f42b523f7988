"""A loss and a recipe outside the tree: each token's state, by a loss that forgives what is far off."""

import torch.nn.functional as F
from torch import Tensor

from distilsearch.distill.losses import Loss, Step
from distilsearch.plugins import Plugin


def _value(step: Step) -> Tensor:
    return F.smooth_l1_loss(step.student["hidden"].float(), step.mapped(step.teacher["hidden"].float()))


HUBER = Loss("each token's last hidden state, by smoothed absolute differences", _value, teacher=("hidden",))
PLUGIN = Plugin(
    losses={"huber": HUBER},
    recipes={"forgiving": {"base": "embedding", "weights": {"huber": 1.0, "embedding": 1.0}, "batch_tokens": 256}},
)
