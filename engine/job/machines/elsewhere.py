"""Latencies of a run's students that others have measured, on devices where this tool cannot run.

They are whole models of an imported table (`tables import --kind models`). Genes that change no shape, such as which
layers a student inherits, are not looked at: a model is known by its operators. Such files say nothing of padding: what
they hold of a batch stands for padded ones too.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from distilsearch.architecture import Architecture
from distilsearch.errors import InputError
from distilsearch.lowering import operators
from distilsearch.operators import Serving
from distilsearch.profiling import find_table
from distilsearch.profiling.clock import Measured, over_lengths
from distilsearch.profiling.devices import DEVICES
from distilsearch.profiling.tables.table import LatencyTable


def foreign_table(device: str) -> LatencyTable | None:
    """The imported table of a device that is named by its fingerprint; none where there is no such table."""
    if device in (*DEVICES, "auto"):
        return None
    try:
        table = find_table(device)
    except InputError:
        return None
    return table if table is not None and table.meta.device.get("kind") == "foreign" else None


def measured_elsewhere(
    table: LatencyTable, architectures: Sequence[Architecture], serving: Serving
) -> list[Measured | None]:
    """What a table says of n whole models under one serving; None of each that it does not hold at all its lengths."""
    times = {_shape(row.architecture, row.serving): row.measured for row in table.models if row.measured.usable}

    def timed(architecture: Architecture, part: Serving) -> Measured | None:
        asked = [part, replace(part, threads=None)]  # a file that names no threads means whatever served
        return next((times[shape] for one in asked if (shape := _shape(architecture, one)) in times), None)

    def whole(architecture: Architecture) -> Measured | None:
        parts = [one for part, _ in serving.parts if (one := timed(architecture, replace(part, padded=False)))]
        if len(parts) < len(serving.parts):
            return None
        return over_lengths(parts, serving.lengths) if serving.lengths else parts[0]

    return [whole(architecture) for architecture in architectures]


Shape = tuple[frozenset[tuple[str, float]], Serving]


def _shape(architecture: Architecture, serving: Serving) -> Shape:
    counts: defaultdict[str, float] = defaultdict(float)
    for operator, count in operators(architecture, serving):
        counts[operator.signature] += count
    return frozenset(counts.items()), serving
