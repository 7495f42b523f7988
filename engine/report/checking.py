"""Plain JSON of a result, read as a part of its schema: what is wrong with it is said by place, a few at a time."""

from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from distilsearch.errors import InputError, RunError

SCHEMA = 1
SEARCH_AGAIN = "call the search that made it again, by its run file or as `quickstart`"
SHOWN = 3  # problems that a message names

P = TypeVar("P", bound=BaseModel)


def read(kind: type[P], data: Any, place: str, cure: str = SEARCH_AGAIN) -> P:
    """Plain JSON as a part of the schema; a `RunError` names the first problems and the way out."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        problems = [f"{place_of(p['loc'])}: {p['msg'][:1].lower()}{p['msg'][1:]}" for p in error.errors()]
    except InputError as error:
        problems = [str(error)]
    more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    raise RunError(f"{place} is damaged ({'; '.join(problems[:SHOWN])}{more}); {cure}")


def check_schema(data: Any, place: str) -> None:
    """A `RunError` where it names no schema, or one that is newer than this version."""
    schema = data.get("schema") if isinstance(data, dict) else None
    if isinstance(schema, bool) or not isinstance(schema, int) or schema < 1:
        raise RunError(f"{place} is damaged (it names no schema); {SEARCH_AGAIN}")
    if schema > SCHEMA:
        raise RunError(
            f"{place} is of schema {schema}, written by a newer distilsearch; this one reads schemas up to {SCHEMA}:"
            " update distilsearch, or search into another folder"
        )


def place_of(location: Sequence[int | str]) -> str:
    """Where a part lies, as Python would write it."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".") or "it"
