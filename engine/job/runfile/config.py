"""The run file: everything a search is asked to do.

Everything has a default but teacher and text: the preset's, else the one written here. Unknown keys are errors that
name the nearest known one. A run is written back into its folder with all defaults filled in; calling again with
a different one is refused, see `continuing`.
"""

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ModelWrapValidatorHandler, ValidationError, ValidationInfo, field_validator, model_validator

from distilsearch import plugins
from distilsearch.distill.texts.sources import AUTO, NONE
from distilsearch.dropped import dropped
from distilsearch.errors import InputError
from distilsearch.families import TeacherFacts, family
from distilsearch.families.cuts import GENE, is_subset, spelt_out
from distilsearch.families.shared import too_large
from distilsearch.places import literal_folders
from distilsearch.space import SearchSpace

from ..serving.served import ServedSpace
from .evaluated import EvaluateSection, ProxySection
from .mistakes import collected, explained
from .presets import PRESETS, preset
from .reading import check_name, read_toml, run_name
from .sections import (
    SECTIONS,
    ExecutorSection,
    ExportSection,
    Section,
    SourceSection,
    SpaceSection,
    StorageSection,
    StrategySection,
    TargetSection,
    TrainSection,
    Whole,
    mark_given,
)
from .serving import LENGTHS, OF_TEXT
from .toml import to_toml

WHOLE_FILE = "the file holds all its defaults"  # in a validation's context: no preset lies under it
UNBOUNDED = SourceSection.model_validate(PRESETS["default"].source)
E = TypeVar("E", EvaluateSection, ProxySection)
MOST_HELDOUT = 2_000  # as `texts.data` has it, which loads what reads texts
MOST_TARGETS = 2  # with the loss, as many objectives as an expected improvement is exact for


