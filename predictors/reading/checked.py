"""Reading a predictor's JSON without trust: every value is what it should be, or the file is refused.

`ValueError` where a value makes no sense, which the reader turns into "damaged"; `TableError` where something is there
that this version does not know, since reading the rest would be reading half.
"""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from distilsearch.arrays import FloatArray
from distilsearch.errors import TableError
from distilsearch.operators import Operator, newer_part

HASH = "content_sha256"
LARGEST = 1e30  # no figure of a machine is larger
LONGEST_SECONDS = 1e6


def hashed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content with its own hash, so that a change by one digit is noticed."""
    return {**content, HASH: content_hash(content)}


def content_hash(content: Mapping[str, Any]) -> str:
    """sha256 of the canonical JSON of all but the hash."""
    said = {name: value for name, value in content.items() if name != HASH}
    return hashlib.sha256(json.dumps(said, sort_keys=True, allow_nan=False).encode()).hexdigest()


def newer(what: str) -> TableError:
    """The error for what a newer version must have written."""
    return TableError(
        f"the predictor holds {what}, which this version does not know: a newer version of distilsearch, or a plugin,"
        " wrote it; upgrade distilsearch (or load the plugin), or fit the predictor again"
    )


def known(what: str, value: Any, names: Collection[str]) -> str:
    """A name out of a list that grows."""
    if not isinstance(value, str):
        raise ValueError(f"expected the name of a {what}; got {value!r}")
    if value not in names:
        raise newer(f"the {what} {value!r}")
    return value


def fields(what: str, data: Any, names: Collection[str], added: Collection[str] = ()) -> Mapping[str, Any]:
    """An object with exactly these keys; those of `added` may be missing."""
    if not isinstance(data, dict):
        raise ValueError(f"expected the values of {what}; got {data!r}")
    if lacking := sorted(set(names) - set(data) - set(added)):
        raise ValueError(f"{what} lacks {', '.join(lacking)}")
    if foreign := sorted(set(data) - set(names)):
        raise newer(f"the value {foreign[0]!r} of {what}")
    return data


def number(value: Any, least: float = -LARGEST, most: float = LARGEST) -> float:
    """A number from `least` to `most`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise ValueError(f"expected a number from {least:g} to {most:g}; got {value!r}")
    return float(value)


def positive(value: Any, most: float = LARGEST) -> float:
    """A number above 0 and up to `most`."""
    if number(value, 0.0, most) == 0.0:
        raise ValueError("expected a positive number; got 0")
    return float(value)


def whole(value: Any, least: int = 0, below: float = LARGEST) -> int:
    """A whole number from `least` and below `below`."""
    if type(value) is not int or not least <= value < below:
        raise ValueError(f"expected a whole number from {least} on, below {below:g}; got {value!r}")
    return value


def rows(value: Any, width: int) -> Sequence[Sequence[Any]]:
    """A list of rows of one width."""
    if not isinstance(value, list) or not all(isinstance(row, list) and len(row) == width for row in value):
        raise ValueError(f"expected rows of {width} values")
    return value


def positives(values: Any, length: int, most: float = LARGEST) -> FloatArray:
    """Numbers (n,) above 0 and up to `most`, n as given."""
    if not isinstance(values, list) or len(values) != length:
        raise ValueError(f"expected {length} numbers; got {values!r}")
    return np.array([positive(value, most) for value in values], dtype=np.float64)


def operator(signature: Any) -> Operator:
    """The operator of a signature."""
    if not isinstance(signature, str):
        raise ValueError(f"expected a signature; got {signature!r}")
    if what := newer_part(signature):
        raise newer(what)
    read = Operator.parse(signature)
    if read.signature != signature or read.flops < 0 or read.bytes("float32") < 0:
        raise ValueError(f"{signature!r} is no signature of this version")
    return read
