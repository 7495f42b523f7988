"""The tables of a run file, `[space]`, `[train]`, `[[target]]` and the others: frozen models that know their keys."""

import math
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict, field_validator, model_validator

from distilsearch.architecture import Value
from distilsearch.distill import FLASH_TOKENS, PRECISION_NAMES
from distilsearch.distill.served.artefact import layout
from distilsearch.distill.served.asked import ways_of
from distilsearch.errors import unknown
from distilsearch.families import family as known_family
from distilsearch.operators import Serving
from distilsearch.request_lengths import RequestLengths

from ..serving.combinations import possible
from .mistakes import collected
from .options import checked_options
from .presets import CHOOSES, PRESETS
from .serving import LENGTHS, whole_serving

SHARE = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*x(\s+(the\s+)?teacher)?\s*", re.IGNORECASE)  # of the teacher's latency
TRAIN_DEVICES = re.compile(r"auto|cpu|cuda(:\d+)?")
Whole = Annotated[int, Strict()]  # true is no number of trials


class Section(BaseModel):
    """A table of the run file: frozen, and strict about keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


class Chosen(BaseModel):
    """A table that chooses something by `name`; all its other keys are options of what it chose."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str

    @property
    def options(self) -> dict[str, Any]:
        """What is called with, beside the name."""
        return dict(self.__pydantic_extra__ or {})


def mark_given(section: BaseModel, given: Any) -> None:
    """Make `model_fields_set` say what a file gives of a table and of those within it, without what lay under it."""
    if not isinstance(given, Mapping):
        return
    object.__setattr__(section, "__pydantic_fields_set__", set(given))
    for name in type(section).model_fields:
        table, value, chooser = getattr(section, name), given.get(name, {}), CHOOSES.get(name)
        if isinstance(table, BaseModel):
            mark_given(table, {chooser: value} if isinstance(value, str) and chooser else value)
        elif isinstance(table, tuple) and isinstance(value, list | tuple):
            for one, plain in zip(table, value, strict=False):
                if isinstance(one, BaseModel):
                    mark_given(one, plain)


class SourceSection(Chosen):
    """`[source]`: where trials come from."""

    @model_validator(mode="before")
    @classmethod
    @collected
    def _possible(cls, data: Any) -> Any:
        if data == PRESETS["default"].source or not _named(data):
            return data  # the usual one needs no import
        from ..source import GIVEN, SOURCES

        complete = _complete("source", SOURCES, data, GIVEN)
        spelt_out = getattr(SOURCES[complete["name"]], "spelt_out", None)
        if spelt_out is None:
            return complete
        return {"name": complete["name"], **spelt_out({k: v for k, v in complete.items() if k != "name"})}


class StrategySection(Chosen):
    """`[strategy]`: who is trained next."""

    @model_validator(mode="before")
    @classmethod
    @collected
    def _possible(cls, data: Any) -> Any:
        if data == PRESETS["default"].strategy or not _named(data):
            return data  # the usual one needs no import of torch, so a mistake elsewhere is told at once
        from ...strategies import STRATEGIES, find_strategy

        complete = _complete("strategy", STRATEGIES, data)
        find_strategy(complete["name"], {k: v for k, v in complete.items() if k != "name"})  # values it refuses
        return complete


def _named(data: Any) -> bool:
    return isinstance(data, Mapping) and isinstance(data.get("name"), str)


def _complete(what: str, registry: Mapping[str, Any], data: Mapping[str, Any], given: tuple[str, ...] = ()) -> Any:
    """The table with the defaults of all options written out."""
    name = data["name"]
    if name not in registry:
        raise unknown(what, name, registry)
    options = {key: value for key, value in data.items() if key != "name"}
    return {"name": name, **checked_options(f"{what} {name!r}", registry[name], options, given)}


