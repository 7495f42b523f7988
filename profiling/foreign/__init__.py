"""Tables of others, read into ours: vidur's CSVs, AIConfigurator's performance files, a plain CSV, whole models.

Every reader says which unit it reads, and what it could not place is counted by name, never skipped in silence.
Foreign tables have no sentinel (`sentinel_seconds` is 1) and no probes: the roof is the best rate that their own
operators reach; tables of whole models alone have none, and a predictor works one out. Importing a file twice adds
nothing.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from distilsearch.errors import TableError, unknown

from ..device import Facts, Probe, Regime
from ..tables import rounds
from ..tables.signatures import Newer, check_signature
from ..tables.store import folder_of, own_store
from ..tables.table import LatencyTable
from . import aiconfigurator as foreign_aiconfigurator
from . import models as foreign_models
from . import plain as foreign_plain
from . import vidur as foreign_vidur
from .files import records, table_files
from .rows import Model, Reader, Timing

NO_SENTINEL_SECONDS = 1.0
LEAST_MODELS = 3

FORMATS: dict[str, Reader] = {
    "vidur": foreign_vidur.read,
    "aiconfigurator": foreign_aiconfigurator.read,
    "csv": foreign_plain.read,
    "models": foreign_models.read,
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
    files = table_files(Path(source))
    entries = [entry for path in files if (rows := records(path)) for entry in FORMATS[form](path, rows)]
    if not entries:
        raise TableError(f"{source} holds no rows; expected a header and a row a timing")
    timings = [entry for entry in entries if isinstance(entry, Timing | Model)]
    left_out = Counter(entry for entry in entries if isinstance(entry, str))
    if not timings:
        named = ", ".join(sorted(left_out)) or "nothing"
        raise TableError(
            f"{source} holds no operator known here (it has: {named}); known: linear, attention, norm, ..."
        )
    _check(timings)
    device = {"kind": "foreign", "model": model}
    versions = {"source": form, **_software(timings, source), **(stack or {})}
    folder = folder_of(device, versions, store)
    if not rounds.names(folder):
        _check_enough(timings, source)
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]
    rounds.append(folder, [*_rows(timings, digest), *_roof(timings, digest)], device, versions)
    return Imported(LatencyTable.read(folder), dict(left_out))


def _software(timings: Sequence[Timing | Model], source: Path | str) -> Facts:
    named = sorted({timing.software for timing in timings})
    if len(named) > 1:
        raise TableError(
            f"{source} holds timings of several stacks ({', '.join(map(repr, named))}), which are no rounds of one"
            " another: name the files or the folder of one"
        )
    return {"software": named[0]} if named[0] else {}


def _check(timings: Sequence[Timing | Model]) -> None:
    """Refuse, before a byte is written, what the table could not be derived from."""
    checked: set[tuple[str, Regime]] = set()
    for timing in timings:
        key = (timing.signature, timing.regime)
        if key in checked:
            continue
        checked.add(key)
        try:
            check_signature(timing.kind, *key)
        except (ValueError, Newer) as error:
            raise timing.record.refused(str(error)) from error


def _check_enough(timings: Sequence[Timing | Model], source: Path | str) -> None:
    """Refuse a new table of so few whole models that nothing can be learnt of others; to an old one they are added."""
    models = {t.signature for t in timings if isinstance(t, Model)}
    if 0 < len(models) < LEAST_MODELS:
        raise TableError(
            f"{source} holds {len(models)} different whole models; at least {LEAST_MODELS} are needed to tell the cost"
            " of work from that of launching it, and 10 to 20 of unlike sizes to rely on"
        )


def _row(kind: str, signature: str, regime: Regime, number: int, seconds: float, session: str) -> rounds.Row:
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


def _rows(timings: Sequence[Timing | Model], session: str) -> Iterator[rounds.Row]:
    seen = Counter[tuple[str, Regime]]()
    for t in timings:
        key = (t.signature, t.regime)
        yield _row(t.kind, t.signature, t.regime, seen[key], t.seconds, session)
        seen[key] += 1


def _roof(timings: Sequence[Timing | Model], session: str) -> Iterator[rounds.Row]:
    """Per dtype and threads, the operators that reach the best rates, restated as probes."""
    groups: dict[tuple[str, int], list[Timing]] = {}
    for t in (one for one in timings if isinstance(one, Timing)):
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
