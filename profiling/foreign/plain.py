"""A plain CSV of anybody's timings: `signature`, `dtype`, and one column of times whose name is their unit.

`mode` (eager), `threads` (0) and `cache` (hot) may be given.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from distilsearch.errors import DistilSearchError, TableError
from distilsearch.operators import DTYPE_BYTES, KINDS, MODES, Operator

from ..device import CACHES, Regime
from .rows import Found, Record, Timing

UNITS = {"seconds": 1.0, "milliseconds": 1e-3, "microseconds": 1e-6}


def read(path: Path, records: Sequence[Record]) -> Iterator[Found]:
    """One timing a row."""
    for record in records:
        record.needs(("signature", "dtype"))
        unit = unit_of(record)
        dtype, signature = record.text("dtype"), record.text("signature")
        if dtype not in DTYPE_BYTES:
            yield f"dtype {dtype}"
            continue
        kind = signature.partition("(")[0]
        if kind not in KINDS:
            yield kind
            continue
        yield Timing(record, _operator(record, signature), regime_of(record, dtype), record.seconds(unit, UNITS[unit]))


def unit_of(record: Record) -> str:
    """The one column of times."""
    units = [unit for unit in UNITS if unit in record]
    if len(units) != 1:
        raise TableError(
            f"{record.columns.path} needs exactly one column of times, {', '.join(UNITS)}; {record.columns.hint}"
        )
    return units[0]


def _operator(record: Record, signature: str) -> Operator:
    try:
        return Operator.parse(signature)
    except (DistilSearchError, ValueError) as error:
        raise record.refused(f"column 'signature': {signature!r} is no operator ({error})") from error


def regime_of(record: Record, dtype: str) -> Regime:
    """The conditions that a row names."""
    mode, cache = record.text("mode", "eager"), record.text("cache", "hot")
    if cache not in CACHES:
        raise record.wrong("cache", " or ".join(CACHES), cache)
    if mode not in MODES:
        raise record.wrong("mode", " or ".join(MODES), mode)
    return Regime(dtype, mode, record.whole("threads", 0, 0), cache)
