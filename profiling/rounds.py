"""The truth of a latency table: append-only files of raw rounds, named by their content.

One file is one flush of one profiling session, and carries the facts of its device and stack, so that whatever
else stands in a table's folder can be derived from its rounds. Files never change: merging two tables is the union
of two sets of names.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from distilsearch.errors import TableError
from distilsearch.home import write_atomically

from .device import Facts, Regime

SCHEMA = 1
COLLECTOR = "distilsearch 1"
ROUNDS = "rounds"
KINDS = ("operator", "model", "probe")
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
    facts = {"schema": SCHEMA, "collector": COLLECTOR, "device": dict(device), "stack": dict(stack)}
    schema = COLUMNS.with_metadata({"distilsearch": json.dumps(facts, sort_keys=True)})
    table = pa.Table.from_pylist([row.to_record() for row in rows], schema=schema)
    content = parquet_bytes(table)
    name = hashlib.sha256(content).hexdigest() + ".parquet"
    write_atomically(folder / ROUNDS / name, content)
    return name


def parquet_bytes(table: pa.Table) -> bytes:
    """A table as the bytes of a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())


def names(folder: Path) -> list[str]:
    """Names of the round files of a table, sorted."""
    return sorted(path.name for path in (folder / ROUNDS).glob("*.parquet") if not path.name.startswith("."))


def read_all(folder: Path) -> list[Rounds]:
    """Every round file of a table, checked; `TableError` names the first damaged one."""
    return [read(folder / ROUNDS / name) for name in names(folder)]


def read(path: Path) -> Rounds:
    """One round file, checked: content against name, schema, units, and that every time makes sense."""
    content = verified_bytes(path)
    try:
        table = pq.read_table(pa.BufferReader(content))
        facts = json.loads(table.schema.metadata[b"distilsearch"])
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise _damaged(path, f"it is no file of rounds ({error})") from error
    check_schema(facts.get("schema"), path)
    if not table.schema.equals(COLUMNS):
        different = sorted(set(table.schema.names) ^ set(COLUMNS.names)) or "types"
        raise _damaged(path, f"its columns differ from those of schema {SCHEMA}: {different}")
    for problem in _problems(table):
        raise _damaged(path, problem)
    return Rounds(path.name, facts["device"], facts["stack"], table)


def verified_bytes(path: Path) -> bytes:
    """The bytes of a round file, whose name must be their sha256."""
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != path.stem:
        raise _damaged(path, f"its content has sha256 {found[:12]}..., its name says {path.stem[:12]}...")
    return content


def check_schema(found: object, path: Path) -> None:
    """Refuse what a newer version wrote, and what names no version."""
    if not isinstance(found, int) or found < 1:
        raise _damaged(path, f"expected a schema number; got {found!r}")
    if found > SCHEMA:
        raise TableError(
            f"{path} has schema {found}, this version reads up to {SCHEMA}: upgrade distilsearch, or profile into"
            " another store"
        )


def _problems(table: pa.Table) -> Iterable[str]:
    """What is wrong with the values of a table, if anything."""
    for column, known in (("kind", KINDS), ("status", STATUSES)):
        for value in set(table[column].to_pylist()) - set(known):
            yield f"{column} {value!r} is none of {', '.join(known)}"
    timed = table.filter(pc.equal(table["status"], "ok"))
    for column in ("seconds", "sentinel_seconds"):
        values = timed[column]
        sound = pc.and_(pc.is_finite(values), pc.greater(values, 0.0))
        if values.null_count or pc.all(sound).as_py() not in (True, None):
            yield f"{column} must be positive and finite in every row that is ok"


def _damaged(path: Path, what: str) -> TableError:
    return TableError(f"{path} is damaged: {what}. Delete the file (its rounds are lost) or fetch it again")
