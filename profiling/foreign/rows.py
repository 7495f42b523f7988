"""What every reader of foreign tables yields: a timing, or the name of what has no place here.

A `Record` is one row of a file, with cells as CSV or Parquet give them. Its cells are asked for by kind, and what is
missing, blank or no such thing is a `TableError` that names file, row and column.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from distilsearch.architecture import Architecture
from distilsearch.errors import TableError
from distilsearch.operators import Operator, Serving

from ..device import Regime
from ..model_case import model_signature
from ..tables.rounds import LEAST_SECONDS, LONGEST_SECONDS

MOST_WHOLE = 2**31 - 1


@dataclass(frozen=True)
class Columns:
    """What all rows of a file share. `hint` says which columns there are; `twice` are those named more than once."""

    path: Path
    names: tuple[str, ...]
    hint: str

    @cached_property
    def index(self) -> Mapping[str, int]:
        """Where each column stands."""
        return {name: place for place, name in enumerate(self.names)}

    @cached_property
    def twice(self) -> frozenset[str]:
        """Columns whose name another one has too."""
        return frozenset(name for name in self.names if self.names.count(name) > 1)


@dataclass(frozen=True)
class Record:
    """One row: `place` is its line in a CSV file, its row (from 1) in a Parquet file."""

    columns: Columns
    place: str
    cells: Sequence[Any]

    def __contains__(self, name: str) -> bool:
        return name in self.columns.index

    def cell(self, name: str) -> Any:
        """What stands in a column, stripped; None where it is blank or there is no such column."""
        if name not in self.columns.index:
            return None
        if name in self.columns.twice:
            raise TableError(f"{self.columns.path} has more than one column {name!r}; rename or drop all but one")
        value = self.cells[self.columns.index[name]]
        if isinstance(value, str):
            return value.strip() or None
        return None if isinstance(value, float) and math.isnan(value) else value

    def text(self, name: str, default: str | None = None) -> str:
        """A cell that may not be blank, unless there is a default."""
        value = self.cell(name)
        if value is None and default is None:
            raise self.wrong(name, "a value", value)
        return str(default if value is None else value)

    def whole(self, name: str, least: int = 1, default: int | None = None) -> int:
        """A whole number of at least `least`."""
        value = self.cell(name)
        if value is None and default is not None:
            return default
        number = _number(value)
        if number is None or number != int(number) or not least <= number <= MOST_WHOLE:
            raise self.wrong(name, f"a whole number of at least {least}", value)
        return int(number)

    def flag(self, name: str) -> bool:
        """True or false, 1 or 0, in any case."""
        value = self.cell(name)
        word = str(value).lower()
        if word not in ("true", "false", "1", "0", "1.0", "0.0"):
            raise self.wrong(name, "true or false", value)
        return word in ("true", "1", "1.0")

    def seconds(self, name: str, unit: float) -> float:
        """A time in a column whose unit is so many seconds."""
        value = self.cell(name)
        number = _number(value)
        if number is None or not LEAST_SECONDS < number * unit < LONGEST_SECONDS:
            least, most = LEAST_SECONDS / unit, LONGEST_SECONDS / unit
            raise self.wrong(name, f"a positive time ({least:g} to {most:g})", value)
        return number * unit

    def needs(self, names: Sequence[str]) -> None:
        """`TableError` where columns are missing."""
        missing = [name for name in names if name not in self]
        if missing:
            raise TableError(f"{self.columns.path} lacks the columns {', '.join(missing)}; {self.columns.hint}")

    def wrong(self, name: str, expected: str, got: Any) -> TableError:
        """The error about one cell."""
        shown = "nothing (the cell is blank)" if got is None else repr(got)
        return self.refused(f"column {name!r}: expected {expected}; got {shown}")

    def refused(self, what: str) -> TableError:
        """An error about this row."""
        return TableError(f"{self.columns.path}, {self.place}, {what}. Nothing was imported: mend the file")


def _number(value: Any) -> float | None:
    """A finite number, or none."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


@dataclass(frozen=True)
class Timing:
    """One foreign row that has a place here. `software` names what ran it, where the row says so."""

    record: Record
    operator: Operator
    regime: Regime
    seconds: float
    software: str = ""
    kind = "operator"

    @property
    def signature(self) -> str:
        """The operator's."""
        return self.operator.signature


@dataclass(frozen=True)
class Model:
    """One row of a whole model; fields as of `Timing`."""

    record: Record
    architecture: Architecture
    serving: Serving
    regime: Regime
    seconds: float
    software: str = ""
    kind = "model"

    @property
    def signature(self) -> str:
        """What was built and how it was fed."""
        return model_signature(self.architecture, self.serving)


Found = Timing | Model | str
Reader = Callable[[Path, Sequence[Record]], Iterator[Found]]
"""Reads the records of one file."""
