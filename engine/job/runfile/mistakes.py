"""What is wrong with a run file, in the words of who wrote it: all of it at once, each with its place.

Checks of ours raise `InputError`, which pydantic lets through at the first one; `collected` makes them findings like
pydantic's own.
"""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from pydantic import BaseModel, ValidationError

from distilsearch.errors import InputError, unknown
from distilsearch.hiding import hidden

P = ParamSpec("P")
R = TypeVar("R")

EXPECTED = {  # pydantic's kinds of errors
    "int_type": "expected a whole number",
    "int_parsing": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "float_parsing": "expected a number",
    "string_type": "expected a word in quotes",
    "tuple_type": "expected a list in brackets",
    "list_type": "expected a list in brackets",
    "dict_type": "expected a table of keys",
    "model_type": "expected a table of keys",
    "model_attributes_type": "expected a table of keys",
}
LISTS = ("tuple_type", "list_type")
NUMBER = re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9]+)?")
NEAR, LEAST_NEARER = 0.75, 0.05  # how like a key of another table must be, and by how much more than any of its own


def collected(check: Callable[P, R]) -> Callable[P, R]:
    """A validator whose `InputError`s are findings beside the others."""

    @wraps(check)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return check(*args, **kwargs)
        except InputError as error:
            raise ValueError(str(error)) from None

    return checked


def explained(error: ValidationError, whole: type[BaseModel], sections: Mapping[str, type[BaseModel]]) -> Iterator[str]:
    """Every finding in a line of words.

    Args:
        whole: the model of the file.
        sections: those of its tables, by name.
    """
    problems = error.errors()
    within = {problem["loc"][:1] for problem in problems if len(problem["loc"]) > 1}
    for problem in problems:
        place = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "too_short" and problem["loc"] in within:
            continue  # a list is not empty because what it holds is wrong
        if problem["type"] == "extra_forbidden":
            table = str(problem["loc"][0]) if len(problem["loc"]) > 1 else ""
            yield f"{place}: {_unknown_key(str(problem['loc'][-1]), table, {'': whole, **sections})}"
        elif problem["type"] == "missing":
            yield f"{place}: is missing; every run needs it"
        elif problem["type"] in LISTS and isinstance(problem["input"], Mapping) and len(problem["loc"]) == 1:
            yield f"{place}: there may be several of it, each a table under [[{place}]]; got one under [{place}]"
        else:
            yield (f"{place}: " if place else "") + _said(problem)


def _unknown_key(key: str, table: str, tables: Mapping[str, type[BaseModel]]) -> str:
    """An unknown key: the nearest one of its table, or the nearer one of another table that it may be meant for."""
    own = unknown("key", key, tables.get(table, tables[""]).model_fields)
    others = {name: model for name, model in tables.items() if name != table}
    likeness = {(name, field): _likeness(key, field) for name, model in others.items() for field in model.model_fields}
    nearest = max(likeness, key=lambda place: likeness[place], default=("", ""))
    best = max((_likeness(key, field) for field in tables.get(table, tables[""]).model_fields), default=0.0)
    if likeness.get(nearest, 0.0) < max(NEAR, best + LEAST_NEARER):
        return str(own)
    name, field = nearest
    place = f"[{name}]" if name not in ("", "target") else "[[target]]" if name else "the top of the file"
    return f"unknown key {key!r} here: did you mean {field!r} in {place}?"


def _likeness(key: str, field: str) -> float:
    return difflib.SequenceMatcher(None, key, field).ratio()


def _said(problem: Mapping[str, Any]) -> str:
    """One finding: what was expected, what came."""
    kind, value = problem["type"], problem["input"]
    said = EXPECTED.get(kind) or re.sub("^(Input|String) should", "it should", str(problem["msg"]))
    said = said.removeprefix("Value error, ")
    if kind == "literal_error" and isinstance(value, str):
        near = difflib.get_close_matches(value, re.findall("'([^']*)'", said), n=1, cutoff=0.5)
        said += f" (did you mean {near[0]!r}?)" if near else ""
    if kind.startswith(("int", "float")) and isinstance(value, str) and NUMBER.fullmatch(value.strip()):
        said += ", without quotes"
    told = isinstance(value, Mapping) or (said.startswith("unknown ") and repr(value) in said)
    return hidden(said if told else f"{said}; got {value!r}")
