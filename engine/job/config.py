"""The run file: pydantic models of everything a search is asked to do.

Everything has a default but teacher and text. Unknown keys are errors that name the nearest known one. A run is
written back into its folder with all defaults filled in; calling again with a different one is refused.
"""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError, field_validator, model_validator

from distilsearch.architecture import Value
from distilsearch.errors import InputError, RunError, unknown
from distilsearch.families import family as known_family
from distilsearch.operators import Serving

GROWING = ("trials", "stop_below")  # what a later call may change without becoming another run
Whole = Annotated[int, Strict()]  # true is no number of trials
MOST_TARGETS = 2  # with the loss, as many objectives as an expected improvement is exact for


class Section(BaseModel):
    """A table of the run file: frozen, and strict about keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class SpaceSection(BaseModel):
    """`[space]`: the family, and choices for any of its genes; omitted genes take their default choices."""

    model_config = ConfigDict(extra="allow", frozen=True)
    family: str = "bert"

    @model_validator(mode="after")
    def _possible(self) -> "SpaceSection":
        known_family(self.family).space(self.genes)  # an unknown gene or an empty space is an error of the file
        return self

    @property
    def genes(self) -> dict[str, tuple[Value, ...]]:
        """The choices that the user named."""
        extra = self.__pydantic_extra__ or {}
        return {gene: tuple(c) if isinstance(c, list | tuple) else (c,) for gene, c in extra.items()}


class TrainSection(Section):
    """`[train]`: where and for how long students are distilled."""

    device: str = "auto"
    precision: Literal["auto", "float32", "bf16"] = "auto"
    recipe: str = "default"
    flash_tokens: Whole = Field(default=160_000, ge=1)
    longer_tokens: tuple[int, ...] = ()
    final_tokens: Whole = Field(default=2_000_000, ge=0)
    finish: Literal["knee", "front", "none"] = "knee"
    threads: Whole | None = Field(default=None, ge=1)

    @property
    def lengths(self) -> tuple[int, ...]:
        """The lengths a trial may have: `flash_tokens`, then the longer ones."""
        return (self.flash_tokens, *self.longer_tokens)

    @model_validator(mode="after")
    def _rising(self) -> "TrainSection":
        if any(a >= b for a, b in pairwise(self.lengths)):
            raise ValueError("longer_tokens must rise, from above flash_tokens")
        return self


class TargetSection(Section):
    """`[[target]]`: one machine and one way of serving; `latency_ms` is an optional limit."""

    device: str = "auto"
    serving: dict[str, Any] = Field(default_factory=dict)
    latency_ms: float | None = Field(default=None, gt=0)

    @field_validator("serving")
    @classmethod
    def _complete(cls, value: dict[str, Any]) -> dict[str, Any]:
        return Serving.from_json(value).to_json()

    @property
    def conditions(self) -> Serving:
        """The serving conditions as a value."""
        return Serving.from_json(self.serving)


class StorageSection(Section):
    """`[storage]`: the ledger's database (default: the run's own journal) and the limit of the target cache."""

    url: str = ""
    cache_limit_gb: float = Field(default=20.0, gt=0)


class Run(Section):
    """One search: what `distilsearch search run.toml` is asked to do."""

    name: str = Field(default="run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    teacher: str
    text: tuple[str, ...] = Field(min_length=1)
    text_temperature: float = Field(default=1.0, ge=1)
    text_tokens: Whole | None = Field(default=None, ge=1)
    preset: str = "default"
    trials: Whole = Field(default=24, ge=0)
    seed: Whole = Field(default=0, ge=0)
    loss_at_most: float | None = Field(default=None, gt=0)
    stop_below: float = Field(default=0.0, ge=0, lt=1)
    space: SpaceSection = SpaceSection()
    train: TrainSection = TrainSection()
    target: tuple[TargetSection, ...] = Field(default=(TargetSection(),), min_length=1)
    storage: StorageSection = StorageSection()

    @field_validator("text", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _few_enough(self) -> "Run":
        if len(self.target) > MOST_TARGETS and (self.stop_below or self.train.longer_tokens):
            raise ValueError(f"stop_below and longer_tokens need at most {MOST_TARGETS} targets")
        return self

    @property
    def reading(self) -> dict[str, Any]:
        """What `load_text` is to read, as plain JSON."""
        return {"sources": list(self.text), "temperature": self.text_temperature, "most_tokens": self.text_tokens}

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> "Run":
        """A run out of plain data; an `InputError` lists everything that is wrong with it."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise InputError("; ".join(_explained(error))) from None

    @classmethod
    def read(cls, path: Path) -> "Run":
        """A run out of a TOML file; relative text, teacher and recipe paths are relative to that file."""
        try:
            data = tomllib.loads(path.read_text())
        except FileNotFoundError:
            raise InputError(f"there is no run file {path}; write one, or try `distilsearch quickstart`") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{path} is not valid TOML: {error}") from None
        except OSError as error:
            raise InputError(f"cannot read the run file {path}: {error.strerror}") from None
        data.setdefault("name", re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem))
        run = cls.parse(data)
        teacher, recipe, *text = (_resolved(p, path.parent) for p in (run.teacher, run.train.recipe, *run.text))
        train = run.train.model_copy(update={"recipe": recipe})
        return run.model_copy(update={"teacher": teacher, "text": tuple(text), "train": train})

    def to_toml(self) -> str:
        """The run with all defaults written out, as TOML."""
        return "\n".join(_toml(self.model_dump(mode="json", exclude_none=True))) + "\n"

    def check_same(self, other: "Run") -> None:
        """Refuse to continue the run `other` when this one asks for something else; more trials are allowed."""
        mine, theirs = dict(_flat(self.model_dump(mode="json"))), dict(_flat(other.model_dump(mode="json")))
        names = sorted(n for n in mine.keys() | theirs.keys() if n not in GROWING and mine.get(n) != theirs.get(n))
        if names:
            listed = "; ".join(f"{n}: {theirs.get(n)!r} there, {mine.get(n)!r} now" for n in names)
            raise RunError(f"the run {self.name!r} was started with another run file ({listed}); give it a new name")


