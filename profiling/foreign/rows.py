"""What every reader of foreign tables yields: a timing, or the name of what has no place here."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distilsearch.errors import TableError
from distilsearch.operators import Operator

from ..device import Regime

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Timing:
    """One foreign row that has a place here. `software` names what ran it, where the row says so."""

    operator: Operator
    regime: Regime
    seconds: float
    software: str = ""


Found = Timing | str
Reader = Callable[[Path, Sequence[Record]], Iterator[Found]]
"""Reads the records of one file."""


def needs(record: Record, names: Sequence[str], path: Path) -> None:
    """`TableError` where a record lacks columns."""
    missing = [name for name in names if name not in record]
    if missing:
        raise TableError(f"{path} lacks the columns {', '.join(missing)}; it has {', '.join(record)}")
