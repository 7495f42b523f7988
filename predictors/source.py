"""What the predictor takes from a latency table: the machine it is of, its ceilings, its operators.

Servings are told apart as the trees tell them apart, by dtype, mode and threads. Rows with cold caches are left to
other readers: a served model finds its operators' data warm, and the composition learns what cold weights cost.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distilsearch.errors import TableError
from distilsearch.operators import Serving
from distilsearch.profiling.device import UNITS, Regime, check_facts
from distilsearch.profiling.tables.rows import ModelRow, Roof
from distilsearch.profiling.tables.table import LatencyTable

from .effective import effective_roofs
from .operators.features import Sample, Setting
from .operators.roofline import Ceilings
from .reading import checked


@dataclass(frozen=True)
class Machine:
    """Where a table comes from: static facts, versions, the hash of its content, its noise floor, its parallel units.

    `units` is 0 where threads are the units (a CPU).
    """

    device: Mapping[str, Any]
    stack: Mapping[str, Any]
    table_sha256: str
    noise_floor: float
    units: int

    def setting(self, serving: Serving, known: Sequence[Setting]) -> Setting:
        """The setting of a serving; no thread count means the largest one measured for its dtype and mode.

        That is 0 on a device that has none.
        """
        asked = (serving.dtype, serving.mode, serving.runtime)
        same = [s.threads for s in known if (s.dtype, s.mode, s.runtime) == asked]
        threads = serving.threads or max(same, default=0 if self.units else serving.resolved_threads)
        return Setting(serving.dtype, serving.mode, threads, self.units or threads, serving.runtime)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {**vars(self), "device": dict(self.device), "stack": dict(self.stack)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Machine":
        """The inverse of `to_json`; `ValueError` where it makes no sense."""
        said = checked.fields("the machine", data, cls.__dataclass_fields__)
        for facts in (said["device"], said["stack"]):
            check_facts(facts)
        noise, units = checked.number(said["noise_floor"], 0.0), checked.whole(said["units"])
        return cls(said["device"], said["stack"], str(said["table_sha256"]), noise, units)


def machine(table: LatencyTable) -> Machine:
    """The machine a table is of."""
    meta = table.meta
    units = next((int(meta.device[name]) for name in UNITS if name in meta.device), 0)
    noise = meta.noise_floor if math.isfinite(meta.noise_floor) else 0.0
    return Machine(meta.device, meta.stack, fingerprint(table), noise, units)


def fingerprint(table: LatencyTable) -> str:
    """sha256 of every operator's and model's time: which table a predictor was fitted to, wherever the table lies."""
    rows = [f"{r.operator.signature} {_said(r.regime)} {r.measured.seconds_p10!r}" for r in table.operators]
    rows += [f"{r.architecture.key} {_said(r.serving)} {r.measured.seconds_p10!r}" for r in table.models]
    return hashlib.sha256("\n".join(sorted(rows)).encode()).hexdigest()


def _said(conditions: Regime | Serving) -> str:
    """Conditions by the fields that they had when the first tables were hashed, and by later ones that differ."""
    values = ", ".join(f"{name}={value!r}" for name, value in conditions.to_json().items())
    return f"{type(conditions).__name__}({values})"


def ceilings(table: LatencyTable, models: Sequence[ModelRow] = ()) -> Ceilings:
    """The measured ceilings of a table, else those that whole models imply; `TableError` where there are none."""
    meta = table.meta
    launch = max(meta.launch_floor_seconds, 1e-9)
    roofs = {(dtype, 0): Roof(peak, meta.bandwidth, launch) for dtype, peak in meta.peak_flops.items()}
    for name, roof in meta.roofs.items():
        dtype, _, threads = name.partition("/")
        least = max(roof.launch_floor_seconds, 1e-9)
        roofs[dtype, int(threads)] = roof._replace(launch_floor_seconds=least)
    if not roofs and not table.operators:
        roofs = effective_roofs([*table.models, *models])
    figures = [figure for roof in roofs.values() for figure in roof]
    if not figures or not all(math.isfinite(figure) and figure > 0 for figure in figures):
        raise TableError("this table holds no measured peak and bandwidth; profile on its device again")
    return Ceilings(roofs)


def samples(table: LatencyTable, of: Machine) -> list[Sample]:
    """The usable operators of a table with warm caches; disturbed ones only where none of their kind is calm."""
    warm = [row for row in table.operators if row.measured.usable and row.regime.cache == "hot"]
    calm = {(row.operator.kind, row.regime) for row in warm if not row.measured.disturbed}
    rows = [r for r in warm if not r.measured.disturbed or (r.operator.kind, r.regime) not in calm]
    return [Sample(row.operator, regime_setting(row.regime, of), row.measured.seconds_p10) for row in rows]


def calm_models(rows: Sequence[ModelRow]) -> list[ModelRow]:
    """Whole models without the disturbed ones of a serving's conditions; those too where no other was measured."""
    calm = {_conditions(row) for row in rows if not row.measured.disturbed}
    return [row for row in rows if not row.measured.disturbed or _conditions(row) not in calm]


def _conditions(row: ModelRow) -> tuple[object, ...]:
    s = row.serving
    return s.dtype, s.mode, s.runtime, s.threads, s.phase


def regime_setting(regime: Regime, of: Machine) -> Setting:
    """The setting of a table's regime."""
    return Setting(regime.dtype, regime.mode, regime.threads, of.units or regime.threads, regime.runtime)
