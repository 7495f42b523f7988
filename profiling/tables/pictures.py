"""A table as charts: latency against work for each kind of operator, with its roofline and the machine's noise.

What is drawn is here; how it looks is the page room's, as for the reports of runs.
"""

import html
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distilsearch.errors import InputError
from distilsearch.home import write_atomically
from distilsearch.lowering import operators
from distilsearch.page.parts import card, chart, header, tiles
from distilsearch.page.plots import ACCENT, MUTED, Figure, area, common_layout, line, log_axis, scatter
from distilsearch.places import PAGE, own_file

from ..device import Regime, model_name
from .rows import ModelRow, OperatorRow
from .table import LatencyTable

POINTS, MOST_BINS = 3, 10
MICRO = 1e6
NOISY = "var(--knee)"
ROOF: dict[str, Any] = {"symbol": "line-ew-open", "size": 9, "color": MUTED, "line": {"width": 1.5}}


def write_page(table: LatencyTable, path: Path) -> None:
    """Write the self-contained page of a table, whole or not at all.

    Raises:
        InputError: the table holds no usable measurement.
        RunError: something else than such a page lies there.
    """
    from distilsearch.page.shell import document  # plotly, which nothing else here needs

    write_atomically(own_file(path, PAGE), document(*page_parts(table)))


def page_parts(table: LatencyTable) -> tuple[str, str, dict[str, Figure]]:
    """Title, body and figures of a table's page; each figure is drawn into the element of its name."""
    name = model_name(table.meta.device)
    figures: dict[str, Figure] = {}
    cards: list[str] = []
    for (kind, regime), rows in _groups(table).items():
        place = f"chart{len(figures)}"
        figures[place] = kind_figure(rows)
        cards.append(_card(f"{kind}, {_regime_words(regime)}", _kind_words(rows), place, figures))
    if sums := _sums(table):
        figures["models"] = models_figure(sums)
        words = "The operators of a model do not add up: what is above the diagonal is cost between them."
        cards.insert(0, _card("whole models", words, "models", figures))
    if not cards:
        if table.models:
            raise InputError(f"this table holds {len(table.models)} whole models, and no operators to draw")
        raise InputError("this table holds no usable measurement to draw; profile again")
    stack = ", ".join(f"{key} {value}" for key, value in table.meta.stack.items() if isinstance(value, str))
    note = "Each dot is the tenth percentile over rounds: the undisturbed machine. Bands reach to the median."
    return name, "".join([header(stack, name, note), tiles(_numbers(table)), *cards]), figures


def kind_figure(rows: Sequence[OperatorRow]) -> Figure:
    """Latency (us) against FLOPs of one kind in one regime."""
    rows = sorted(rows, key=lambda row: row.flops)
    work = [float(row.flops) for row in rows]
    low = [row.measured.seconds_p10 * MICRO for row in rows]
    typical = [row.measured.seconds_p50 * MICRO for row in rows]
    roofs = [row.roofline_seconds * MICRO for row in rows]
    data = _disturbance(work, low, typical)
    if all(map(math.isfinite, roofs)):
        data.append(scatter(work, roofs, "roofline", ROOF) | {"hoverinfo": "skip"})
    colours = [ACCENT if row.measured.status == "ok" else NOISY for row in rows]
    measured = scatter(work, low, "measured", {"size": 7, "color": colours})
    data.append(measured | {"hovertext": [_hover(row) for row in rows]})
    return _drawn(data, "FLOPs", "Latency (µs)", work, [*low, *typical, *filter(math.isfinite, roofs)])


def models_figure(sums: Sequence[tuple[ModelRow, float]]) -> Figure:
    """Measured latency (ms) against the sum of operators."""
    xs, ys = [total * 1e3 for _, total in sums], [row.measured.seconds_p10 * 1e3 for row, _ in sums]
    ends = [min(xs), max(xs)]
    dots = scatter(xs, ys, "measured", {"size": 9, "color": ACCENT})
    dots["hovertext"] = [_model_hover(row, total) for row, total in sums]
    data = [line(ends, ends, "sum of operators"), dots]
    return _drawn(data, "Sum of its operators (ms)", "Whole model (ms)", xs, [*xs, *ys])


def _groups(table: LatencyTable) -> dict[tuple[str, Regime], list[OperatorRow]]:
    groups: dict[tuple[str, Regime], list[OperatorRow]] = {}
    for row in table.operators:
        if row.measured.usable:
            groups.setdefault((row.operator.kind, row.regime), []).append(row)
    return dict(sorted(groups.items(), key=lambda item: (str(item[0][1]), -len(item[1]))))


