"""After a change of driver or library: are the rows of the old stack still true on the new one?

A few per cent of the sibling's rows are measured again, spread over the sizes of each kind, and each kind is judged
on its own:

| symbol | meaning |
| --- | --- |
| r | log(new / old) of one row |
| m, s | median of r over a kind, and 1.4826 x median absolute deviation from m |
| sigma | standard deviation that noise alone gives r: 1.4826 x the larger noise floor of both tables |
| `accept` | s <= max(SPREAD, 2 sigma) and abs(m) <= max(SHIFT, 2.5 sigma / sqrt(n)): nothing moved |
| `rescale` | s <= max(SPREAD, 2 sigma): all moved together, by exp(m) |
| `anew` | they moved apart, or fewer than LEAST_ROWS rows could be measured |

2.5 sigma / sqrt(n) is twice the standard error of a median of n normal values. Accepted and rescaled rows are
copied into the new stack's table as rounds; their session names the stack they come from and the factor.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from distilsearch.errors import TableError
from distilsearch.operators import TORCH, Serving
from distilsearch.progress import Progress, silent

from .cases.plan import Case
from .clock import Clock, Measured, SystemClock
from .collect import alone_on_machine, probe_cases
from .device import CACHES, Device, Facts, Regime, fingerprint
from .devices import open_device
from .measuring.sweep import Sweep
from .tables import rounds
from .tables.derive import Group, Key, grouped
from .tables.rows import ModelRow, OperatorRow
from .tables.store import all_tables, store_folder, table_folder
from .tables.table import LatencyTable

SHARE = 0.05
LEAST_ROWS = 4  # to judge by
FEWEST, MOST_ROWS = 6, 24  # to measure, of those there are
SHIFT, SPREAD = 0.03, 0.08
MAD_TO_SD = 1.4826
MODEL = "model"


@dataclass(frozen=True)
class Verdict:
    """What was decided on one kind of rows in one regime; `factor` is new / old."""

    kind: str
    regime: Regime
    rows: int
    factor: float
    spread: float
    decision: str


@dataclass(frozen=True)
class Check:
    """The sibling that was checked, the verdicts, and the new stack's table as it is now."""

    sibling: LatencyTable
    verdicts: tuple[Verdict, ...]
    table: LatencyTable


def nearest_sibling(device: Device, store: Path | str | None = None) -> LatencyTable | None:
    """The torch table of the same device whose stack has most in common with the present one; None without any.

    Other runtimes' tables lie beside, and nothing of them holds for torch.
    """
    here, wanted = table_folder(device, store), device.stack()
    folders = [f for f in all_tables(store) if f.parent == here.parent and f != here]
    tables = [table for table in map(LatencyTable.read, folders) if table.runtime == TORCH]
    return max(tables, key=lambda table: _in_common(table.meta.stack, wanted), default=None)


def _in_common(stack: Facts, wanted: Facts) -> int:
    return sum(stack.get(name) == value for name, value in wanted.items())


def check(
    device: str | Device = "auto",
    store: Path | str | None = None,
    share: float = SHARE,
    progress: Progress = silent,
    clock: Clock | None = None,
    seed: int = 0,
) -> Check:
    """Judge the nearest sibling of the device's present stack, and take over what still holds.

    Raises `TableError` where the store has no other stack of this device.
    """
    opened = open_device(device)
    sibling = nearest_sibling(opened, store)
    if sibling is None:
        raise TableError(
            f"the store {store_folder(store)} has no table of this {opened.name}, of its present stack or another;"
            " make one with `distilsearch profile`"
        )
    folder = table_folder(opened, store)
    groups = _kinds(sibling)
    picked = {group: [_case(row) for row in chosen(rows, share)] for group, rows in groups.items()}
    hot, cold = ([c for (_, r), cases in picked.items() if r.cache == cache for c in cases] for cache in CACHES)
    with alone_on_machine(folder, progress):
        sweep = Sweep(opened, folder, np.random.default_rng(seed), clock or SystemClock(), progress)
        sweep.run([*probe_cases(opened, [case.serving for case in (*hot, *cold)]), *hot])
        if cold:
            replace(sweep, device=opened.cold()).run(cold)
    table = LatencyTable.read(folder)
    noise = max(_noise(sibling), _noise(table))
    verdicts = tuple(judged(kind, regime, _ratios(rows, table), noise) for (kind, regime), rows in groups.items())
    _take_over(sibling, table, verdicts)
    return Check(sibling, verdicts, LatencyTable.read(folder))


