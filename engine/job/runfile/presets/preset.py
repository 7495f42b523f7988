"""What a preset is: what a run file may leave open.

It is a value: a source and a strategy with their options, a recipe, a space and training defaults, in the words
of the run file. It lies under the run file: what the file says wins, key by key. A section that chooses another thing
(another family, strategy or source) leaves the preset's section behind as a whole, for options of one are none of the
other. What comes out is written into the run's own `run.toml`, so what a folder was started with does not change with
the preset.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CHOOSES = {"source": "name", "strategy": "name", "executor": "name", "space": "family"}  # a section, and what by

KINDS: Mapping[str, str] = {"embedding": "embedding", "mlm": "masked-LM", "causal": "causal"}  # of teachers, in words

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Preset:
    """Defaults of a run file, by section: plain JSON.

    Args:
        source: where trials come from: its `name`, and its options.
        strategy: who is trained next: its `name`, and its options.
        recipe: how a student trains: the name of a recipe.
        space: the `family` of students, and choices of its genes; both are the run file's to choose where empty.
        train: further keys of `[train]`.
        quality: what the search minimises, of `distill.quality.QUALITIES`.
        kinds: the kinds of teacher that it serves: those its recipe and its quality can be asked of.
    """

    source: Json = field(default_factory=lambda: {"name": "distilled"})
    strategy: Json = field(default_factory=lambda: {"name": "ehvi", "draws": 32})
    recipe: str = "default"
    space: Json = field(default_factory=dict)
    train: Json = field(default_factory=dict)
    quality: str = "loss"
    kinds: tuple[str, ...] = tuple(KINDS)

    def sections(self) -> dict[str, Any]:
        """The preset in the words of a run file."""
        tables = {"source": {**self.source}, "strategy": {**self.strategy}, "space": {**self.space}}
        return {"quality": self.quality, **tables, "train": {"recipe": self.recipe, **self.train}}


def merged(under: Json, over: Json) -> dict[str, Any]:
    """A run file with a preset's sections under it; a section that is a mere name is one that chooses by it."""
    result = dict(over)
    for section, key in CHOOSES.items():
        if isinstance(over.get(section), str):
            result[section] = {key: over[section]}
    for section, values in under.items():
        if not isinstance(values, Mapping):
            result.setdefault(section, values)
            continue
        given = result.get(section, {})
        if isinstance(given, Mapping):  # else validation says what is wrong with it
            result[section] = dict(given) if _another(section, values, given) else {**values, **given}
    return result


def _another(section: str, values: Json, given: Json) -> bool:
    """Whether a section of the run file chooses another thing than the preset's."""
    key = CHOOSES.get(section, "")
    return key in given and key in values and given[key] != values[key]
