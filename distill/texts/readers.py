"""One file to its documents, by its suffix: plain text, JSON, JSON lines, CSV and Parquet; text also within gzip.

A row is a string, or an object (a line of a table) with a string in its text column; rows that have none are skipped
and counted by whoever reads. Where nobody named a column, a chat's messages are text too. What no row has text in is a
`NoColumnError` before the first document is given.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from distilsearch.errors import TextError
from distilsearch.plaintext import read_text
from distilsearch.sheet import other_separator, read_sheet, suffix_of

from .account import NoColumnError, named_columns

TEXT = "text"
CHATS = ("messages", "conversations")  # columns of chats, where the column of text has its usual name
CONTENTS = ("content", "value", TEXT)  # of one message, as the makers of chats call it
PLAIN = (".txt", ".md", ".rst")

Rows = Iterable[str | None]
Reader = Callable[[Path, str], Rows]


def file_rows(path: Path, column: str) -> Rows:
    """The rows of a file, None for each that holds no text; documents of plain text have no rows without."""
    return READERS.get(suffix_of(path), plain)(path, column)


def holds_rows(path: Path) -> bool:
    """Whether a file is a table or JSON, and no plain text."""
    return READERS.get(suffix_of(path), plain) is not plain


def row_text(row: Any, column: str) -> str | None:
    """The text of a row; None where it has none.

    >>> row_text({"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]}, "text")
    'Why?\\nSo.'
    """
    if not isinstance(row, Mapping):
        return value_text(row)
    names = (column, *CHATS) if column == TEXT else (column,)
    return next((text for name in names if (text := value_text(row.get(name))) is not None), None)


def value_text(value: Any) -> str | None:
    """A string, or the messages of a chat joined by line ends; None for everything else."""
    if isinstance(value, str):
        return value if value.isascii() or _sound(value) else value.encode("utf-8", "replace").decode()
    if not isinstance(value, list | tuple) or not value:
        return None
    parts = [_message(message) for message in value]
    return "\n".join(part for part in parts if part) if any(parts) else None


def _message(message: Any) -> str | None:
    """What a message says: a string, or the text among its parts; tool calls and pictures say nothing."""
    if not isinstance(message, Mapping):
        return None
    return next((text for name in CONTENTS if (text := value_text(message.get(name))) is not None), None)


def _sound(text: str) -> bool:
    """Whether it holds no half of a pair of surrogates, which JSON can say and no tokenizer can read."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def plain(path: Path, column: str) -> Iterator[str]:
    """A document, in parts where it is long."""
    text = read_text(path, TextError)
    return _parts(text) if text.strip() else iter(())


def _parts(text: str, size: int = 50_000) -> Iterator[str]:
    """Long documents in parts cut at line ends, so that the tokenizer's threads share the work."""
    waiting: list[str] = []
    length = 0
    for line in text.splitlines(keepends=True):
        waiting.append(line)
        length += len(line)
        if length >= size:
            yield "".join(waiting)
            waiting, length = [], 0
    if waiting:
        yield "".join(waiting)


def json_lines(path: Path, column: str) -> Rows:
    """A row a line; a file that is one JSON document is read as one."""
    text = read_text(path, TextError)
    first = next((line for line in text.split("\n") if line.strip()), "null")
    by_line = not isinstance(_parsed(first), _NotJson | list)
    return _checked(path, _lines(path, text) if by_line else _document(path, text, column), column)


def json_document(path: Path, column: str) -> Rows:
    """An array of rows, or an object that holds one; JSON lines under this name are read as such."""
    return _checked(path, _document(path, read_text(path, TextError), column), column)


def _lines(path: Path, text: str) -> list[Any]:
    """The values of all lines that are not blank; a `TextError` where none of them is JSON."""
    # not `splitlines`: a string may hold the other ends of a line, as U+2028
    lines = [(number, _parsed(line)) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if lines and all(isinstance(row, _NotJson) for _, row in lines):
        raise TextError(f"{path}, line {lines[0][0]} is not JSON, nor is any other; mend or leave out the file")
    return [row for _, row in lines]


class _NotJson:
    """Stands for what cannot be parsed: a row without text."""


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _NotJson()


def _document(path: Path, text: str, column: str) -> list[Any]:
    """The rows of a whole JSON document: an array, an object with columns or with one list of rows, or one row."""
    value = _parsed(text)
    if isinstance(value, _NotJson):
        return _lines(path, text)
    if not isinstance(value, dict):
        return value if isinstance(value, list) else [value]
    if row_text(value, column) is not None:
        return [value]
    cells = value.get(column)
    if isinstance(cells, dict | list):  # a column of pandas: {"text": {"0": ...}}
        return [{column: cell} for cell in (cells.values() if isinstance(cells, dict) else cells)]
    lists = [one for one in value.values() if isinstance(one, list)]
    return lists[0] if len(lists) == 1 else [value]


def _checked(path: Path, rows: Sequence[Any], column: str) -> Rows:
    """The texts of rows, of which at least one has text, if there are any."""
    texts = [row_text(row, column) for row in rows]
    if texts and all(text is None for text in texts):
        columns = dict.fromkeys(name for row in rows[:100] if isinstance(row, Mapping) for name in row)
        raise _no_column(path, column, columns)
    return texts


def sheet(path: Path, column: str) -> Rows:
    """The text column of a CSV file; a blank cell is a row without text."""
    table = read_sheet(path, TextError)
    if not table.header:
        return ()
    if column not in table.header:
        raise _no_column(path, column, table.header, other_separator(table.header).removeprefix("; "))
    place = table.header.index(column)
    return [row[place] if row[place].strip() else None for _, row in table.rows]


def parquet(path: Path, column: str) -> Rows:
    """The text column, a few thousand rows in memory at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise TextError(f"{path} is not a readable Parquet file: {error}") from error
    name = text_column(schema.names, column)
    if name is None:
        raise _no_column(path, column, schema.names)
    return _parquet_rows(path, name)


def _parquet_rows(path: Path, name: str) -> Iterator[str | None]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=4096, columns=[name]):
                yield from (value_text(value) for value in batch.column(0).to_pylist())
    except UnicodeDecodeError as error:
        raise TextError(f"{path} holds text in its column {name!r} that is not UTF-8; write the file again") from error
    except (pa.ArrowException, OSError) as error:
        raise TextError(f"{path} is not a readable Parquet file: {error}") from error


def text_column(names: Sequence[str], column: str) -> str | None:
    """The column of a table that holds the text: the one that was named, or of chats; None where it has none."""
    return next((name for name in ((column, *CHATS) if column == TEXT else (column,)) if name in names), None)


def _no_column(path: Path, column: str, columns: Iterable[object], hint: str = "") -> NoColumnError:
    names = [str(name) for name in columns]
    if column in names and len(names) == 1:
        return NoColumnError(f"{path} holds no text in its only column {column!r}; name a file that does")
    said = f"{hint}; " if hint else named_columns(names)
    return NoColumnError(
        f"{path} has no column {column!r} that holds text; {said}name the column that does with text_column"
        " (--text-column)"
    )


READERS: dict[str, Reader] = {
    **dict.fromkeys(PLAIN, plain),
    ".jsonl": json_lines,
    ".ndjson": json_lines,
    ".json": json_document,
    ".csv": sheet,
    ".tsv": sheet,
    ".parquet": parquet,
}
"""How to read each kind of file; what a user names by another suffix, or by none, is plain text."""

SUFFIXES = tuple(READERS)
SURE = (*PLAIN, ".jsonl", ".ndjson", ".parquet")
"""Suffixes of files that a folder of text is expected to hold: one that is damaged is an error, and not passed over."""
