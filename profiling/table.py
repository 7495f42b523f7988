"""The latency table of one device and stack: rows derived from its rounds, with the figures that judge them.

`operators.parquet`, `models.parquet` and `meta.json` restate the rounds for other readers. They are never the
truth: reading checks every hash and derives them anew where they do not match. Times are float64 seconds with the
unit in the column's name.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from distilsearch.architecture import Architecture
from distilsearch.errors import RunError, TableError
from distilsearch.home import file_lock, write_atomically
from distilsearch.operators import Operator, Serving

from . import rounds
from .clock import Measured
from .derive import Key, additivity_error, baselines, grouped, measured, noise_floor, roofs
from .device import Facts, Regime
from .model_case import parse_model

META, OPERATORS, MODELS, LOCK = "meta.json", "operators.parquet", "models.parquet", "table.lock"


@dataclass(frozen=True)
class OperatorRow:
    """One operator in one regime; `roofline_seconds` is the least time its work and traffic can take here."""

    operator: Operator
    regime: Regime
    measured: Measured
    flops: int
    bytes: int
    roofline_seconds: float


@dataclass(frozen=True)
class ModelRow:
    """One whole model under one serving."""

    architecture: Architecture
    serving: Serving
    measured: Measured


@dataclass(frozen=True)
class Roof:
    """What the device reaches at best in one dtype with so many threads: FLOP/s, bytes/s, seconds of a launch."""

    peak_flops: float
    bandwidth: float
    launch_floor_seconds: float

    def seconds(self, flops: int, moved: int) -> float:
        """The roofline: the least time that so much work and traffic can take."""
        return max(flops / self.peak_flops, moved / self.bandwidth, self.launch_floor_seconds)


@dataclass(frozen=True)
class TableMeta:
    """What a table says of itself.

    `noise_floor` is the median relative difference of two measurements of half the rounds each;
    `additivity_error` the median of measured model / sum of its operators - 1 (NaN without models).
    `sentinel_seconds` is the undisturbed sentinel of each number of threads. `roofs` keeps the roof of each
    "dtype/threads"; `peak_flops`, `bandwidth` and `launch_floor_seconds` the best.
    """

    schema: int
    device: Facts
    stack: Facts
    peak_flops: Mapping[str, float]
    bandwidth: float
    launch_floor_seconds: float
    noise_floor: float
    additivity_error: float
    collector: str
    sentinel_seconds: Mapping[str, float] = field(default_factory=dict)
    roofs: Mapping[str, Roof] = field(default_factory=dict)
    hashes: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; figures that are not there are null."""
        plain = {**vars(self), "roofs": {name: vars(roof) for name, roof in self.roofs.items()}}
        return {n: None if isinstance(v, float) and math.isnan(v) else v for n, v in plain.items()}


@dataclass(frozen=True)
class LatencyTable:
    """A latency table: what was measured on one device with one stack."""

    operators: tuple[OperatorRow, ...]
    models: tuple[ModelRow, ...]
    meta: TableMeta
    measured: Mapping[Key, Measured] = field(repr=False)
    folder: Path | None = None

    @classmethod
    def read(cls, folder: Path | str) -> "LatencyTable":
        """The table in `folder`, every hash checked, derived anew where rounds were added.

        Raises `TableError` when there is none, a file of rounds is damaged, or a newer version wrote it.
        """
        folder = Path(folder)
        if not rounds.names(folder):
            raise TableError(f"there is no latency table in {folder}; make one with `distilsearch profile`")
        _check_meta(folder)
        table = derived(rounds.read_all(folder), folder)
        if _stale(folder, table):
            _write_derived(folder, table)
        return table

    def roof(self, regime: Regime) -> Roof:
        """The roof of a regime; where it was not measured, the best of its dtype, then of all."""
        known = self.meta.roofs
        if not known:
            raise TableError("this table holds no measured peak; profile on its device again")
        same = [roof for name, roof in known.items() if name.startswith(f"{regime.dtype}/")]
        best = max(same or known.values(), key=lambda roof: roof.peak_flops)
        return known.get(roof_name(regime), best)

    def roofline_seconds(self, operators: Sequence[Operator], regime: Regime) -> list[float]:
        """The roofline of any operators in a regime, seconds."""
        roof = self.roof(regime)
        return [roof.seconds(operator.flops, operator.bytes(regime.dtype)) for operator in operators]

    def latency(self, operator: Operator, regime: Regime) -> Measured | None:
        """What was measured of an operator, or None."""
        return self.measured.get(("operator", operator.signature, regime))


def roof_name(regime: Regime) -> str:
    """The key of a regime's roof."""
    return f"{regime.dtype}/{regime.threads}"