def _resolved(place: str, base: Path) -> str:
    """A path that exists beside the run file, absolute; anything else (a hub or datasets name) as it is."""
    if Path(place).is_absolute():
        return place
    pattern = str(base / place)
    found = Path(pattern).exists() or (any(c in place for c in "*?[") and any(base.glob(place)))
    return str(Path(pattern).resolve()) if found else place


_SECTIONS: dict[str, type[BaseModel]] = {"train": TrainSection, "target": TargetSection, "storage": StorageSection}


def _explained(error: ValidationError) -> Iterator[str]:
    problems = error.errors()
    within = {problem["loc"][:1] for problem in problems if len(problem["loc"]) > 1}
    for problem in problems:
        if problem["type"] == "too_short" and problem["loc"] in within:
            continue  # a list is not empty because what it holds is wrong
        place = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            section = _SECTIONS.get(str(problem["loc"][0]), Run) if len(problem["loc"]) > 1 else Run
            yield f"{place}: {unknown('key', str(problem['loc'][-1]), section.model_fields)}"
        elif problem["type"] == "missing":
            yield f"{place}: is missing; every run needs it"
        else:
            what = f"{place}: " if place else ""
            got = "" if isinstance(problem["input"], Mapping) else f"; got {problem['input']!r}"
            said = re.sub("^(Input|String) should", "it should", problem["msg"].removeprefix("Value error, "))
            yield what + said + got


def _toml(data: Mapping[str, Any]) -> Iterator[str]:
    plain = {k: v for k, v in data.items() if not _is_section(v)}
    yield from (f"{key} = {_literal(value)}" for key, value in plain.items())
    for key, value in data.items():
        if key not in plain:
            bodies = value if isinstance(value, list) else [value]
            for body in bodies:
                yield from ("", f"[[{key}]]" if isinstance(value, list) else f"[{key}]")
                yield from (f"{k} = {_literal(v)}" for k, v in body.items() if v is not None)


def _is_section(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def _literal(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {_literal(v)}" for k, v in value.items() if v is not None) + " }"
    return json.dumps(value, ensure_ascii=False)


def _flat(data: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(data, Mapping):
        for key, value in data.items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(data, list | tuple) and data and isinstance(data[0], Mapping):
        for index, value in enumerate(data):
            yield from _flat(value, f"{prefix}[{index}]")
    else:
        yield prefix, data
