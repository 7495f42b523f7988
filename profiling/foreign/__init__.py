"""Tables that other projects publish, read into ours: vidur's CSVs, AIConfigurator's performance files, a plain CSV.

Every reader says which unit it reads, and what it could not place is counted by name, never skipped in silence.
Foreign tables have no sentinel (`sentinel_seconds` is 1) and no probes: the roof is the best rate that their own
operators reach. Importing a file twice adds nothing.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from distilsearch.errors import InputError, TableError, unknown

from .. import rounds
from ..device import Facts, Probe, Regime
from ..store import folder_of, own_store
from ..table import LatencyTable
from . import aiconfigurator as foreign_aiconfigurator
from . import plain as foreign_plain
from . import vidur as foreign_vidur
from .rows import Reader, Record, Timing

NO_SENTINEL_SECONDS = 1.0
SUFFIXES = (".csv", ".parquet", "_perf.txt")
LFS_POINTER = b"version https://git-lfs"

FORMATS: dict[str, Reader] = {
    "vidur": foreign_vidur.read,
    "aiconfigurator": foreign_aiconfigurator.read,
    "csv": foreign_plain.read,
}
"""How to read each foreign format."""


@dataclass(frozen=True)
class Imported:
    """The table that was read, and how many rows of each name have no place in it."""

    table: LatencyTable
    left_out: Mapping[str, int]


def import_tables(
    source: Path | str, form: str, model: str, store: Path | str | None = None, stack: Facts | None = None
) -> Imported:
    """Read a foreign file, or all files of a folder, as the table of the device called `model`.

    Where rows name the software that ran them, all must name the same, and the table is of that stack. Raises
    `InputError` for an unknown format, `TableError` where a file is not of it or nothing in it has a place.
    """
    if form not in FORMATS:
        raise unknown("table format", form, FORMATS)
    own_store(store)
    files = _files(Path(source))
    entries = [entry for path in files for entry in FORMATS[form](path, _records(path))]
    timings = [entry for entry in entries if isinstance(entry, Timing)]
    left_out = Counter(entry for entry in entries if isinstance(entry, str))
    if not timings:
        named = ", ".join(sorted(left_out)) or "nothing"
        raise TableError(
            f"{source} holds no operator known here (it has: {named}); known: linear, attention, norm, ..."
        )
    device = {"kind": "foreign", "model": model}
    versions = {"source": form, **_software(timings, source), **(stack or {})}
    folder = folder_of(device, versions, store)
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]
    rounds.append(folder, [*_rows(timings, digest), *_roof(timings, digest)], device, versions)
    return Imported(LatencyTable.read(folder), dict(left_out))


def _software(timings: Sequence[Timing], source: Path | str) -> Facts:
    named = sorted({timing.software for timing in timings})
    if len(named) > 1:
        raise TableError(
            f"{source} holds timings of several stacks ({', '.join(map(repr, named))}), which are no rounds of one"
            " another: name the files or the folder of one"
        )
    return {"software": named[0]} if named[0] else {}


def _files(source: Path) -> list[Path]:
    files = [source] if source.is_file() else sorted(p for p in source.rglob("*") if p.name.endswith(SUFFIXES))
    if not files:
        raise InputError(f"there is no file {source}, nor a folder with {', '.join(SUFFIXES)} in it")
    return files


def _records(path: Path) -> list[Record]:
    with path.open("rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            raise TableError(f"{path} only points to its content: fetch that with `git lfs pull`")
    try:
        table = pq.read_table(path) if path.suffix == ".parquet" else pyarrow.csv.read_csv(path)
    except (pa.ArrowException, OSError) as error:
        raise TableError(f"cannot read {path} as a table: {error}") from error
    records: list[Record] = table.to_pylist()
    return records


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


def _rows(timings: Sequence[Timing], session: str) -> Iterator[rounds.Row]:
    seen = Counter[tuple[str, Regime]]()
    for t in timings:
        key = (t.operator.signature, t.regime)
        yield _row("operator", t.operator.signature, t.regime, seen[key], t.seconds, session)
        seen[key] += 1


def _roof(timings: Sequence[Timing], session: str) -> Iterator[rounds.Row]:
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
