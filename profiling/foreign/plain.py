"""A plain CSV of anybody's timings: `signature`, `dtype`, and one column of times whose name is their unit.

`mode` (eager), `threads` (0) and `cache` (hot) may be given.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from distilsearch.errors import DistilSearchError, TableError
from distilsearch.operators import DTYPE_BYTES, Operator

from ..device import CACHES, Regime
from .rows import Found, Record, Timing, needs

UNITS = {"seconds": 1.0, "milliseconds": 1e-3, "microseconds": 1e-6}


def read(path: Path, records: Sequence[Record]) -> Iterator[Found]:
    """One timing a row."""
    for record in records:
        needs(record, ("signature", "dtype"), path)
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
        yield Timing(operator, _regime(record, path), float(record[units[0]]) * UNITS[units[0]])


def _regime(record: Record, path: Path) -> Regime:
    mode, cache = record.get("mode") or "eager", record.get("cache") or "hot"
    if cache not in CACHES:
        raise TableError(f"{path} has the cache {cache!r}; expected {' or '.join(CACHES)}")
    return Regime(record["dtype"], mode, int(record.get("threads") or 0), cache)