def judged(kind: str, regime: Regime, ratios: Sequence[float], noise: float) -> Verdict:
    """The verdict on log ratios new / old of one kind; `noise` is the larger noise floor."""
    r, sigma = np.asarray(ratios, dtype=np.float64), MAD_TO_SD * noise
    if len(r) < LEAST_ROWS:
        return Verdict(kind, regime, len(r), math.nan, math.nan, "anew")
    shift = float(np.median(r))
    spread = MAD_TO_SD * float(np.median(np.abs(r - shift)))
    if spread > max(SPREAD, 2 * sigma):
        decision = "anew"
    else:
        decision = "accept" if abs(shift) <= max(SHIFT, 2.5 * sigma / math.sqrt(len(r))) else "rescale"
    return Verdict(kind, regime, len(r), math.exp(shift), spread, decision)


def chosen(rows: Sequence[OperatorRow | ModelRow], share: float) -> list[OperatorRow | ModelRow]:
    """A share of rows spread evenly over their latency, ends included, `FEWEST` to `MOST_ROWS` of them."""
    ordered = sorted(rows, key=lambda row: row.measured.seconds_p10)
    count = min(len(ordered), MOST_ROWS, max(FEWEST, math.ceil(share * len(ordered))))
    return [ordered[i] for i in np.linspace(0, len(ordered) - 1, count).round().astype(int)]


def _kinds(table: LatencyTable) -> dict[tuple[str, Regime], list[OperatorRow | ModelRow]]:
    """Usable rows by kind of operator and regime; whole models are a kind of their own."""
    groups: dict[tuple[str, Regime], list[OperatorRow | ModelRow]] = {}
    for row in table.operators:
        if row.measured.usable:
            groups.setdefault((row.operator.kind, row.regime), []).append(row)
    for model in table.models:
        s = model.serving
        if model.measured.usable:
            groups.setdefault((MODEL, Regime(s.dtype, s.mode, s.threads or 0, runtime=s.runtime)), []).append(model)
    return groups


def _case(row: OperatorRow | ModelRow) -> Case:
    if isinstance(row, ModelRow):
        return Case(row.architecture, row.serving)
    r = row.regime
    return Case(row.operator, Serving(dtype=r.dtype, mode=r.mode, threads=r.threads or None, runtime=r.runtime))


def _ratios(rows: Iterable[OperatorRow | ModelRow], table: LatencyTable) -> list[float]:
    """log(new / old) of the rows that the new table has measured well."""
    fresh: dict[object, Measured] = {(row.operator, row.regime): row.measured for row in table.operators}
    fresh |= {(row.architecture, row.serving): row.measured for row in table.models}
    pairs = [(row.measured, fresh.get(_identity(row))) for row in rows]
    return [math.log(new.seconds_p10 / old.seconds_p10) for old, new in pairs if new is not None and new.usable]


def _identity(row: OperatorRow | ModelRow) -> object:
    return (row.architecture, row.serving) if isinstance(row, ModelRow) else (row.operator, row.regime)


def _noise(table: LatencyTable) -> float:
    return table.meta.noise_floor if math.isfinite(table.meta.noise_floor) else 0.0


def _take_over(sibling: LatencyTable, table: LatencyTable, verdicts: Iterable[Verdict]) -> None:
    """Copy the rounds of accepted and rescaled kinds that the new table has not measured itself."""
    assert sibling.folder is not None
    assert table.folder is not None
    factors = {
        (v.kind, v.regime): v.factor if v.decision == "rescale" else 1.0 for v in verdicts if v.decision != "anew"
    }
    origin, rows = fingerprint(sibling.meta.stack), list[rounds.Row]()
    for key, group in grouped(rounds.read_all(sibling.folder)).items():
        kind, signature, regime = key
        factor = factors.get((MODEL if kind == "model" else signature.partition("(")[0], regime))
        if kind != "probe" and factor is not None and key not in table.measured:
            rows += _copied(key, group, factor, _calm(table, sibling, regime), f"{origin}x{factor:.4f}")
    if rows:
        rounds.append(table.folder, rows, table.meta.device, table.meta.stack)


def _calm(table: LatencyTable, sibling: LatencyTable, regime: Regime) -> float:
    """How much the undisturbed sentinel itself changed."""
    new, old = (t.meta.sentinel_seconds.get(str(regime.threads), math.nan) for t in (table, sibling))
    return new / old if math.isfinite(new / old) else 1.0


def _copied(key: Key, group: Group, factor: float, calm: float, session: str) -> Iterable[rounds.Row]:
    kind, signature, regime = key
    for number, (seconds, sentinel) in enumerate(zip(group.seconds, group.sentinels, strict=True)):
        yield rounds.Row(
            kind, signature, regime, session, number, seconds * factor, sentinel * calm, None, None, None, 0.0
        )
