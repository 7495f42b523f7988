"""A table as charts: latency against work for each kind of operator, with its roofline and the machine's noise.

Figures are plain plotly JSON whose colours are CSS variables, and the text is HTML: whoever writes the page gives
both a shell. Nothing here imports plotly.
"""

import html
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from distilsearch.errors import InputError
from distilsearch.lowering import operators

from .device import Regime
from .rows import ModelRow, OperatorRow
from .table import LatencyTable

Figure = dict[str, Any]

POINTS, MOST_BINS = 3, 10
MICRO = 1e6
NOISY = "var(--knee)"


def page_parts(table: LatencyTable) -> tuple[str, str, dict[str, Figure]]:
    """Title, body and figures of a table's page; each figure is drawn into the element of its name."""
    device = table.meta.device
    name = device.get("model", "unknown device")
    name = str(name.get("model name", name) if isinstance(name, dict) else name)
    figures: dict[str, Figure] = {}
    sections = []
    for (kind, regime), rows in _groups(table).items():
        place = f"chart{len(figures)}"
        figures[place] = kind_figure(rows)
        sections.append(_section(f"{kind}, {_regime_words(regime)}", _kind_words(rows), place))
    if sums := _sums(table):
        figures["models"] = models_figure(sums)
        words = "The operators of a model do not add up: what is above the diagonal is cost between them."
        sections.insert(0, _section("whole models", words, "models"))
    if not sections:
        raise InputError("this table holds no usable measurement to draw; profile again")
    stack = ", ".join(f"{key} {value}" for key, value in table.meta.stack.items() if isinstance(value, str))
    head = f'<header><p class="eyebrow">{html.escape(stack)}</p><h1>{html.escape(name)}</h1>'
    note = "Each dot is the tenth percentile over rounds: the undisturbed machine. Bands reach to the median."
    return name, f'{head}<p class="lead">{note}</p></header>{_tiles(table)}{"".join(sections)}', figures


def kind_figure(rows: Sequence[OperatorRow]) -> Figure:
    """Latency (us) against FLOPs of one kind in one regime."""
    rows = sorted(rows, key=lambda row: row.flops)
    work = [float(row.flops) for row in rows]
    low = [row.measured.seconds_p10 * MICRO for row in rows]
    typical = [row.measured.seconds_p50 * MICRO for row in rows]
    colours = ["var(--accent)" if row.measured.status == "ok" else NOISY for row in rows]
    measured: Figure = {"type": "scatter", "mode": "markers", "name": "measured", "x": work, "y": low}
    measured |= {"marker": {"size": 7, "color": colours}, "hoverinfo": "text", "hovertext": [_hover(r) for r in rows]}
    data: list[Figure] = [*_band(work, low, typical), measured]
    roofs = [row.roofline_seconds * MICRO for row in rows]
    if all(map(math.isfinite, roofs)):
        marker = {"symbol": "line-ew-open", "size": 9, "color": "var(--muted)", "line": {"width": 1.5}}
        roof: Figure = {
            "type": "scatter",
            "mode": "markers",
            "name": "roofline",
            "x": work,
            "y": roofs,
            "marker": marker,
        }
        data.insert(-1, roof | {"hoverinfo": "skip"})
    return {
        "data": data,
        "layout": _layout("FLOPs", "Latency (µs)", work, [*low, *typical, *filter(math.isfinite, roofs)]),
    }


def models_figure(sums: Sequence[tuple[ModelRow, float]]) -> Figure:
    """Measured latency (ms) against the sum of operators."""
    xs, ys = [total * 1e3 for _, total in sums], [row.measured.seconds_p10 * 1e3 for row, _ in sums]
    ends = [min(*xs, *ys), max(*xs, *ys)]
    diagonal: Figure = {"type": "scatter", "mode": "lines", "name": "sum of operators", "x": ends, "y": ends}
    diagonal |= {"line": {"color": "var(--muted)", "dash": "dot", "width": 1.5}, "hoverinfo": "skip"}
    texts = [_model_hover(row, total) for row, total in sums]
    dots: Figure = {"type": "scatter", "mode": "markers", "name": "measured", "x": xs, "y": ys, "hovertext": texts}
    dots |= {"hoverinfo": "text", "marker": {"size": 9, "color": "var(--accent)"}}
    return {"data": [diagonal, dots], "layout": _layout("Sum of its operators (ms)", "Whole model (ms)", xs, ys)}


def _groups(table: LatencyTable) -> dict[tuple[str, Regime], list[OperatorRow]]:
    found: dict[tuple[str, Regime], list[OperatorRow]] = {}
    for row in table.operators:
        if row.measured.usable:
            found.setdefault((row.operator.kind, row.regime), []).append(row)
    return dict(sorted(found.items(), key=lambda item: (str(item[0][1]), -len(item[1]))))


