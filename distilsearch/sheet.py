"""CSV files as spreadsheets, pandas and people write them, read into rows that know where they stand.

Header cells are stripped, marks and encodings are those of `plaintext`, a `.tsv` is separated by tabs. A file that is
separated by something else is told from one that lacks columns.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .errors import DistilSearchError, InputError
from .plaintext import read_text

GZ = ".gz"
END = "\x1a"  # put behind the last line: where it is no row of its own, a quote is open
OTHERS = {";": "semicolons", "\t": "tabs", "|": "bars"}


@dataclass(frozen=True)
class Sheet:
    """The header of a CSV file, and its other lines that are not blank: (number of the line, as many cells)."""

    path: Path
    header: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]

    @property
    def hint(self) -> str:
        """What is said where a column is missing: its columns, and whether something else than commas parts them."""
        return f"it has {', '.join(self.header) or 'none'}{other_separator(self.header)}"


def suffix_of(path: Path) -> str:
    """The suffix of a file in lower case, that of `notes.TXT.gz` being `.txt`."""
    name = path.name.lower()
    return Path(name.removesuffix(GZ)).suffix


def read_sheet(path: Path, error: type[DistilSearchError] = InputError, header: bool = True) -> Sheet:
    """A CSV file; `error` names the line where it is none, or where a row has more cells than the header.

    Args:
        header: whether the first line names the columns; without one nothing is demanded of the number of cells.
    """
    text = read_text(path, error)
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # a document is a cell
    tabs = suffix_of(path) == ".tsv"
    lines, opened = _parsed(text, "\t" if tabs else ",", csv.QUOTE_MINIMAL)
    if opened and tabs:  # whose makers often mean a quote as a quote
        lines, opened = _parsed(text, "\t", csv.QUOTE_NONE)
    if opened:
        raise error(f"{path} cannot be read as CSV: a double quote in the row of line {opened} is never closed")
    lines = [(place, cells) for place, cells in lines if any(cell.strip() for cell in cells)]
    if not header:
        return Sheet(path, (), tuple((place, tuple(cells)) for place, cells in lines))
    names = tuple(cell.strip() for cell in lines[0][1]) if lines else ()
    return Sheet(path, names, tuple((place, _row(path, place, cells, names, error)) for place, cells in lines[1:]))


def _parsed(text: str, separator: str, quoting: Literal[0, 3]) -> tuple[list[tuple[int, list[str]]], int]:
    """Rows with the line that each begins in; and in which line a quote is opened that is never closed, or 0."""
    stream = io.StringIO(text + "\n" + END, newline="")
    reader = csv.reader(stream, delimiter=separator, skipinitialspace=True, quoting=quoting)
    lines: list[tuple[int, list[str]]] = []
    number = 1
    for cells in reader:
        lines.append((number, cells))
        number = reader.line_num + 1
    last, cells = lines.pop()
    return lines, 0 if cells == [END] else last


def _row(
    path: Path, line: int, cells: Sequence[str], names: Sequence[str], error: type[DistilSearchError]
) -> tuple[str, ...]:
    """As many cells as there are columns: a short row lacks its last ones, a longer one may have blank ones alone."""
    wide = len(names)
    if any(cell.strip() for cell in cells[wide:]):
        advice = "; put cells that hold a comma in double quotes, and write decimals with a point"
        hint = other_separator(names) or advice
        raise error(f"{path}, line {line} has {len(cells)} cells, the header {wide}{hint}")
    return (*cells[:wide], *[""] * (wide - len(cells)))


def other_separator(header: Sequence[str]) -> str:
    """A hint for a header that something else than commas parts.

    >>> other_separator(["depth;width;loss"])
    "; its header looks parted by semicolons: write it with commas (in pandas: to_csv(path, index=False))"
    >>> other_separator(["depth", "width"])
    ''
    """
    joined = ",".join(header)
    for sign, name in OTHERS.items():
        if joined.count(sign) >= max(1, joined.count(",")):
            more = ", or call the file .tsv" if sign == "\t" else ""
            advice = f"write it with commas (in pandas: to_csv(path, index=False)){more}"
            return f"; its header looks parted by {name}: {advice}"
    return ""
