"""A recipe is a small declarative value: which losses, on which views of the text, at which learning rate.

Equal recipes, tokens, seed and text give the same student, so a recipe's key is part of a trial's key.
"""

import hashlib
import json
import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from distilsearch import strict
from distilsearch.errors import InputError, unknown
from distilsearch.growth import grown

from .losses import LOSSES, MAPPINGS

# Fields of a recipe that came later, with the value of every key before; see `growth`.
ADDED: Mapping[str, Any] = {"anchor": 0.0, "anchor_from": 1 / 3}
VIEW_ADDED: Mapping[str, Any] = {"sentences": False, "ends": False}
EMBEDDING_MODES = ("none", "adapt", "all")
RANGES: dict[str, tuple[str, Callable[[float], bool]]] = {  # of a recipe's numbers: in words, and whether one is in it
    "batch_tokens": ("1 or more", lambda x: x >= 1),
    "learning_rate": ("positive", lambda x: x > 0),
    "warmup_tokens": ("0 or more", lambda x: x >= 0),
    "decay": ("in (0, 1]", lambda x: 0 < x <= 1),
    "weight_decay": ("0 or more", lambda x: x >= 0),
    "clip": ("positive", lambda x: x > 0),
    "mask": ("in (0, 1)", lambda x: 0 < x < 1),
    "temperature": ("positive", lambda x: x > 0),
    "progressive": ("in [0, 1)", lambda x: 0 <= x < 1),
    "near": ("in (0, 1]", lambda x: 0 < x <= 1),
    "anchor": ("in [0, 1)", lambda x: 0 <= x < 1),
    "anchor_from": ("in (0, 1]", lambda x: 0 < x <= 1),
    "word_rate": ("positive", lambda x: x > 0),
}


@dataclass(frozen=True)
class View:
    """How a block is shown: cut into framed pieces of `length` tokens, with a share of its words exchanged.

    `noise` is the share of tokens replaced by whole words drawn evenly from the vocabulary: the teacher is asked
    about them too, so that students learn words their text never uses. `length` 0 is the whole block, and so is one
    beyond it: teachers of few positions have short blocks. With `sentences` pieces begin where a sentence does, if one
    begins near by; with `ends` each stops where the last sentence in it ends, if one does, and padding fills the rest.
    """

    length: int = 0
    noise: float = 0.0
    sentences: bool = False
    ends: bool = False

    def __post_init__(self) -> None:
        if type(self.length) is not int or self.length < 0:
            raise InputError(f"a view's length must be a number of tokens, or 0 for whole blocks, got {self.length!r}")
        if not isinstance(self.noise, int | float) or not 0 <= self.noise < 1:
            raise InputError(f"a view's noise must be a share in [0, 1), got {self.noise!r}")
        for name in ("sentences", "ends"):
            if not isinstance(value := getattr(self, name), bool):
                raise InputError(f"a view's {name} must be true or false, got {value!r}")


