"""Derived files: a table's rows restated as Parquet and JSON for other readers, never the truth.

Times are float64 seconds with the unit in the column's name; figures that are not there are null.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from distilsearch import strict
from distilsearch.errors import RunError
from distilsearch.home import file_lock, write_atomically

from ..device import REGIME_ADDED
from . import rounds
from .rows import ModelRow, OperatorRow, TableMeta

META, OPERATORS, MODELS, LOCK = "meta.json", "operators.parquet", "models.parquet", "table.lock"


def check_meta(folder: Path) -> None:
    """A meta file of a newer version is refused before it is overwritten; an unreadable one is derived anew."""
    try:
        schema = strict.read_json(folder / META)["schema"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    rounds.check_schema(schema, folder / META)


def stale(folder: Path, meta: TableMeta) -> bool:
    """Whether the derived files are missing, damaged, or not of these rounds."""
    try:
        hashes = strict.read_json(folder / META)["hashes"]
        files = {name: hashlib.sha256(strict.read_bytes(folder / name)).hexdigest() for name in (OPERATORS, MODELS)}
    except (OSError, ValueError, KeyError, TypeError):
        return True
    return bool(hashes != {**meta.hashes, **files})


def write(folder: Path, operators: Sequence[OperatorRow], models: Sequence[ModelRow], meta: TableMeta) -> None:
    """Restate the rounds for other readers; a store that cannot be written is only read."""
    contents = {OPERATORS: _operators_file(operators), MODELS: _models_file(models)}
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    said = {**meta.to_json(), "hashes": {**meta.hashes, **hashes}}
    try:
        with file_lock(folder / LOCK):
            for name, content in contents.items():
                write_atomically(folder / name, content)
            write_atomically(folder / META, json.dumps(said, indent=1, sort_keys=True, allow_nan=False) + "\n")
    except (RunError, OSError):
        return


def _parquet(records: list[dict[str, Any]], columns: Sequence[tuple[str, pa.DataType]]) -> bytes:
    return rounds.parquet_bytes(pa.Table.from_pylist(records, schema=pa.schema(list(columns))))


_IDENTITY = [("kind", pa.string()), ("signature", pa.string())]
_REGIME = [("dtype", pa.string()), ("mode", pa.string()), ("threads", pa.int32()), ("cache", pa.string())]
_REGIME_ADDED = [("runtime", pa.string())]  # only where a row has another than the first value
_MEASURED = [
    ("seconds_p10", pa.float64()),
    ("seconds_p50", pa.float64()),
    ("seconds_p90", pa.float64()),
    ("rounds", pa.int32()),
    ("relative_iqr", pa.float64()),
    ("sentinel_ratio", pa.float64()),
    ("status", pa.string()),
]


def _operators_file(rows: Sequence[OperatorRow]) -> bytes:
    figures = [("flops", pa.int64()), ("bytes", pa.int64()), ("roofline_seconds", pa.float64())]
    records = [
        {"kind": row.operator.kind, "signature": row.operator.signature, "flops": row.flops, "bytes": row.bytes}
        | {"roofline_seconds": row.roofline_seconds}
        | row.regime.to_json()
        | row.measured.to_json()
        for row in rows
    ]
    later = [column for column in _REGIME_ADDED if any(column[0] in record for record in records)]
    records = [{name: REGIME_ADDED[name] for name, _ in later} | record for record in records]
    return _parquet(records, [*_IDENTITY, *_REGIME, *later, *_MEASURED, *figures])


def _models_file(rows: Sequence[ModelRow]) -> bytes:
    records = [
        {"architecture": json.dumps(row.architecture.to_json(), sort_keys=True)}
        | {"serving": json.dumps(row.serving.to_json(), sort_keys=True)}
        | row.measured.to_json()
        for row in rows
    ]
    return _parquet(records, [("architecture", pa.string()), ("serving", pa.string()), *_MEASURED])