class Run(Section):
    """One search: what `distilsearch search run.toml` is asked to do."""

    name: str = "run"
    plugins: tuple[str, ...] = ()
    teacher: str
    text: tuple[str, ...] = Field(min_length=1)
    text_temperature: float = Field(default=1.0, ge=1)
    text_tokens: Whole | None = Field(default=None, ge=1)
    text_block: Whole | None = Field(default=None, ge=16)
    text_heldout: Annotated[Whole, Field(ge=32, le=MOST_HELDOUT)] | Literal["auto"] = "auto"
    text_column: str = Field(default="text", min_length=1)
    prompt: str = ""
    probe_text: tuple[str, ...] = Field(default=(AUTO,), min_length=1)
    preset: str = "default"
    quality: Literal["loss", "accuracy"] = "loss"
    trials: Whole = Field(default=24, ge=0)
    minutes: float = Field(default=0.0, ge=0)
    seed: Whole = Field(default=0, ge=0)
    choose: Literal["auto", "knee", "quality", "fastest"] = "auto"
    loss_at_most: float | None = Field(default=None, gt=0)
    stop_below: float = Field(default=0.0, ge=0, lt=1)
    source: SourceSection
    strategy: StrategySection
    space: SpaceSection = SpaceSection()
    train: TrainSection = TrainSection()
    target: tuple[TargetSection, ...] = Field(default=(TargetSection(),), min_length=1)
    proxy: ProxySection | None = None
    evaluate: tuple[EvaluateSection, ...] = ()
    executor: ExecutorSection = ExecutorSection()
    storage: StorageSection = StorageSection()
    export: ExportSection = ExportSection()

    @model_validator(mode="wrap")
    @classmethod
    def _marked(cls, data: Any, handler: ModelWrapValidatorHandler["Run"]) -> "Run":
        run = handler(data)
        mark_given(run, data)
        return run

    @model_validator(mode="before")
    @classmethod
    @collected
    def _over_preset(cls, data: Any, info: ValidationInfo) -> Any:
        if not isinstance(data, Mapping) or info.context == WHOLE_FILE:
            return data
        load_plugins(data)
        name = data.get("preset", "default")
        under = name if isinstance(name, str) and name in PRESETS else "default"  # else validation says what is wrong
        return _timed(preset(under).over(data))

    @field_validator("name")
    @classmethod
    def _a_folder(cls, value: str) -> str:
        return check_name(value)

    @field_validator("preset")
    @classmethod
    @collected
    def _known(cls, value: str) -> str:
        preset(value)
        return value

    @field_validator("text_heldout", mode="before")
    @classmethod
    def _blocks(cls, value: Any) -> Any:
        if value == "auto" or (type(value) is int and 32 <= value <= MOST_HELDOUT):
            return value
        raise ValueError(f'it should be "auto" or a number from 32 to {MOST_HELDOUT:,}; got {value!r}')

    @field_validator("text", "probe_text", "plugins", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _few_enough(self) -> "Run":
        if len(self.target) > MOST_TARGETS and (self.stop_below or self.train.longer_tokens):
            raise ValueError(f"stop_below and longer_tokens need at most {MOST_TARGETS} targets")
        if len(self.target) > 1 and any(section.choices for section in self.target):
            raise ValueError(
                "choices of a serving need a run of one target: a student has one loss, that of the file that is"
                " served, and two machines that serve different files of it would have two; make it two runs,"
                " the second one trains nothing again"
            )
        return self

    @model_validator(mode="after")
    def _one_budget(self) -> "Run":
        if self.minutes and self.trials:
            raise ValueError("trials and minutes both say when to stop; give one of them")
        if self.minutes and self.train.longer_tokens:
            raise ValueError("longer_tokens need trials: with minutes, the run decides who is trained longer")
        if not self.minutes and not self.train.flash_tokens:
            raise ValueError("train.flash_tokens should be 1 or more; 0 leaves it to a run of some minutes")
        return self

    @model_validator(mode="after")
    def _scored(self) -> "Run":
        if self.minutes and self.source.options.get("super_tokens"):
            raise ValueError("minutes are shared out among trials, and say nothing of super-networks: give trials")
        if self.lengths != (0,):
            return self
        what = f"trials of the source {self.source.name!r} train nothing"
        if self.train.longer_tokens:
            raise ValueError(f"{what}, so none of them can be trained for longer: leave longer_tokens out")
        return self

    @model_validator(mode="after")
    def _rankable(self) -> "Run":
        if self.proxy is None:
            return self
        if self.minutes:
            raise ValueError("minutes are shared out among trials, and say nothing of a [proxy]: give trials")
        if self.loss_at_most is not None:
            raise ValueError("loss_at_most chooses by the loss and [proxy] by a score; leave one of them out")
        if self.choice == "fastest":
            raise ValueError(
                'choose = "fastest" looks at no score, so a [proxy] has no say in it; leave one of them out'
            )
        return self

    @property
    def choice(self) -> str:
        """What `choose` means: where it is left open, the knee, or the best within a limit on latency."""
        if self.choose != "auto":
            return self.choose
        return "quality" if any(section.limits_latency for section in self.target) else "knee"

    @property
    def latencies(self) -> tuple[str, ...]:
        """What the latencies of the targets are called, in their order: "latency_ms", "latency_ms_2", ..."""
        return ("latency_ms", *(f"latency_ms_{i}" for i in range(2, len(self.target) + 1)))

    @property
    def reading(self) -> dict[str, Any]:
        """What `load_text` is to read, as plain JSON."""
        asked = {"temperature": self.text_temperature, "most_tokens": self.text_tokens, "block": self.text_block}
        asked |= {"most_heldout": self.most_heldout}
        return {"sources": list(self.text), **asked, "column": self.text_column}

    @property
    def most_heldout(self) -> int:
        """How many held-out blocks students are measured on at most: all there may be, until that has been settled."""
        return MOST_HELDOUT if self.text_heldout == "auto" else self.text_heldout

    @property
    def remarks(self) -> tuple[str, ...]:
        """What whoever wrote the file should know of it, though it can be done: choices that constraints drop."""
        words = dropped(self.students()) if self.space.genes else []
        return tuple(word for word in words if word.partition(" = ")[0] in self.space.genes)  # others nobody wrote

    def fitted(self, facts: TeacherFacts) -> "Run":
        """The run with the choices that its preset has for a teacher, where the file leaves them open.

        Raises:
            InputError: the preset has none for such a teacher.
        """
        given = self.space.model_fields_set if "space" in self.model_fields_set else set()
        plain = preset(self.preset).fitted(self.space.model_dump(mode="json"), given, facts)
        return self.model_copy(update={"space": SpaceSection.model_validate(plain)})

    def space_for(self, facts: TeacherFacts | None = None) -> ServedSpace:
        """What is searched: the family's space cut to a teacher's size, and the choices of how students are served.

        Raises:
            InputError: genes ask for more than the teacher has.
        """
        return ServedSpace.extend(self.students(facts), self.target, judged=self.lengths != (0,))

    def students(self, facts: TeacherFacts | None = None) -> SearchSpace:
        """The students that trials are made of: the family's, within what the source makes; cut to a teacher's size.

        Raises:
            InputError: genes ask for more than the teacher has, or the source makes none of them.
        """
        if self.source == UNBOUNDED:  # which needs no import
            space = family(self.space.family).space(self.space.genes, facts)
            if facts is None or not self.spells:
                return space
            return family(self.space.family).space(spelt_out(self.space.genes, space, facts), facts)
        from ..source import students_of

        return students_of(self.source.name, self.source.options, self.space.family, self.space.genes, facts)

    def too_large(self, facts: TeacherFacts) -> list[str]:
        """Choices of the file that are left out since its teacher has less, a sentence each."""
        return too_large(self.space.genes, self.students(facts), facts)

    @property
    def spells(self) -> bool:
        """Whether students are known by the layers that they start from, and not by the name of a rule."""
        return self.source == UNBOUNDED and self.space.cuts is not None

    def judges(self, facts: TeacherFacts) -> bool:
        """Whether cuts are to be measured: where `inherit` is left open, of students that start from layers."""
        usual = self.source == UNBOUNDED and facts.family == self.space.family
        return usual and bool(self.space.cuts) and GENE not in self.space.genes

    @property
    def foresees(self) -> bool:
        """Whether students are judged untrained: where cuts are choices, and the strategy learns what it is shown."""
        cuts = any(map(is_subset, self.space.genes.get(GENE, ())))
        return bool(self.space.cuts) and cuts and self.strategy.name == "ehvi"

    def choosing(self, cuts: Sequence[str]) -> "Run":
        """The run with these cuts among the choices of `inherit`, beside the rules."""
        genes = self.space.model_dump(mode="json")
        space = family(self.space.family).space(self.space.genes)
        rules = next((parameter.choices for parameter in space.parameters if parameter.name == GENE), ())
        section = SpaceSection.model_validate({**genes, GENE: [*rules, *cuts]})
        return self.model_copy(update={"space": section})

    @property
    def lengths(self) -> tuple[int, ...]:
        """The lengths that trials may have, in tokens, rising; 0 where the source's trials train nothing."""
        if self.source == UNBOUNDED:
            return self.train.lengths
        from ..source import scores

        return (0,) if scores(self.source.name) else self.train.lengths

    @classmethod
    def parse(cls, data: Mapping[str, Any], context: str | None = None) -> "Run":
        """A run out of plain data; an `InputError` lists everything that is wrong with it."""
        try:
            return cls.model_validate(data, context=context)
        except ValidationError as error:
            mistakes = list(explained(error, cls, SECTIONS))
            listed = f"{len(mistakes)} mistakes:" + "".join(f"\n  {one}" for one in mistakes)
            raise InputError(listed if len(mistakes) > 1 else mistakes[0]) from None

    @classmethod
    def read(cls, path: Path) -> "Run":
        """A run out of a TOML file; relative text, teacher and recipe paths are relative to that file."""
        data = read_toml(path)
        data.setdefault("name", run_name(path.stem))
        run = cls.parse(data)
        teacher, recipe, *text = (_resolved(p, path.parent) for p in (run.teacher, run.train.recipe, *run.text))
        places: dict[str, Any] = {"teacher": teacher, "text": tuple(text)}
        if run.probe_text not in ((AUTO,), (NONE,)):
            places["probe_text"] = tuple(_resolved(place, path.parent) for place in run.probe_text)
        if any(one.lengths_from not in (None, OF_TEXT) for one in run.target):
            places["target"] = tuple(_with_requests(one, path.parent) for one in run.target)
        if run.evaluate:
            places["evaluate"] = tuple(_placed(one, path.parent) for one in run.evaluate)
        if run.proxy:
            places["proxy"] = _placed(run.proxy, path.parent)
        if recipe != run.train.recipe:  # else nobody gave one, and that stays known
            places["train"] = run.train.model_copy(update={"recipe": recipe})
        return run.model_copy(update=places)

    def to_toml(self) -> str:
        """The run with all defaults written out, as TOML."""
        return to_toml(self.model_dump(mode="json"))


def _timed(data: dict[str, Any]) -> dict[str, Any]:
    """A run file that gives minutes leaves to the plan what it does not say itself: trials, and both lengths."""
    train = data.get("train", {})
    if not data.get("minutes") or not isinstance(train, Mapping):
        return data
    return {"trials": 0, **data, "train": {"flash_tokens": 0, "final_tokens": 0, **train}}


def load_plugins(data: Mapping[str, Any]) -> None:
    """Make known what plugins add, before anything is looked up by name."""
    modules = data.get("plugins", ())
    modules = [modules] if isinstance(modules, str) else modules
    if isinstance(modules, list | tuple) and all(isinstance(one, str) for one in modules):
        plugins.load(modules)  # what else it may be, validation refuses


def _placed(section: E, base: Path) -> E:
    """A table with what it is on resolved."""
    return section.model_copy(update={"on": _resolved(section.on, base)}) if section.on else section


def _with_requests(section: TargetSection, base: Path) -> TargetSection:
    """A target with the file of its requests absolute, whether it is still there or not: a run has counted them."""
    place = section.lengths_from
    if place in (None, OF_TEXT):
        return section
    file = str((base / str(place)).resolve())
    return section.model_copy(update={"serving": {**section.serving, LENGTHS: file}})


def _resolved(place: str, base: Path) -> str:
    """A path that exists beside the run file, absolute; anything else (a hub or datasets name) as it is."""
    if Path(place).is_absolute():
        return place
    if (base / place).exists():
        return str((base / place).resolve())
    pattern = literal_folders((base / place).resolve())
    return pattern if glob.has_magic(place) and glob.glob(pattern, recursive=True) else place  # noqa: PTH207