@dataclass(frozen=True)
class Recipe:
    """How one student trains. `weights` maps a loss of `losses.LOSSES` to its weight."""

    name: str
    weights: tuple[tuple[str, float], ...]
    views: tuple[View, ...] = (View(),)
    batch_tokens: int = 1024
    learning_rate: float = 1e-3
    warmup_tokens: int = 16_000  # over which the rate rises, in runs of any length
    decay: float = 0.5  # share of the steps, the last ones, over which the rate falls linearly to zero
    weight_decay: float = 0.01
    clip: float = 1.0  # largest norm of a step's gradient
    embeddings: str = "adapt"  # of the vocabulary's table, train "none", a map over it ("adapt"), or "all" of it
    layer: int = -1  # the teacher layer whose relations are learnt
    mask: float = 0.15  # share of tokens masked for masked-LM teachers
    temperature: float = 1.0  # of the logits loss
    mapping: str = "uniform"  # which teacher layers a student's layers learn from, for losses of mapped layers
    progressive: float = 0.0  # share of the steps spent transferring layer by layer, the others frozen
    near: float = 1.0  # share of the learning rate for a student that keeps all layers at the teacher's width
    word_rate: float = 1.0  # times the learning rate, for a word table that starts at random
    anchor: float = (
        0.0  # share of the start in the weights that are handed back, for students that start near the teacher
    )
    anchor_from: float = 1 / 3  # share of the teacher: students that start as so much of it, or more, keep all of it

    def __post_init__(self) -> None:
        for loss, weight in self.weights:
            if loss not in LOSSES:
                raise unknown("loss", loss, LOSSES)
            if weight < 0:
                raise InputError(f"the weight of loss {loss!r} must not be negative, got {weight}")
        if self.embeddings not in EMBEDDING_MODES:
            raise unknown("way to train embeddings", self.embeddings, EMBEDDING_MODES)
        if self.mapping not in MAPPINGS:
            raise unknown("mapping of layers", self.mapping, MAPPINGS)
        if not self.views or not any(weight for _, weight in self.weights):
            raise InputError("a recipe needs a view and a loss that weighs something")
        self._check_padding()
        for name, (expected, good) in RANGES.items():
            value = getattr(self, name)
            if not isinstance(value, int | float) or not good(value) or not math.isfinite(value):
                raise InputError(f"a recipe's {name} must be {expected}, got {value!r}")
        if self.progressive and self.mapping == "final":
            raise InputError(
                'a progressive recipe transfers every layer, and the mapping "final" gives one alone a teacher layer; '
                f"choose the mapping {', '.join(one for one in MAPPINGS if one != 'final')}, or progressive = 0"
            )

    def _check_padding(self) -> None:
        """Refuse views that end with sentences beside losses that would count padding."""
        if not any(view.ends for view in self.views):
            return
        able = [name for name, loss in LOSSES.items() if loss.padded]
        if unable := [name for name, weight in self.weights if weight and name not in able]:
            raise InputError(
                f"views with ends = true are padded, and the loss {unable[0]!r} would count padding; weigh "
                f"{', '.join(able)} alone, or leave ends out"
            )
        if self.progressive:
            raise InputError(
                "views with ends = true are padded, which layer-by-layer transfer cannot learn from; set "
                "progressive = 0, or leave ends out"
            )

    def rate(self, kept: float) -> float:
        """The learning rate of a student that starts with a share of the teacher's layers at its full width.

        A student that is nearly the teacher is thrown far from it by rates that others need: of all-MiniLM-L6-v2,
        six layers of full width end at a loss of 0.111, 0.067 and 0.045 with the whole, half and quarter rate, four
        layers at 0.173 and 0.150 with the whole and half, three at 0.230 and 0.229.
        """
        return self.learning_rate * (1 - (1 - self.near) * kept)

    def start_share(self, kept: float, units: float) -> float:
        """The share that a student's start keeps in its weights.

        What a text teaches beyond what all texts do is undone by going some of the way back, at no cost: the held-out
        loss moves little, and texts of other kinds gain (WiSE-FT, arXiv 2109.01903). `docs/recipes.md` has figures. A
        student that starts far from its teacher needs more of the way that its training went.

        Args:
            kept: the share of the teacher's layers that it starts with, at full width; 0 where it starts otherwise.
            units: the share of the teacher's feed-forward units that each of them keeps.
        """
        return self.anchor * min(1.0, kept * units / self.anchor_from)

    def fall(self, steps: int) -> int:
        """The step of a run at which its rate begins to fall."""
        return max(0, steps - max(1, round(self.decay * steps)))

    def shared(self, since: int, tokens: int) -> int:
        """How many tokens a run of `tokens` saves where it continues one of `since` tokens, which is shorter.

        They are those before the shorter run's learning rate begins to fall; 0 where it cannot be continued: if it is
        less than twice as long as the warm-up (its `Schedule` has no trunk), if layers are transferred one after the
        other, or if the longer run needs the held-out loss at a quarter of its length and the shorter one, at that
        point, has not taken it.
        """
        trunk = self.fall(since)
        asked = tokens <= 4 * trunk and tokens != 2 * since
        return 0 if self.progressive or since < 2 * self.warmup_tokens or asked else trunk

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits of the canonical JSON; the name does not count."""
        content = {name: value for name, value in grown(self.to_json(), ADDED).items() if name != "name"}
        content["views"] = [grown(view, VIEW_ADDED) for view in content["views"]]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; `from_json` is the inverse."""
        return asdict(self) | {"weights": dict(self.weights), "views": [asdict(view) for view in self.views]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Recipe":
        """A recipe from plain JSON; unknown keys are errors."""
        fields = cls.__dataclass_fields__
        if strange := [str(unknown("recipe key", name, fields)) for name in data if name not in fields]:
            raise InputError("; ".join(strange))
        try:
            values = dict(data)
            values["weights"] = tuple((str(k), float(v)) for k, v in data["weights"].items())
            values["views"] = tuple(View(**view) for view in data.get("views", [{}]))
            return cls(**values)
        except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
            raise InputError(f"a recipe needs a name, weights of losses and views; got {dict(data)}") from error


EMBEDDING = Recipe(
    name="embedding",
    weights=(("tokens", 1.0), ("embedding", 1.0)),
    views=(View(), View(32, 0.15), View(), View(16, 0.3)),
    near=0.25,
    word_rate=30.0,
)
ANCHORED = replace(EMBEDDING, name="anchored", anchor=0.5)
MOORED = replace(EMBEDDING, name="moored", anchor=0.75, anchor_from=0.5)
SENTENCES = replace(
    ANCHORED,
    name="sentences",
    views=(
        View(32, sentences=True, ends=True),
        View(32, 0.15, sentences=True, ends=True),
        View(),
        View(16, 0.3, sentences=True, ends=True),
        View(32, 0.15, sentences=True, ends=True),
        View(16, sentences=True, ends=True),
    ),
)
RELATION = Recipe(name="relation", weights=(("relation", 1.0), ("similarity", 10.0)), near=0.25)
MLM = Recipe(name="mlm", weights=(("relation", 1.0), ("logits", 1.0)), learning_rate=5e-4, embeddings="all")

CAUSAL = Recipe(name="causal", weights=(("logits", 1.0),), learning_rate=1e-3, embeddings="all")
AUTODISTIL = Recipe(
    name="autodistil", weights=(("relation_scores", 1.0),), embeddings="all", learning_rate=4e-5, decay=1.0
)
KDNAS = Recipe(
    name="kdnas",
    weights=(("hidden", 1.0),),
    mapping="uniform+last",
    embeddings="all",
    learning_rate=5e-4,
    decay=1.0,
)
MOBILEBERT = Recipe(
    name="mobilebert",
    weights=(("logits", 0.5), ("hard", 0.5), ("next_sentence", 0.5)),
    embeddings="all",
    learning_rate=1.5e-3,
    decay=1.0,
    progressive=0.3,  # MobileBERT's own schedule: 240,000 transfer and 500,000 distillation steps
)

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (EMBEDDING, ANCHORED, MOORED, SENTENCES, RELATION, MLM, CAUSAL, AUTODISTIL, KDNAS, MOBILEBERT)
}


