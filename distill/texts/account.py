"""What was left out while a text was read, and the words in which its user is told. Counted, never quoted."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from distilsearch.errors import TextError

MOST_NOTED = 8  # files of one folder that are named one by one
MOST_COLUMNS = 12
NAME = re.compile(r"[\w.-]{1,40}( [\w.-]{1,20}){0,2}")  # what looks like the name of a column, and not like text
FIRST_ROWS = 1_000  # of a stream: by then it must have shown more rows with text than without


class NoColumnError(TextError):
    """A file of rows has none with text under the name that was asked for."""


@dataclass
class Account:
    """Rows without text by where they stand, and files of folders that were passed over; it grows with what is read."""

    column: str = "text"
    rows: Counter[str] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)
    passed: dict[str, list[str]] = field(default_factory=dict)  # by folder: what, and why

    def counted(self, place: str, values: Iterable[str | None], columns: str = "") -> Iterator[str]:
        """The texts among values; a `TextError` where most of a place, or of the start of a stream, has none."""
        for value in values:
            self.rows[place] += 1
            if value is None:
                self.missing[place] += 1
            else:
                yield value
            if self.rows[place] == FIRST_ROWS:
                self._check(place, columns)
        self._check(place, columns)

    def _check(self, place: str, columns: str) -> None:
        rows, missing = self.rows[place], self.missing[place]
        if 2 * missing > rows:
            raise NoColumnError(
                f"{missing:,} of {rows:,} rows of {place} hold no text in {self.column!r}, which is most of them;"
                f" {columns}name a column or a file that does (text_column, --text-column)"
            )

    def pass_over(self, folder: Path, what: str) -> None:
        """Note a file of a folder that was not read."""
        self.passed.setdefault(str(folder), []).append(what)

    def notes(self) -> tuple[str, ...]:
        """What its user must know, a sentence each."""
        skipped = [
            f"{count:,} of {self.rows[place]:,} rows of {place} hold no text in {self.column!r} and were skipped"
            for place, count in self.missing.items()
        ]
        passed = [f"passed over in the folder {folder}: {listed(what)}" for folder, what in self.passed.items()]
        return (*_some(skipped), *passed)


def listed(names: Sequence[str]) -> str:
    """A few names, and how many more."""
    return ", ".join(_some(sorted(names)))


def _some(words: Sequence[str]) -> list[str]:
    more = len(words) - MOST_NOTED
    return [*words[:MOST_NOTED], f"and {more} more"] if more > 0 else list(words)


def named_columns(names: Iterable[object]) -> str:
    """Which columns there are, to be said in an error; nothing of what may be somebody's text."""
    columns = [str(name) for name in names]
    if not columns:
        return ""
    if not all(NAME.fullmatch(column) for column in columns):
        return "what stands there looks like text and not like names of columns; "
    more = f" and {len(columns) - MOST_COLUMNS} more" if len(columns) > MOST_COLUMNS else ""
    return f"it has {', '.join(columns[:MOST_COLUMNS])}{more}; "
