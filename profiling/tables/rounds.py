"""The truth of a latency table: append-only files of raw rounds, named by their content.

One file is one flush of one profiling session, and carries the facts of its device and stack, so that whatever
else stands in a table's folder can be derived from its rounds. Files never change: merging two tables is the union
of two sets of names.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from distilsearch import strict
from distilsearch.errors import TableError
from distilsearch.home import write_atomically
from distilsearch.operators import DTYPE_BYTES, MODES

from ..device import CACHES, REGIME_ADDED, Facts, Regime, check_facts
from .signatures import KINDS, Newer, check_signature

SCHEMA = 1
COLLECTOR = "distilsearch 1"
ROUNDS = "rounds"
DROPPED = "dropped"  # where files go that are part of the table no more
STATUSES = ("ok", "oom", "unsupported")

COLUMNS = pa.schema(
    [
        ("kind", pa.string()),
        ("signature", pa.string()),
        ("dtype", pa.string()),
        ("mode", pa.string()),
        ("threads", pa.int32()),
        ("cache", pa.string()),
        ("session", pa.string()),
        ("round", pa.int32()),
        ("seconds", pa.float64()),
        ("sentinel_seconds", pa.float64()),
        ("prepare_seconds", pa.float64()),
        ("steal_share", pa.float64()),
        ("frequency_hertz", pa.float64()),
        ("unix_seconds", pa.float64()),
        ("status", pa.string()),
    ]
)
ADDED: Mapping[str, pa.DataType] = {"runtime": pa.string()}
"""Columns that came later: a file has one where a row differs from the first value, which `REGIME_ADDED` states."""

KNOWN: Mapping[str, Iterable[str]] = {
    "kind": KINDS,
    "status": STATUSES,
    "dtype": DTYPE_BYTES,
    "mode": MODES,
    "cache": CACHES,
}
LEAST_SECONDS, LONGEST_SECONDS = 1e-15, 1e6  # beyond what anybody times: times outside make no sense
MOST_BYTES, MOST_ROWS, MOST_COLUMNS, LONGEST_SESSION = 1 << 30, 20_000_000, 100, 200
MOST: Mapping[str, float] = {  # of columns that nothing is derived from but words
    "prepare_seconds": 1e9, "steal_share": 1e9, "frequency_hertz": 1e15, "unix_seconds": 2e10,
}  # fmt: skip
COMPLETE = ("kind", "signature", "dtype", "mode", "threads", "cache", "session", "round", "unix_seconds", "status")


@dataclass(frozen=True)
class Row:
    """One case in one round; times are seconds a call, None where the case could not run."""

    kind: str
    signature: str
    regime: Regime
    session: str
    round: int
    seconds: float | None
    sentinel_seconds: float | None
    prepare_seconds: float | None
    steal_share: float | None
    frequency_hertz: float | None
    unix_seconds: float
    status: str = "ok"

    def to_record(self) -> dict[str, Any]:
        """The row as the columns of a file."""
        fields = {name: value for name, value in vars(self).items() if name != "regime"}
        return {**fields, **self.regime.to_json()}


@dataclass(frozen=True)
class Rounds:
    """The content of one file: its rows and the facts of the machine they were measured on."""

    name: str
    device: Facts
    stack: Facts
    rows: pa.Table


def append(folder: Path, rows: Sequence[Row], device: Facts, stack: Facts) -> str:
    """Write rows as one new file of the table in `folder`; returns its name."""
    records = [row.to_record() for row in rows]
    later = [(name, kind) for name, kind in ADDED.items() if any(name in record for record in records)]
    records = [{name: REGIME_ADDED[name] for name, _ in later} | record for record in records]
    schema = pa.schema([*COLUMNS, *(pa.field(*one) for one in later)])
    return write(folder, pa.Table.from_pylist(records, schema=schema), device, stack)


def write(folder: Path, rows: pa.Table, device: Facts, stack: Facts) -> str:
    """Write rows, in the columns of a file, as one new file of the table in `folder`; returns its name."""
    facts = {"schema": SCHEMA, "collector": COLLECTOR, "device": dict(device), "stack": dict(stack)}
    content = parquet_bytes(rows.replace_schema_metadata({"distilsearch": json.dumps(facts, sort_keys=True)}))
    name = hashlib.sha256(content).hexdigest() + ".parquet"
    write_atomically(folder / ROUNDS / name, content)
    return name


def parquet_bytes(table: pa.Table) -> bytes:
    """A table as the bytes of a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())


def names(folder: Path, place: str = ROUNDS) -> list[str]:
    """Names of the round files of a table, or of the dropped ones, sorted."""
    return sorted(path.name for path in (folder / place).glob("*.parquet") if not path.name.startswith("."))


def read_all(folder: Path) -> list[Rounds]:
    """Every round file of a table, checked; `TableError` names the first damaged one."""
    return [read(folder / ROUNDS / name) for name in names(folder)]


