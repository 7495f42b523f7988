"""The files of foreign tables as records: CSV (`*_perf.txt` too), of any encoding that is read here, and Parquet."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from distilsearch.errors import InputError, TableError
from distilsearch.sheet import read_sheet, suffix_of

from .rows import Columns, Record

SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet", "_perf.txt")
LFS_POINTER = b"version https://git-lfs"


def table_files(source: Path) -> list[Path]:
    """The file, or all files of tables in a folder, sorted."""
    if source.is_file():
        return [source]
    files = sorted(p for p in source.rglob("*") if p.name.lower().endswith(SUFFIXES) and p.is_file())
    if not files:
        raise InputError(f"there is no file {source}, nor a folder with {', '.join(SUFFIXES)} in it")
    return files


def records(path: Path) -> Sequence[Record]:
    """All rows of a file; `TableError` where it is no table."""
    try:
        with path.open("rb") as file:
            pointer = file.read(len(LFS_POINTER)) == LFS_POINTER
    except OSError as error:
        raise TableError(f"cannot read {path}: {error.strerror or error}") from error
    if pointer:
        raise TableError(f"{path} only points to its content: fetch that with `git lfs pull`")
    return _parquet(path) if suffix_of(path) == ".parquet" else _sheet(path)


def _parquet(path: Path) -> Sequence[Record]:
    try:
        table = pq.read_table(path)
        lists = [column.to_pylist() for column in table.columns]
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise TableError(f"cannot read {path} as a table: {error}") from error
    columns = Columns(path, tuple(table.column_names), f"it has {', '.join(table.column_names)}")
    cells = zip(*lists, strict=True)
    return [Record(columns, f"row {number}", row) for number, row in enumerate(cells, 1)]


def _sheet(path: Path) -> Sequence[Record]:
    sheet = read_sheet(path, TableError)
    columns = Columns(path, sheet.header, sheet.hint)
    return [Record(columns, f"line {line}", cells) for line, cells in sheet.rows]