def _sums(table: LatencyTable) -> list[tuple[ModelRow, float]]:
    """The models of which every operator is in the table, with the sum of the operators' seconds."""
    times = {(row.operator, row.regime.dtype, row.regime.mode, row.regime.threads): row.measured.seconds_p10
             for row in table.operators if row.measured.usable and row.regime.cache == "hot"}  # fmt: skip
    found = []
    for row in table.models:
        s = row.serving
        parts = operators(row.architecture, s)
        keys = [(operator, s.dtype, s.mode, s.threads or 0) for operator, _ in parts]
        if row.measured.usable and all(key in times for key in keys):
            found.append((row, sum(times[key] * count for key, (_, count) in zip(keys, parts, strict=True))))
    return found


def _band(work: Sequence[float], low: Sequence[float], high: Sequence[float]) -> list[Figure]:
    """How disturbed the machine was over sizes: from the tenth percentile to the median, from medians of bins."""
    sizes = len(set(work))
    if sizes < POINTS:
        return []
    bins = np.array_split(np.arange(len(work)), min(MOST_BINS, sizes))
    xs, lower, upper = ([float(np.median(np.asarray(v)[b])) for b in bins] for v in (work, low, high))
    line = {"width": 0, "color": "var(--band)"}
    trace = {"type": "scatter", "mode": "lines", "name": "tenth percentile to median", "x": xs + xs[::-1]}
    return [trace | {"y": upper + lower[::-1], "fill": "toself", "fillcolor": "var(--band)", "line": line} | {
        "hoverinfo": "skip"
    }]  # fmt: skip


def _layout(x_title: str, y_title: str, xs: Sequence[float], ys: Sequence[float]) -> Figure:
    axis = {"gridcolor": "var(--line)", "linecolor": "var(--line)", "zeroline": False, "automargin": True}
    axis |= {"tickfont": {"color": "var(--muted)"}, "type": "log", "exponentformat": "SI"}
    return {
        "autosize": True,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, -apple-system, Segoe UI, Roboto, sans-serif", "size": 13, "color": "var(--ink)"},
        "margin": {"l": 62, "r": 16, "t": 36, "b": 52},
        "hovermode": "closest",
        "hoverlabel": {"bgcolor": "var(--card)", "bordercolor": "var(--line)", "font": {"color": "var(--ink)"}},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "var(--muted)", "activecolor": "var(--accent)"},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"size": 12}},
        "xaxis": axis | _ticks(xs) | {"title": {"text": x_title, "standoff": 10}},
        "yaxis": axis | _ticks(ys) | {"title": {"text": y_title, "standoff": 10}},
    }


def _ticks(values: Sequence[float]) -> Figure:
    """Readable ticks on a logarithmic axis over `values`."""
    low, high = math.log10(min(values)), math.log10(max(values))
    margin = max(0.06 * (high - low), 0.08)
    low, high = low - margin, high + margin
    steps = (1, 2, 3, 5) if high - low < 1.5 else (1, 3) if high - low < 4 else (1,)
    ticks = [m * 10.0**e for e in range(math.floor(low), math.ceil(high) + 1) for m in steps]
    ticks = [tick for tick in ticks if low <= math.log10(tick) <= high]
    return {"range": [low, high], "tickvals": ticks, "ticktext": [_short(tick) for tick in ticks]}


def _short(value: float) -> str:
    """1500000 -> 1.5M."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9999 * size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


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
    threads = f", {regime.threads} threads" if regime.threads else ""
    return f"{regime.dtype}, {regime.mode}{threads}, {regime.cache} cache"


def _section(title: str, words: str, place: str) -> str:
    chart = f'<figure><div class="chart" id="{place}"></div></figure>'
    return f"<section><h2>{html.escape(title)}</h2><p>{html.escape(words)}</p>{chart}</section>"


def _tiles(table: LatencyTable) -> str:
    meta = table.meta
    figures = [(f"{peak / 1e9:,.0f}", f"GFLOP/s {dtype}") for dtype, peak in meta.peak_flops.items()]
    figures += [(f"{meta.bandwidth / 1e9:.1f}", "GB/s bandwidth"), (f"{meta.noise_floor:.1%}", "noise floor")]
    if math.isfinite(meta.additivity_error):
        figures.append((f"{1 + meta.additivity_error:.2f} x", "a model over the sum of its operators"))
    figures.append((f"{len(table.operators)} + {len(table.models)}", "operators + whole models"))
    tiles = "".join(
        f'<div class="tile"><b>{value}</b><span>{html.escape(what)}</span></div>' for value, what in figures
    )
    return f'<div class="tiles">{tiles}</div>'