def read(path: Path) -> Rounds:
    """One round file, checked: content against name, schema, units, and that all of it is known and makes sense.

    `TableError` says whether it is damaged or holds what only a newer version knows: it is read whole or not at all.
    """
    content = verified_bytes(path)
    try:
        _check_size(content)
        table = pq.read_table(pa.BufferReader(content))
        table.validate(full=True)
        facts = strict.table(strict.parsed((table.schema.metadata or {})[b"distilsearch"]), "what it says of itself")
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError, OverflowError, MemoryError) as error:
        raise _damaged(path, f"it is no file of rounds ({error})") from error
    check_schema(facts.get("schema"), path)
    try:
        table = _whole(table)
        _check_values(table)
        for name in ("device", "stack"):
            check_facts(facts.get(name))
    except Newer as error:
        raise _newer(path, str(error)) from error
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    return Rounds(path.name, facts["device"], facts["stack"], table)


def _check_size(content: bytes) -> None:
    """Refuse what would fill the memory: a few bytes can say that they hold any number of rows."""
    said = pq.read_metadata(pa.BufferReader(content))
    groups = [said.row_group(place) for place in range(said.num_row_groups)]
    size = sum(group.total_byte_size for group in groups)
    if said.num_columns > MOST_COLUMNS or said.num_rows > MOST_ROWS or not 0 <= size <= MOST_BYTES:
        raise ValueError(f"{said.num_rows:,} rows of {said.num_columns} columns in {size:,} bytes are no rounds")
    if sum(group.num_rows for group in groups) != said.num_rows:
        raise ValueError("its rows are counted otherwise than they stand")


def _whole(table: pa.Table) -> pa.Table:
    """A table with all columns of this version, those that came after it with their first value."""
    lacking = set(COLUMNS.names) - set(table.schema.names)
    foreign = sorted(set(table.schema.names) - {*COLUMNS.names, *ADDED})
    if lacking:
        raise ValueError(f"its columns differ from those of schema {SCHEMA}: {sorted(lacking | set(foreign))}")
    if foreign:
        raise Newer(f"the column {foreign[0]!r}")
    for name, kind in ADDED.items():
        if name not in table.schema.names:
            table = table.append_column(name, pa.array([REGIME_ADDED[name]] * len(table), kind))
    table = table.select([*COLUMNS.names, *ADDED])
    if not table.schema.equals(pa.schema([*COLUMNS, *(pa.field(*one) for one in ADDED.items())])):
        raise ValueError(f"its columns differ from those of schema {SCHEMA}: types")
    return table


def verified_bytes(path: Path) -> bytes:
    """The bytes of a round file, whose name must be their sha256."""
    try:
        content = strict.read_bytes(path)
    except OSError as error:
        raise _damaged(path, f"it cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != path.stem:
        raise _damaged(path, f"its content has sha256 {digest[:12]}..., its name says {path.stem[:12]}...")
    return content


def check_schema(found: object, path: Path) -> None:
    """Refuse what a newer version wrote, and what names no version."""
    if type(found) is not int or found < 1:
        raise _damaged(path, f"expected a schema number; got {found!r}")
    if found > SCHEMA:
        raise TableError(
            f"{path} has schema {found}, this version reads up to {SCHEMA}: upgrade distilsearch, or profile into"
            " another store"
        )


def _check_values(table: pa.Table) -> None:
    """`Newer` names what this version does not know, `ValueError` says what makes no sense."""
    for column in (*COMPLETE, *ADDED):
        if table[column].null_count:
            raise ValueError(f"{column} must be given in every row")
    for column, accepted in KNOWN.items():
        for value in sorted(set(table[column].unique().to_pylist()) - set(accepted)):
            raise Newer(f"the {column} {value!r}")
    names = ("kind", "signature", *Regime.__dataclass_fields__)
    for row in table.select(names).group_by(names).aggregate([]).to_pylist():
        check_signature(row.pop("kind"), row.pop("signature"), Regime(**row))
    for column in ("threads", "round"):
        if pc.any(pc.less(table[column], 0)).as_py():
            raise ValueError(f"{column} must not be negative")
    for session in table["session"].unique().to_pylist():
        if not session.isprintable() or len(session) > LONGEST_SESSION:
            raise ValueError(f"{session!r:.60} is no name of a session")
    for column, most in MOST.items():
        values = table[column].drop_null()
        if pc.all(pc.and_(pc.greater_equal(values, 0.0), pc.less_equal(values, most))).as_py() not in (True, None):
            raise ValueError(f"{column} must be from 0 to {most:g}")
    timed = table.filter(pc.equal(table["status"], "ok"))
    for column in ("seconds", "sentinel_seconds"):
        values = timed[column]
        sound = pc.and_(pc.less(values, LONGEST_SECONDS), pc.greater(values, LEAST_SECONDS))
        if values.null_count or pc.all(sound).as_py() not in (True, None):
            raise ValueError(f"{column} must be positive and finite in every row that is ok")


def _newer(path: Path, what: str) -> TableError:
    return TableError(
        f"{path} holds {what}, which this version does not know: a newer version of distilsearch, or a plugin, wrote"
        " it. Upgrade distilsearch (or load the plugin), or profile again into another store"
    )


def _damaged(path: Path, what: str) -> TableError:
    return TableError(f"{path} is damaged: {what}. Delete the file (its rounds are lost) or fetch it again")
