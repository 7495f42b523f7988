"""The tables of a run file that name an evaluation: `[[evaluate]]`, what students are scored by after the finish, and
`[proxy]`, the task that candidates are fine-tuned on before it, so that who is chosen and finished follows their score.

`with` names the evaluation (`evaluation` here, since it is a word of Python's), `on` the file or folder that it is held
against; all keys that are not the table's own are its options.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from distilsearch.errors import InputError

from .mistakes import collected
from .sections import Whole

WITH = "with"
RANKING = ("glue", "next_sentence", "similarity")  # evaluations of which more is better, of each score
MOST_PROXIES = 64


class EvaluatedSection(BaseModel):
    """What both tables share. A subclass may have a usual evaluation, and other defaults for options."""

    model_config = ConfigDict(extra="allow", frozen=True, validate_default=True)
    usual: ClassVar[str | None] = None
    short: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    among: ClassVar[tuple[str, ...]] = ()  # those that it may name; empty: any
    on: str = ""

    @model_validator(mode="before")
    @classmethod
    @collected
    def _possible(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        name, own = data.get(WITH, cls.usual), {key: data[key] for key in cls.model_fields if key in data}
        if not isinstance(name, str):
            raise InputError(f'expected the name of an evaluation, such as {WITH} = "glue"; got {name!r}')
        if cls.among and name not in cls.among:
            listed = ", ".join(map(repr, cls.among))
            raise InputError(f"students are ranked by scores of which more is better: those of {listed}; got {name!r}")
        from .evaluations import options_of

        given = {key: value for key, value in data.items() if key not in (WITH, *own)}
        return {WITH: name, **own, **options_of(name, {**cls.short.get(name, {}), **given})}

    @property
    def evaluation(self) -> str:
        """Its name."""
        return str((self.__pydantic_extra__ or {})[WITH])

    @property
    def options(self) -> dict[str, Any]:
        """Its options, all of them."""
        return {key: value for key, value in (self.__pydantic_extra__ or {}).items() if key != WITH}


class EvaluateSection(EvaluatedSection):
    """`[[evaluate]]`: what students and teacher are scored by after the finish; `of` says which students."""

    of: Literal["front", "chosen"] = "front"


class ProxySection(EvaluatedSection):
    """`[proxy]`: the task that `students` of the front are scored on before one is chosen.

    A fine-tuning is short unless the file says otherwise: some thousand rows, one rate and one seed.
    """

    usual: ClassVar[str | None] = "glue"
    short: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "glue": {"seeds": 1, "epochs": 2, "learning_rates": [1e-4], "rows": 2_000}
    }
    among: ClassVar[tuple[str, ...]] = RANKING
    students: Whole = Field(default=8, ge=2, le=MOST_PROXIES)
