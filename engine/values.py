"""Values from outside, as what they should be: an `InputError` in the caller's terms where they are not."""

import math
import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from distilsearch.architecture import Architecture
from distilsearch.errors import InputError


def number(what: str, value: object) -> float:
    """A Python float out of a real number of any kind, numpy's among them; it may be infinite or no number."""
    item = getattr(value, "item", None)
    plain = item() if callable(item) and getattr(value, "ndim", 0) == 0 else value
    if not isinstance(plain, numbers.Real):
        raise InputError(f"{what} must be a number; got {_shown(value)}")
    try:
        return float(plain)
    except OverflowError:
        return math.inf


def whole(what: str, value: object, least: int = 0) -> int:
    """A Python integer that is not too small."""
    if not isinstance(value, numbers.Integral) or int(value) < least:
        raise InputError(f"{what} must be a whole number, {least} or more; got {_shown(value)}")
    return int(value)


def mapping(what: str, value: object) -> Mapping[str, Any]:
    """A mapping whose keys are text."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise InputError(f"{what} must be a mapping by name; got {_shown(value)}")
    return value


def items(what: str, value: object) -> Sequence[Any]:
    """The items of a list or the like; neither text nor a mapping is one."""
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise InputError(f"{what} must be a list; got {_shown(value)}")
    return list(value)


def architectures(what: str, value: object) -> list[Architecture]:
    """A list of architectures."""
    rows = items(what, value)
    for row in rows:
        if not isinstance(row, Architecture):
            raise InputError(f"{what} must be architectures, as ask() gives them; got {_shown(row)}")
    return list(rows)


def entry(what: str, holder: object, name: str, read: Callable[[str, object], Any]) -> Any:
    """An entry of a mapping, read by one of the functions above; it names what is missing."""
    held = mapping(what, holder)
    if name not in held:
        raise InputError(f"{what} has no {name!r}; got {sorted(held)}")
    return read(f"{name!r} of {what}", held[name])


def text(what: str, value: object) -> str:
    """Some text."""
    if not isinstance(value, str):
        raise InputError(f"{what} must be text; got {_shown(value)}")
    return value


def maybe(read: Callable[[str, object], Any]) -> Callable[[str, object], Any]:
    """The same for what may be None."""
    return lambda what, value: None if value is None else read(what, value)


def _shown(value: object) -> str:
    plain = repr(value)
    return f"{plain if len(plain) <= 60 else plain[:57] + '...'} ({type(value).__name__})"
