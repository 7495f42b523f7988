"""A recipe is a small declarative value: which losses, on which views of the text, at which learning rate.

Equal recipes, tokens, seed and text give the same student, so a recipe's key is part of a trial's key.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from distilsearch.errors import InputError, unknown

from .losses import LOSSES

EMBEDDING_MODES = ("none", "adapt", "all")


@dataclass(frozen=True)
class View:
    """How a block is shown: cut into framed pieces of `length` tokens, with a share of its words exchanged.

    `noise` is the share of tokens replaced by whole words drawn evenly from the vocabulary: the teacher is asked
    about them too, so that students learn words their text never uses. `length` 0 is the whole block.
    """

    length: int = 0
    noise: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """How one student trains. `weights` maps a loss of `losses.LOSSES` to its weight."""

    name: str
    weights: tuple[tuple[str, float], ...]
    views: tuple[View, ...] = (View(),)
    batch_tokens: int = 1024
    learning_rate: float = 1e-3
    warmup: float = 0.1  # share of the steps; then a linear decay to zero
    weight_decay: float = 0.01
    clip: float = 1.0  # largest norm of a step's gradient
    embeddings: str = "adapt"  # of the vocabulary's table, train "none", a map over it ("adapt"), or "all" of it
    layer: int = -1  # the teacher layer whose relations are learnt
    mask: float = 0.15  # share of tokens masked for masked-LM teachers

    def __post_init__(self) -> None:
        for loss, weight in self.weights:
            if loss not in LOSSES:
                raise unknown("loss", loss, LOSSES)
            if weight < 0:
                raise InputError(f"the weight of loss {loss!r} must not be negative, got {weight}")
        if self.embeddings not in EMBEDDING_MODES:
            raise unknown("way to train embeddings", self.embeddings, EMBEDDING_MODES)
        if not self.views or not self.weights or self.batch_tokens < 1 or self.learning_rate <= 0:
            raise InputError("a recipe needs a loss, a view, a positive batch and a positive learning rate")
        if any(not 0 <= view.noise < 1 or view.length < 0 for view in self.views):
            raise InputError(f"a view has a length and a noise in [0, 1), got {self.views}")

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits of the canonical JSON; the name does not count."""
        content = {name: value for name, value in self.to_json().items() if name != "name"}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; `from_json` is the inverse."""
        return asdict(self) | {"weights": dict(self.weights), "views": [asdict(view) for view in self.views]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Recipe":
        """A recipe from plain JSON; unknown keys are errors."""
        fields = cls.__dataclass_fields__
        for name in data:
            if name not in fields:
                raise unknown("recipe key", name, fields)
        try:
            values = dict(data)
            values["weights"] = tuple((str(k), float(v)) for k, v in data["weights"].items())
            values["views"] = tuple(View(**view) for view in data.get("views", [{}]))
            return cls(**values)
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"a recipe needs a name, weights of losses and views; got {dict(data)}") from error


EMBEDDING = Recipe(
    name="embedding",
    weights=(("tokens", 1.0), ("embedding", 1.0)),
    views=(View(), View(32, 0.15), View(), View(16, 0.3)),
)
RELATION = Recipe(name="relation", weights=(("relation", 1.0), ("similarity", 10.0)))
MLM = Recipe(name="mlm", weights=(("relation", 1.0), ("logits", 1.0)), learning_rate=5e-4, embeddings="all")

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (EMBEDDING, RELATION, MLM)}


def default_recipe(kind: str) -> Recipe:
    """The recipe for a kind of teacher: "embedding" or "mlm"."""
    known = {"embedding": EMBEDDING, "mlm": MLM}
    if kind not in known:
        raise unknown("kind of teacher with a recipe", kind, known)
    return known[kind]


def recipe(name: str, **changes: Any) -> Recipe:
    """A recipe by name, with some of its values changed."""
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return replace(RECIPES[name], **changes)
