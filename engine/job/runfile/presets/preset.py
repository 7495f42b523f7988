"""What a preset is: what a run file may leave open.

It is a value: a source and a strategy with their options, a recipe, a space and training defaults, in the words
of the run file. It lies under the run file: what the file says wins, key by key. A section that chooses another thing
(another family, strategy or source) leaves the preset's section behind as a whole, for options of one are none of the
other. What comes out is written into the run's own `run.toml`, so what a folder was started with does not change with
the preset.
"""

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from typing import Any

from distilsearch.families import TeacherFacts

CHOOSES = {"source": "name", "strategy": "name", "executor": "name", "space": "family"}  # a section, and what by

KINDS: Mapping[str, str] = {"embedding": "embedding", "mlm": "masked-LM", "causal": "causal"}  # of teachers, in words

LENGTHS = ("flash_tokens", "longer_tokens", "final_tokens")  # of `[train]`
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
        flash_share: of `final_tokens`, how long trials are where the run file gives that length alone; 0 says nothing.
        space_of: the choices of genes for a teacher, where they depend on it; they stand in for those of `space` that
            the run file leaves open, once the teacher is known. An `InputError` where there are none.
        kinds: the kinds of teacher that it serves: those its recipe and its quality can be asked of.
        episodes: of a strategy that searches in episodes, how many the trials of a run make: where the run file says
            how many trials there are, the strategy's `candidates` follow, unless they are given too; 0 says nothing.
        recipes: other recipes, by the kind of teacher that they are for.
        trials: how many, where that is not the usual number.
    """

    source: Json = field(default_factory=lambda: {"name": "distilled"})
    strategy: Json = field(default_factory=lambda: {"name": "ehvi", "draws": 32})
    recipe: str = "auto"
    space: Json = field(default_factory=dict)
    train: Json = field(default_factory=dict)
    quality: str = "loss"
    flash_share: float = 0.0
    space_of: Callable[[TeacherFacts], Json] | None = field(default=None, compare=False)
    kinds: tuple[str, ...] = tuple(KINDS)
    episodes: int = 0
    recipes: Mapping[str, str] = field(default_factory=dict)
    trials: int | None = None

    def sections(self) -> dict[str, Any]:
        """The preset in the words of a run file."""
        tables = {"source": {**self.source}, "strategy": {**self.strategy}, "space": {**self.space}}
        return {"quality": self.quality, **tables, "train": {"recipe": self.recipe, **self.train}}

    def over(self, given: Json) -> dict[str, Any]:
        """A run file with this preset under it; where it gives minutes, a plan says how long trainings are."""
        sections, train = self.sections(), given.get("train", {})
        for length in LENGTHS if given.get("minutes") else ():
            sections["train"].pop(length, None)
        final = train.get("final_tokens") if isinstance(train, Mapping) else None
        if self.flash_share and type(final) is int and final > 0:
            sections["train"]["flash_tokens"] = max(1, round(self.flash_share * final))
        trials = given.get("trials")
        if self.episodes and type(trials) is int and trials > 0:
            sections["strategy"]["candidates"] = max(1, round(trials / self.episodes))
        usual = {} if self.trials is None or given.get("minutes") else {"trials": self.trials}
        return {**usual, **merged(sections, given)}

    def fitted(self, space: Json, given: Container[str], teacher: TeacherFacts) -> dict[str, Any]:
        """A run's `[space]` for its teacher: what the run file has given of it stays."""
        family = self.space.get("family", space.get("family"))  # of one that names none, the run file's
        if self.space_of is None or space.get("family") != family:
            return dict(space)
        own = {gene: list(choices) for gene, choices in self.space_of(teacher).items() if gene not in given}
        open_ = {gene for gene in self.space if gene != "family" and gene not in given}
        return {gene: value for gene, value in space.items() if gene not in open_} | own


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
