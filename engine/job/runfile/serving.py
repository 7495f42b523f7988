"""The `serving` of a `[[target]]` as it is written: a table of one way of serving, or with lists of choices in it.

With `lengths` requests are as long as those of a text; what that comes to is known once the text has been read.
"""

from collections.abc import Mapping
from typing import Any

from distilsearch.errors import InputError, unknown
from distilsearch.operators import ENCODE, Serving, named_dtype

from ..serving.combinations import possible

CHOICES = ("dtype", "mode", "runtime")  # what may be a list of choices, since training does not know it
LENGTHS = "lengths"  # where the lengths of requests are to be had from
OF_TEXT = "text"  # the requests are those of the run's own text; else the name of a file of some


def whole_serving(value: Mapping[str, Any]) -> dict[str, Any]:
    """A serving with all its keys; a list of one choice is that choice."""
    value = {name: _named_dtypes(choice) if name == "dtype" else choice for name, choice in value.items()}
    for name, choices in value.items():
        if isinstance(choices, list | tuple):
            if name in Serving.__dataclass_fields__ and name not in CHOICES:
                raise InputError(f"serving {name} must be one value; a list may be given of {' or '.join(CHOICES)}")
            if not choices or len(set(map(str, choices))) < len(choices):
                raise InputError(f"serving {name} needs one or more different choices; got {list(choices)}")
    listed = {k: list(v) for k, v in value.items() if isinstance(v, list | tuple) and len(v) > 1}
    single = {k: v[0] if isinstance(v, list | tuple) else v for k, v in value.items() if k not in listed}
    strange = [unknown("serving key", name, Serving.__dataclass_fields__) for name in value
               if name not in Serving.__dataclass_fields__]  # fmt: skip
    if strange:
        raise InputError("; ".join(map(str, strange)))
    lengths = single.pop(LENGTHS, None)
    whole = Serving.from_json(single).to_json() | listed
    possible(whole)
    return whole if lengths is None else _of_lengths(whole, lengths, "sequence" in value)


def _of_lengths(whole: dict[str, Any], lengths: Any, given: bool) -> dict[str, Any]:
    """A serving whose requests have lengths of their own, and no one `sequence`."""
    if not isinstance(lengths, str) or not lengths.strip():
        raise InputError(f'serving lengths should be "text", or a file of requests, one a line; got {lengths!r}')
    if given:
        raise InputError("serving sequence is one length for all requests, and lengths are their own; give one of them")
    if "padded" in whole:
        raise InputError("serving padded is for one sequence; of lengths, batches are padded anyway: leave it out")
    if whole["phase"] != ENCODE:
        raise InputError(
            f"serving lengths are of requests that are read whole, phase {ENCODE!r}; got phase {whole['phase']!r}: give"
            " one sequence"
        )
    return {name: value for name, value in whole.items() if name != "sequence"} | {LENGTHS: lengths}


def _named_dtypes(value: Any) -> Any:
    """A precision, or several, by the names they have here."""
    return [named_dtype(one) for one in value] if isinstance(value, list | tuple) else named_dtype(value)