class SpaceSection(BaseModel):
    """`[space]`: the family, and choices for any of its genes; omitted genes take their default choices.

    `cuts`: how many of the best cuts of each depth, as they are measured before the search, are choices of `inherit`
    beside the rules, where it is left open. None: of a run that began before there were any; it spells rules by name.
    """

    model_config = ConfigDict(extra="allow", frozen=True)
    family: str = "bert"
    cuts: Whole | None = Field(default=2, ge=0)

    @model_validator(mode="after")
    @collected
    def _possible(self) -> "SpaceSection":
        known_family(self.family).space(self.genes)  # an unknown gene or an empty space is an error of the file
        return self

    @property
    def genes(self) -> dict[str, tuple[Value, ...]]:
        """The choices that the user named."""
        extra = self.__pydantic_extra__ or {}
        return {gene: tuple(c) if isinstance(c, list | tuple) else (c,) for gene, c in extra.items()}


class TrainSection(Section):
    """`[train]`: where, by how many and for how long students are distilled."""

    device: str = "auto"
    precision: Literal["auto", "float32", "bf16"] = "auto"
    recipe: str = "auto"
    flash_tokens: Whole = Field(default=FLASH_TOKENS, ge=0)
    longer_tokens: tuple[int, ...] = ()
    final_tokens: Whole = Field(default=2_000_000, ge=0)
    share: float = Field(default=1.0, gt=0, le=1)
    finish: Literal["budgets", "chosen", "front", "none"] = "budgets"
    workers: Whole | Literal["auto"] = "auto"
    threads: Whole | None = Field(default=None, ge=1)

    @field_validator("precision", mode="before")
    @classmethod
    def _precision(cls, value: Any) -> Any:
        return PRECISION_NAMES.get(value, value) if isinstance(value, str) else value

    @field_validator("device")
    @classmethod
    def _device(cls, value: str) -> str:
        if not TRAIN_DEVICES.fullmatch(value):
            raise ValueError(str(unknown("training device", value, ("auto", "cpu", "cuda", "cuda:N"))))
        return value

    @field_validator("finish", mode="before")
    @classmethod
    def _finish(cls, value: Any) -> Any:
        return "chosen" if value == "knee" else value  # its name when the knee was all that could be chosen

    @field_validator("workers", mode="before")
    @classmethod
    def _workers(cls, value: Any) -> Any:
        if value != "auto" and (type(value) is not int or value < 1):
            raise ValueError('it should be "auto" or a number of 1 or more')
        return value

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
    """`[[target]]`: one serving machine, how students are served there, and limits that they must keep.

    `latency` is a limit like `latency_ms`, as a share of the teacher's latency there: "0.2x teacher".
    `memory_mb` is held against weights and activations as they are served, in units of 10^6 bytes; against
    weights alone where `memory_counts` says so.
    `gflops` is held against 10^9 floating-point operations of one forward pass, as it is served.
    `loss`: whose loss counts, that of the student as it is "served" or as it was "trained".
    `profile_minutes`: that timing its operators may take at most, at each call; the most valuable come first.
    `request_lengths`: what the lengths of requests that `serving` names came to; the run's folder keeps what it found.
    """

    device: str = "auto"
    serving: dict[str, Any] = Field(default_factory=dict)
    latency_ms: float | None = Field(default=None, gt=0)
    latency: str | None = None
    memory_mb: float | None = Field(default=None, gt=0)
    parameters: Whole | None = Field(default=None, ge=1)
    gflops: float | None = Field(default=None, gt=0)
    profile_minutes: float | None = Field(default=None, gt=0)
    loss: Literal["served", "trained"] = "served"
    memory_counts: Literal["all", "weights"] = "all"
    request_lengths: str | None = None

    @field_validator("serving")
    @classmethod
    @collected
    def _complete(cls, value: dict[str, Any]) -> dict[str, Any]:
        return whole_serving(value)

    @field_validator("latency", mode="before")
    @classmethod
    def _share(cls, value: Any) -> Any:
        """In one spelling, or an error says what it should be."""
        if value is None:
            return None
        match = SHARE.fullmatch(value) if isinstance(value, str) else None
        share = float(match[1]) if match else 0.0
        if not 0 < share < math.inf:
            raise ValueError('it should be a share of the teacher\'s, such as "0.2x teacher"; of ms, write latency_ms')
        if share > 1:
            raise ValueError(
                f'it allows more than the teacher takes; {share:g}x its speed is "{1 / share:.3g}x teacher"'
            )
        return f"{share:g}x teacher"

    @model_validator(mode="after")
    def _one_limit(self) -> "TargetSection":
        if self.latency_ms is not None and self.latency is not None:
            raise ValueError("latency_ms and latency are two limits on the same; give one of them")
        return self

    @model_validator(mode="after")
    def _of_lengths(self) -> "TargetSection":
        if self.request_lengths is not None:
            if self.lengths_from is None:
                raise ValueError('request_lengths is what serving = { lengths = "text" } comes to; give lengths alone')
            self._lengths()
        return self

    @collected
    def _lengths(self) -> RequestLengths:
        return RequestLengths.parse(str(self.request_lengths))

    @property
    def lengths_from(self) -> str | None:
        """Where requests are of many lengths: "text", or the file that holds some."""
        return self.serving.get(LENGTHS)

    @property
    def limits_latency(self) -> bool:
        """Whether there is a limit on the latency here."""
        return self.latency_ms is not None or self.latency is not None

    @property
    def limits_size(self) -> bool:
        """Whether there is a limit on what is known of a student at once."""
        return any(limit is not None for limit in (self.parameters, self.memory_mb, self.gflops))

    @property
    def latency_share(self) -> float | None:
        """The limit as a share of the teacher's latency, where it is one."""
        return None if self.latency is None else float(self.latency.partition("x")[0])

    @property
    def choices(self) -> dict[str, tuple[Value, ...]]:
        """What of the serving is a list of choices, each of two or more."""
        return {name: tuple(value) for name, value in self.serving.items() if isinstance(value, list)}

    @property
    def servings(self) -> tuple[Serving, ...]:
        """The serving conditions as values: one, or one for every combination of choices that there is.

        Of many lengths only once these are known.
        """
        known = {} if self.request_lengths is None else {LENGTHS: self.request_lengths}
        return possible({name: value for name, value in self.serving.items() if name != LENGTHS} | known)

    @property
    def runtimes(self) -> tuple[str, ...]:
        """The runtimes of the servings, in their order: each has a table of its own."""
        return tuple(dict.fromkeys(serving.runtime for serving in self.servings))

    @property
    def conditions(self) -> Serving:
        """The first of the servings; batch, sequence, phase and threads are those of all."""
        return self.servings[0]