def derived(parts: Iterable[rounds.Rounds], folder: Path | None = None) -> LatencyTable:
    """The table that rounds amount to, whatever their order; all must be of one device and stack."""
    parts = sorted(parts, key=lambda part: part.name)
    first = _same_machine(parts)
    groups = grouped(parts)
    best = {f"{d}/{t}": Roof(*figures) for (d, t), figures in roofs(groups).items()}
    times = {key: measured(group) for key, group in groups.items()}
    meta = TableMeta(
        schema=rounds.SCHEMA,
        device=first.device,
        stack=first.stack,
        peak_flops=_best_peaks(best),
        bandwidth=max((roof.bandwidth for roof in best.values()), default=math.nan),
        launch_floor_seconds=min((roof.launch_floor_seconds for roof in best.values()), default=math.nan),
        noise_floor=noise_floor(groups),
        additivity_error=additivity_error(times),
        collector=rounds.COLLECTOR,
        sentinel_seconds={str(threads): seconds for threads, seconds in baselines(groups).items()},
        roofs=best,
        hashes={"rounds": [part.name.removesuffix(".parquet") for part in parts]},
    )
    return LatencyTable(_operator_rows(times, best), _model_rows(times), meta, times, folder)


def _same_machine(parts: Sequence[rounds.Rounds]) -> rounds.Rounds:
    first = parts[0]
    for part in parts[1:]:
        if (part.device, part.stack) != (first.device, first.stack):
            raise TableError(
                f"rounds {part.name[:12]} and {first.name[:12]} come from different devices or stacks; keep them in"
                " tables of their own"
            )
    return first


def _best_peaks(known: Mapping[str, Roof]) -> dict[str, float]:
    peaks: dict[str, float] = {}
    for name, roof in known.items():
        dtype = name.partition("/")[0]
        peaks[dtype] = max(peaks.get(dtype, 0.0), roof.peak_flops)
    return peaks


def _operator_rows(times: Mapping[Key, Measured], best: Mapping[str, Roof]) -> tuple[OperatorRow, ...]:
    rows = []
    for (kind, signature, regime), found in times.items():
        if kind != "operator":
            continue
        operator = Operator.parse(signature)
        flops, moved, roof = operator.flops, operator.bytes(regime.dtype), best.get(roof_name(regime))
        least = roof.seconds(flops, moved) if roof else math.nan
        rows.append(OperatorRow(operator, regime, found, flops, moved, least))
    return tuple(rows)


def _model_rows(times: Mapping[Key, Measured]) -> tuple[ModelRow, ...]:
    whole = [(parse_model(key[1], key[2]), found) for key, found in times.items() if key[0] == "model"]
    return tuple(ModelRow(architecture, serving, found) for (architecture, serving), found in whole)


def _check_meta(folder: Path) -> None:
    """A meta file of a newer version is refused before it is overwritten; an unreadable one is derived anew."""
    try:
        found = json.loads((folder / META).read_text())["schema"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    rounds.check_schema(found, folder / META)


def _stale(folder: Path, table: LatencyTable) -> bool:
    """Whether the derived files are missing, damaged, or not of these rounds."""
    try:
        hashes = json.loads((folder / META).read_text())["hashes"]
        files = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (OPERATORS, MODELS)}
    except (OSError, ValueError, KeyError, TypeError):
        return True
    return bool(hashes != {**table.meta.hashes, **files})


def _write_derived(folder: Path, table: LatencyTable) -> None:
    """Restate the rounds for other readers; a store that cannot be written is only read."""
    contents = {OPERATORS: _operators_file(table), MODELS: _models_file(table)}
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    meta = {**table.meta.to_json(), "hashes": {**table.meta.hashes, **hashes}}
    try:
        with file_lock(folder / LOCK):
            for name, content in contents.items():
                write_atomically(folder / name, content)
            write_atomically(folder / META, json.dumps(meta, indent=1, sort_keys=True, allow_nan=False) + "\n")
    except (RunError, OSError):
        return


def _parquet(records: list[dict[str, Any]], columns: Sequence[tuple[str, pa.DataType]]) -> bytes:
    return rounds.parquet_bytes(pa.Table.from_pylist(records, schema=pa.schema(list(columns))))


_IDENTITY = [("kind", pa.string()), ("signature", pa.string())]
_REGIME = [("dtype", pa.string()), ("mode", pa.string()), ("threads", pa.int32()), ("cache", pa.string())]
_MEASURED = [
    ("seconds_p10", pa.float64()),
    ("seconds_p50", pa.float64()),
    ("seconds_p90", pa.float64()),
    ("rounds", pa.int32()),
    ("relative_iqr", pa.float64()),
    ("sentinel_ratio", pa.float64()),
    ("status", pa.string()),
]


def _operators_file(table: LatencyTable) -> bytes:
    figures = [("flops", pa.int64()), ("bytes", pa.int64()), ("roofline_seconds", pa.float64())]
    records = [
        {"kind": row.operator.kind, "signature": row.operator.signature, "flops": row.flops, "bytes": row.bytes}
        | {"roofline_seconds": row.roofline_seconds}
        | row.regime.to_json()
        | row.measured.to_json()
        for row in table.operators
    ]
    return _parquet(records, [*_IDENTITY, *_REGIME, *_MEASURED, *figures])


def _models_file(table: LatencyTable) -> bytes:
    records = [
        {"architecture": json.dumps(row.architecture.to_json(), sort_keys=True)}
        | {"serving": json.dumps(row.serving.to_json(), sort_keys=True)}
        | row.measured.to_json()
        for row in table.models
    ]
    return _parquet(records, [("architecture", pa.string()), ("serving", pa.string()), *_MEASURED])


def read_rows(folder: Path, name: str) -> pa.Table:
    """A derived file of a table as Arrow, for those who want columns."""
    return pq.read_table(folder / name)
