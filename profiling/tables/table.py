"""The latency table of one device and stack: rows derived from its rounds, with the figures that judge them.

`operators.parquet`, `models.parquet` and `meta.json` restate the rounds for other readers. They are never the
truth: reading checks every hash and derives them anew where they do not match. Times are float64 seconds with the
unit in the column's name.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from distilsearch.errors import TableError
from distilsearch.operators import TORCH, Operator

from ..clock import Measured
from ..device import Regime
from ..model_case import parse_model
from . import restate, rounds
from .derive import Key, additivity_error, baselines, grouped, measured, noise_floor, roof_name, roofs
from .rows import ModelRow as ModelRow
from .rows import OperatorRow as OperatorRow
from .rows import Roof as Roof
from .rows import TableMeta as TableMeta


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
        restate.check_meta(folder)
        table = derived(rounds.read_all(folder), folder)
        if restate.stale(folder, table.meta):
            restate.write(folder, table.operators, table.models, table.meta)
        return table

    @property
    def runtime(self) -> str:
        """Who ran what was timed: a table is of one runtime."""
        rows = (regime.runtime for _, _, regime in self.measured)
        return next(rows, TORCH)

    def roof(self, regime: Regime) -> Roof:
        """The roof of a regime; where it was not measured, the best of its dtype, then of all."""
        roofs = self.meta.roofs
        if not roofs:
            raise TableError("this table holds no measured peak; profile on its device again")
        same = [roof for name, roof in roofs.items() if name.startswith(f"{regime.dtype}/")]
        best = max(same or roofs.values(), key=lambda roof: roof.peak_flops)
        return roofs.get(roof_name(regime), best)

    def roofline_seconds(self, operators: Sequence[Operator], regime: Regime) -> list[float]:
        """The roofline of any operators in a regime, seconds."""
        roof = self.roof(regime)
        return [roof.seconds(operator.flops, operator.bytes(regime.dtype)) for operator in operators]

    def latency(self, operator: Operator, regime: Regime) -> Measured | None:
        """What was measured of an operator, or None."""
        return self.measured.get(("operator", operator.signature, regime))


def derived(parts: Iterable[rounds.Rounds], folder: Path | None = None) -> LatencyTable:
    """The table that rounds amount to, whatever their order; all must be of one device and stack."""
    parts = sorted(parts, key=lambda part: part.name)
    first = _same_machine(parts)
    groups = grouped(parts)
    best = roofs(groups)
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
    for (kind, signature, regime), timing in times.items():
        if kind != "operator":
            continue
        operator = Operator.parse(signature)
        flops, moved, roof = operator.flops, operator.bytes(regime.dtype), best.get(roof_name(regime))
        least = roof.seconds(flops, moved) if roof else math.nan
        rows.append(OperatorRow(operator, regime, timing, flops, moved, least))
    return tuple(rows)


def _model_rows(times: Mapping[Key, Measured]) -> tuple[ModelRow, ...]:
    whole = [(parse_model(key[1], key[2]), timing) for key, timing in times.items() if key[0] == "model"]
    return tuple(ModelRow(architecture, serving, timing) for (architecture, serving), timing in whole)