class ExecutorSection(Section):
    """`[executor]`: who runs jobs; `address` and `depot` are of executors that reach other machines.

    `patience_minutes`: silence after which a child of this machine counts as hung.
    """

    name: str = "local"
    address: str = ""
    depot: str = ""
    patience_minutes: float = Field(default=15.0, gt=0, allow_inf_nan=False)

    @field_validator("name")
    @classmethod
    def _known(cls, value: str) -> str:
        if value != "local":  # which needs no import
            from ..executors import EXECUTORS

            if value not in EXECUTORS:
                raise ValueError(str(unknown("executor", value, EXECUTORS)))
        return value


class ExportSection(Section):
    """`[export]`: runtimes and precisions that the students of the front are exported for at the end; none by default.

    A name alone is a list of one.
    """

    runtime: tuple[str, ...] = ()
    dtype: tuple[str, ...] = Field(default=("float32",), min_length=1)

    @field_validator("runtime", "dtype", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    @collected
    def _known(self) -> "ExportSection":
        for runtime, dtype in self.ways:
            layout(runtime, dtype)
        return self

    @property
    def ways(self) -> tuple[tuple[str, str], ...]:
        """Every runtime in every precision."""
        return ways_of(self.runtime, self.dtype)


class StorageSection(Section):
    """`[storage]`: the ledger's database (default: the run's own journal) and the limit of the target cache."""

    url: str = ""
    cache_limit_gb: float = Field(default=20.0, gt=0)


SECTIONS: dict[str, type[BaseModel]] = {
    "train": TrainSection, "target": TargetSection, "executor": ExecutorSection, "storage": StorageSection,
    "export": ExportSection,
}  # fmt: skip
