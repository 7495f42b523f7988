"""How keys, signatures and JSON stay what they were when a field is added.

A field that came later stands in a frozen table beside its class, with the value that everything written before it
means. While a value is that one, the field is left out of what is hashed and written; where it is missing in what is
read, it has that value. The table is never edited: today's default may change, what older files mean may not.
"""

from collections.abc import Mapping
from typing import TypeVar

V = TypeVar("V")


def grown(values: Mapping[str, V], added: Mapping[str, object]) -> dict[str, V]:
    """`values` without the fields of `added` that still have the value of the day they were added.

    >>> grown({"heads": 2, "window": 0}, {"window": 0})
    {'heads': 2}
    >>> grown({"heads": 2, "window": 64}, {"window": 0})
    {'heads': 2, 'window': 64}
    """
    return {name: value for name, value in values.items() if name not in added or not _same(value, added[name])}


def filled(values: Mapping[str, V], added: Mapping[str, V]) -> dict[str, V]:
    """`values` with the fields of `added` that they lack: what something written before those fields means.

    >>> filled({"heads": 2}, {"window": 0})
    {'heads': 2, 'window': 0}
    """
    return {**values, **{name: value for name, value in added.items() if name not in values}}


def _same(value: object, frozen: object) -> bool:
    """Equality that tells true from 1, as JSON does."""
    return value == frozen and isinstance(value, bool) == isinstance(frozen, bool)