AUTO, FORMER, SECOND = "auto", "default", "default-2"
BY_KIND: dict[str, dict[str, Recipe]] = {  # of names that mean another recipe for each kind of teacher
    AUTO: {"embedding": SENTENCES, "mlm": MLM, "causal": CAUSAL},
    # Frozen, so that runs which were started with them go on: the first default, and what "auto" meant as folders kept
    # that word and not the recipe that it stood for.
    FORMER: {"embedding": EMBEDDING, "mlm": MLM, "causal": CAUSAL},
    SECOND: {"embedding": ANCHORED, "mlm": MLM, "causal": CAUSAL},
}


def default_recipe(kind: str, name: str = AUTO) -> Recipe:
    """The recipe for a kind of teacher: "embedding", "mlm" or "causal"; of a former version where `name` says so."""
    recipes = BY_KIND[name]
    if kind not in recipes:
        raise unknown("kind of teacher with a recipe", kind, recipes)
    return recipes[kind]


def recipe_for(kind: str, name: str = AUTO) -> Recipe:
    """The recipe that a run or a command names, for a kind of teacher: "auto" or nothing is the default one."""
    return default_recipe(kind, name or AUTO) if (name or AUTO) in BY_KIND else recipe(name)


def recipe(name: str, **changes: Any) -> Recipe:
    """A recipe by its name or out of a TOML or JSON file, with some of its values changed."""
    if name in RECIPES:
        return replace(RECIPES[name], **changes)
    if Path(name).suffix not in (".toml", ".json"):
        raise unknown("recipe", name, (*RECIPES, "FILE.toml", "FILE.json"))
    return replace(read_recipe(Path(name)), **changes)


def read_recipe(path: Path) -> Recipe:
    """A recipe out of a file; `base` names the recipe whose values stand where the file is silent.

    A file of two lines, `base = "embedding"` and `weights = { tokens = 1.0 }`, is complete.
    """
    try:
        text = path.read_text(encoding="utf-8")
        data = strict.parsed(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise InputError(f"cannot read the recipe {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid {path.suffix[1:].upper()}: {error}") from error
    if not isinstance(data, dict):
        raise InputError(f"{path} must hold a table of a recipe's values")
    return recipe_of(path.stem, data)


def recipe_of(name: str, data: Mapping[str, Any]) -> Recipe:
    """A recipe from the values of a file; those it leaves out are taken from the recipe that its `base` names."""
    base = data.get("base")
    if not isinstance(base, str | None):
        raise InputError(f"the base of a recipe is the name of another; got {base!r:.60}")
    values = recipe(base).to_json() if base is not None else {}
    return Recipe.from_json(values | {"name": name} | {key: value for key, value in data.items() if key != "base"})
