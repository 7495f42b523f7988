"""Tables that other projects publish, read into ours: vidur's CSVs, AIConfigurator's performance files, a plain CSV.

Every reader says which unit it reads, and what it could not place is counted by name, never skipped in silence.
Foreign tables have no sentinel (`sentinel_seconds` is 1) and no probes: the roof is the best rate that their own
operators reach. Importing a file twice adds nothing.

| format | files | unit | one row is |
| --- | --- | --- | --- |
| `vidur` | `*.csv` with `time_stats.NAME.median` and `num_tokens` | ms | float16, the median of one profiling run |
| `aiconfigurator` | `gemm_perf`, `*_attention_perf` (`.parquet`, `.csv`, `.txt`) | ms, column `latency` | one kernel |
| `csv` | columns `signature`, `dtype`, one of `seconds`, `milliseconds`, `microseconds` | named | one timing |
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from distilsearch.errors import DistilSearchError, InputError, TableError, unknown
from distilsearch.operators import DTYPE_BYTES, Operator

from . import rounds
from .device import Facts, Probe, Regime
from .store import folder_of
from .table import LatencyTable

NO_SENTINEL_SECONDS = 1.0
UNITS = {"seconds": 1.0, "milliseconds": 1e-3, "microseconds": 1e-6}
ATTENTION = {
    "context_attention_perf": ("prefill", 1),
    "generation_attention_perf": ("decode", 1),
    "encoder_attention_perf": ("encode", 0),
}
DTYPES = {"float16": "float16", "bfloat16": "bfloat16", "float32": "float32", "half": "float16"}

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Timing:
    """One foreign row that has a place here."""

    operator: Operator
    regime: Regime
    seconds: float


Found = Timing | str
"""A timing, or the name of what has no place here."""


@dataclass(frozen=True)
class Imported:
    """The table that was read, and how many rows of each name have no place in it."""

    table: LatencyTable
    left_out: Mapping[str, int]


def import_tables(
    source: Path | str, form: str, model: str, store: Path | str | None = None, stack: Facts | None = None
) -> Imported:
    """Read a foreign file, or all files of a folder, as the table of the device called `model`.

    Raises `InputError` for an unknown format, `TableError` where a file is not of it or nothing in it has a place.
    """
    if form not in FORMATS:
        raise unknown("table format", form, FORMATS)
    files = _files(Path(source))
    timings, left_out = [], Counter[str]()
    for path in files:
        for found in FORMATS[form](path.stem, _records(path), path):
            if isinstance(found, str):
                left_out[found] += 1
            else:
                timings.append(found)
    if not timings:
        named = ", ".join(sorted(left_out)) or "nothing"
        raise TableError(
            f"{source} holds no operator known here (it has: {named}); known: linear, attention, norm, ..."
        )
    device = {"kind": "foreign", "model": model}
    versions = {"source": form, **(stack or {})}
    folder = folder_of(device, versions, store)
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]
    rounds.append(folder, [*_rows(timings, digest), *_roof(timings, digest)], device, versions)
    return Imported(LatencyTable.read(folder), dict(left_out))


def _files(source: Path) -> list[Path]:
    known = (".csv", ".parquet", ".txt")
    files = [source] if source.is_file() else sorted(p for p in source.rglob("*") if p.suffix in known)
    if not files:
        raise InputError(f"there is no file {source}, nor a folder with {', '.join(known)} in it")
    return files


def _records(path: Path) -> list[dict[str, Any]]:
    try:
        table = pq.read_table(path) if path.suffix == ".parquet" else pyarrow.csv.read_csv(path)
    except (pa.ArrowException, OSError) as error:
        raise TableError(f"cannot read {path} as a table: {error}") from error
    records: list[dict[str, Any]] = table.to_pylist()
    return records


def _needs(record: Record, names: tuple[str, ...], path: Path) -> None:
    missing = [name for name in names if name not in record]
    if missing:
        raise TableError(f"{path} lacks the columns {', '.join(missing)}; it has {', '.join(record)}")


def _vidur(stem: str, records: list[dict[str, Any]], path: Path) -> Iterator[Found]:
    """Milliseconds; gated models are taken to be Llamas with RMS norms, others to have layer norms."""
    for record in records:
        _needs(record, ("num_tokens", "n_embd", "n_head", "n_kv_head", "num_tensor_parallel_workers"), path)
        timed = [name.split(".")[1] for name in record if name.startswith("time_stats.") and name.endswith(".median")]
        placed = _vidur_operators(record)
        for name in timed:
            milliseconds = record[f"time_stats.{name}.median"]
            if name not in placed:
                yield name
            elif milliseconds is not None:
                yield Timing(placed[name], Regime("float16", "eager", 0), float(milliseconds) * 1e-3)


def _vidur_operators(r: Record) -> dict[str, Operator]:
    tokens, width, split = int(r["num_tokens"]), int(r["n_embd"]), int(r["num_tensor_parallel_workers"])
    size, gated, wide = width // r["n_head"], bool(r["use_gated_mlp"]), int(r["n_expanded_embd"]) // split
    heads, kv_heads = r["n_head"] // split, max(1, r["n_kv_head"] // split)
    at = {"batch": 1, "sequence": tokens}

    def linear(inputs: int, outputs: int) -> Operator:
        return Operator("linear", {**at, "inputs": inputs, "outputs": outputs, "bias": 0, "activation": "none"})

    norm = Operator("norm", {**at, "width": width, "norm": "rms" if gated else "layer", "residual": 0})
    lookup = {"width": width, "vocabulary": r["vocab_size"] // split, "positions": 0, "types": 0, "norm": "none"}
    found = {
        "emb": Operator("embedding", {**at, **lookup}),
        "input_layernorm": norm,
        "post_attention_layernorm": norm,
        "attn_pre_proj": linear(width, (heads + 2 * kv_heads) * size),
        "attn_rope": Operator("rotary", {**at, "heads": heads, "kv_heads": kv_heads, "head_size": size}),
        "attn_post_proj": linear(heads * size, width),
        "mlp_up_proj": linear(width, wide * (2 if gated else 1)),
        "mlp_down_proj": linear(wide, width),
    }
    return found | ({"mlp_act": Operator("gate", {**at, "width": wide, "activation": "silu"})} if gated else {})


def _aiconfigurator(stem: str, records: list[dict[str, Any]], path: Path) -> Iterator[Found]:
    """Milliseconds in `latency`; quantised kernels and attention windows have no place here."""
    for record in records:
        if stem == "gemm_perf":
            _needs(record, ("gemm_dtype", "m", "n", "k", "latency"), path)
            yield _kernel(record, "gemm", "gemm_dtype", _gemm)
        elif stem in ATTENTION:
            _needs(record, ("attn_dtype", "batch_size", "isl", "num_heads", "head_dim", "latency"), path)
            phase, causal = ATTENTION[stem]
            if int(record.get("window_size") or 0) > 0:
                yield "attention with a window"
            elif record.get("kv_cache_dtype", record["attn_dtype"]) != record["attn_dtype"]:
                yield f"attention over a {record['kv_cache_dtype']} cache"
            else:
                yield _kernel(record, stem, "attn_dtype", lambda r: _attention(r, phase, causal))  # noqa: B023
        else:
            yield str(record.get("op_name") or stem)


def _kernel(record: Record, name: str, column: str, place: Callable[[Record], Operator]) -> Found:
    dtype = DTYPES.get(str(record[column]))
    if dtype is None:
        return f"{name} in {record[column]}"
    return Timing(place(record), Regime(dtype, "eager", 0), float(record["latency"]) * 1e-3)


def _gemm(r: Record) -> Operator:
    sizes = {"batch": 1, "sequence": int(r["m"]), "inputs": int(r["k"]), "outputs": int(r["n"])}
    return Operator("linear", {**sizes, "bias": 0, "activation": "none"})


def _attention(r: Record, phase: str, causal: int) -> Operator:
    keys = int(r["isl"]) + int(r.get("step") or 0)
    decodes = phase == "decode"
    sizes = {"batch": int(r["batch_size"]), "sequence": 1 if decodes else int(r["isl"]), "heads": int(r["num_heads"])}
    narrow = int(r.get("num_key_value_heads") or 0) or int(r["num_heads"])
    sizes |= {"kv_heads": narrow, "head_size": int(r["head_dim"]), "causal": causal}
    return Operator("attention", {**sizes, "cached": keys - 1 if decodes else 0})


def _plain(stem: str, records: list[dict[str, Any]], path: Path) -> Iterator[Found]:
    """The unit is the name of the column; `mode`, `threads` and `cache` may be given."""
    for record in records:
        _needs(record, ("signature", "dtype"), path)
        units = [unit for unit in UNITS if unit in record]
        if len(units) != 1:
            raise TableError(f"{path} needs exactly one column of times, {', '.join(UNITS)}; it has {units or 'none'}")
        if record["dtype"] not in DTYPE_BYTES:
            yield f"dtype {record['dtype']}"
            continue
        try:
            operator = Operator.parse(record["signature"])
        except DistilSearchError:
            yield str(record["signature"]).partition("(")[0]
            continue
        mode, cache = record.get("mode") or "eager", record.get("cache") or "hot"
        regime = Regime(record["dtype"], mode, int(record.get("threads") or 0), cache)
        yield Timing(operator, regime, float(record[units[0]]) * UNITS[units[0]])


FORMATS: dict[str, Callable[[str, list[dict[str, Any]], Path], Iterator[Found]]] = {
    "vidur": _vidur,
    "aiconfigurator": _aiconfigurator,
    "csv": _plain,
}
"""How to read each foreign format."""


def _row(kind: str, signature: str, regime: Regime, number: int, seconds: float, session: str) -> rounds.Row:
    if not 0 < seconds < float("inf"):
        raise TableError(f"expected a positive time of {signature}; got {seconds} s: mend the file")
    return rounds.Row(
        kind=kind,
        signature=signature,
        regime=regime,
        session=session,
        round=number,
        seconds=seconds,
        sentinel_seconds=NO_SENTINEL_SECONDS,
        prepare_seconds=None,
        steal_share=None,
        frequency_hertz=None,
        unix_seconds=0.0,
    )


def _rows(timings: list[Timing], session: str) -> Iterator[rounds.Row]:
    seen = Counter[tuple[str, Regime]]()
    for t in timings:
        key = (t.operator.signature, t.regime)
        yield _row("operator", t.operator.signature, t.regime, seen[key], t.seconds, session)
        seen[key] += 1


def _roof(timings: list[Timing], session: str) -> Iterator[rounds.Row]:
    """Per dtype and threads, the operators that reach the best rates, restated as probes."""
    groups: dict[tuple[str, int], list[Timing]] = {}
    for t in timings:
        groups.setdefault((t.regime.dtype, t.regime.threads), []).append(t)
    for (dtype, _), members in groups.items():
        peak = max(members, key=lambda t: t.operator.flops / t.seconds)
        moved = max(members, key=lambda t: t.operator.bytes(dtype) / t.seconds)
        least = min(members, key=lambda t: t.seconds)
        probes = [
            (Probe("peak", dtype, flops=peak.operator.flops), peak),
            (Probe("bandwidth", dtype, bytes=moved.operator.bytes(dtype)), moved),
            (Probe("launch", dtype), least),
        ]
        for probe, t in probes:
            yield _row("probe", probe.signature, t.regime, 0, t.seconds, session)