def _sums(table: LatencyTable) -> list[tuple[ModelRow, float]]:
    """The models of which every operator is in the table, with the sum of the operators' seconds."""
    times = {(row.operator, row.regime.dtype, row.regime.mode, row.regime.threads): row.measured.seconds_p10
             for row in table.operators if row.measured.usable and row.regime.cache == "hot"}  # fmt: skip
    sums = []
    for row in table.models:
        s = row.serving
        parts = operators(row.architecture, s)
        keys = [(operator, s.dtype, s.mode, s.threads or 0) for operator, _ in parts]
        if row.measured.usable and all(key in times for key in keys):
            sums.append((row, sum(times[key] * count for key, (_, count) in zip(keys, parts, strict=True))))
    return sums


def _disturbance(work: Sequence[float], low: Sequence[float], high: Sequence[float]) -> list[Figure]:
    """How disturbed the machine was over sizes: from the tenth percentile to the median, from medians of bins."""
    sizes = np.unique(work)
    if len(sizes) < POINTS:
        return []
    groups = np.array_split(sizes, min(MOST_BINS, len(sizes)))  # one size is never in two of them
    bins = [np.isin(work, group) for group in groups]
    xs, lower, upper = ([float(np.median(np.asarray(v)[b])) for b in bins] for v in (work, low, high))
    return [area(xs, lower, upper, "tenth percentile to median")]


def _drawn(data: list[Figure], x_title: str, y_title: str, xs: Sequence[float], ys: Sequence[float]) -> Figure:
    layout = common_layout(x_title, y_title)
    layout["xaxis"] |= log_axis(xs)
    layout["yaxis"] |= log_axis(ys)
    return {"data": data, "layout": layout}


def _hover(row: OperatorRow) -> str:
    m = row.measured
    reached = f", {row.roofline_seconds / m.seconds_p10:.0%} of the roofline" if row.roofline_seconds > 0 else ""
    sizes = ", ".join(f"{name} {value}" for name, value in row.operator.sizes.items())
    return (
        f"{html.escape(sizes)}<br>{m.seconds_p10 * MICRO:.4g} µs{reached}<br>"
        f"median {m.seconds_p50 * MICRO:.4g}, 90 % below {m.seconds_p90 * MICRO:.4g} µs<br>"
        f"{m.rounds} rounds, {m.status}"
    )


def _model_hover(row: ModelRow, total: float) -> str:
    genes = ", ".join(f"{k} {v}" for k, v in row.architecture.values.items() if isinstance(v, int))
    seconds = row.measured.seconds_p10
    return f"{html.escape(genes)}<br>{seconds * 1e3:.3f} ms, {seconds / total:.2f} x the sum<br>{row.measured.status}"


def _kind_words(rows: Sequence[OperatorRow]) -> str:
    reached = [row.roofline_seconds / row.measured.seconds_p10 for row in rows]
    noisy = sum(row.measured.status == "noisy" for row in rows)
    words = f"{len(rows)} sizes; at the median {np.median(reached):.0%} of the roofline"
    return words + (f"; {noisy} noisy ones in orange." if noisy else ".")


def _regime_words(regime: Regime) -> str:
    threads = f", {regime.threads} thread{'s' * (regime.threads > 1)}" if regime.threads else ""
    return f"{regime.dtype}, {regime.mode}{threads}, {regime.cache} cache"


def _card(title: str, words: str, place: str, figures: dict[str, Figure]) -> str:
    return card(title, words, chart(place, figures, f"Chart: latency of {title}"))


def _numbers(table: LatencyTable) -> list[tuple[str, str]]:
    meta = table.meta
    numbers = [(f"{peak / 1e9:,.0f}", f"GFLOP/s {dtype}") for dtype, peak in meta.peak_flops.items()]
    numbers.append((f"{meta.bandwidth / 1e9:.1f}", "GB/s bandwidth"))
    if math.isfinite(meta.noise_floor):
        numbers.append((f"{meta.noise_floor:.1%}", "noise floor"))
    if math.isfinite(meta.additivity_error):
        numbers.append((f"{1 + meta.additivity_error:.2f} x", "a model over the sum of its operators"))
    return [*numbers, (f"{len(table.operators)} + {len(table.models)}", "operators + whole models")]
