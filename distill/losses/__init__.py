"""The losses a recipe may weigh: one file each, of the same shape, and one line in `LOSSES`.

A file holds the loss as a pure function of tensors, and a `Loss`: what it needs of teacher and student, for which
kinds of teacher, and how its value is taken from a batch. Who trains iterates over what the recipe's losses ask for.
"""

from .attention import ATTENTION
from .embedding import EMBEDDING
from .features import FEATURES
from .hard import HARD
from .hidden import HIDDEN
from .logits import LOGITS
from .loss import KINDS, Loss, Step
from .mapping import MAPPINGS, layer_map
from .mean import MEAN
from .next_sentence import NEXT_SENTENCE
from .relation import RELATION
from .relation_mse import RELATION_MSE
from .relation_scores import RELATION_SCORES
from .similarity import SIMILARITY
from .tokens import TOKENS
from .variance import VARIANCE

__all__ = ["KINDS", "LOSSES", "MAPPINGS", "Loss", "Step", "layer_map"]

LOSSES: dict[str, Loss] = {
    "tokens": TOKENS,
    "embedding": EMBEDDING,
    "similarity": SIMILARITY,
    "relation": RELATION,
    "relation_mse": RELATION_MSE,
    "relation_scores": RELATION_SCORES,
    "attention": ATTENTION,
    "hidden": HIDDEN,
    "features": FEATURES,
    "mean": MEAN,
    "variance": VARIANCE,
    "logits": LOGITS,
    "hard": HARD,
    "next_sentence": NEXT_SENTENCE,
}
"""The known losses by the names that recipes weigh; a plugin may add its own."""
