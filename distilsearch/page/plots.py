"""What the charts are drawn with: traces, axes and the common layout, as plain plotly JSON.

Notable: a colour is a CSS variable ("var(--accent)") that the page resolves when it draws. `log_axis` sets its own
ticks, at multiples such as 1, 2, 5 of powers of ten, since plotly's are unreadable over less than a decade.
"""

import html
import math
from collections.abc import Sequence
from typing import Any

Figure = dict[str, Any]

INK, MUTED, GRID = "var(--ink)", "var(--muted)", "var(--line)"
ACCENT, KNEE, TEACHER, LIMIT, POINT = (
    "var(--accent)",
    "var(--knee)",
    "var(--teacher)",
    "var(--limit)",
    "var(--point)",
)
BAND = "var(--band)"
OUTLINE = {"width": 1.5, "color": "var(--card)"}

# up to so many decades: the multiples of powers of ten that have a tick
TICKS: tuple[tuple[float, tuple[float, ...]], ...] = (
    (0.7, (1, 1.5, 2, 3, 5, 7)),
    (1.5, (1, 2, 3, 5)),
    (3, (1, 2, 5)),
    (5, (1, 3)),
    (math.inf, (1,)),
)


def scatter(xs: Sequence[Any], ys: Sequence[Any], name: str, marker: Figure) -> Figure:
    """Dots that show their own `hovertext`."""
    return {"type": "scatter", "mode": "markers", "x": list(xs), "y": list(ys), "name": name} | {
        "marker": marker,
        "hoverinfo": "text",
    }


def line(xs: Sequence[Any], ys: Sequence[Any], name: str, colour: str = MUTED, dash: str = "dot") -> Figure:
    """A line without hover."""
    line = {"color": colour, "dash": dash, "width": 1.5}
    return {"type": "scatter", "mode": "lines", "x": list(xs), "y": list(ys), "name": name, "line": line} | {
        "hoverinfo": "skip"
    }


def area(xs: Sequence[float], low: Sequence[float], high: Sequence[float], name: str) -> Figure:
    """The shaded area between two curves over `xs`."""
    trace = line([*xs, *reversed(xs)], [*high, *reversed(low)], name)
    return trace | {"fill": "toself", "fillcolor": BAND, "line": {"width": 0, "color": BAND}}


def band(low: float, high: float) -> Figure:
    """The area within 10 % of the diagonal from `low` to `high`."""
    ends = (low, high)
    return area(ends, [0.9 * x for x in ends], [1.1 * x for x in ends], "within 10 %")


def log_axis(values: Sequence[float], padding: float = 0.06) -> Figure:
    """A logarithmic axis over `values` (all positive) with readable ticks; large ones as 1.5M."""
    low, high = math.log10(min(values)), math.log10(max(values))
    margin = max(padding * (high - low), 0.04 if padding else 0.0)
    low, high = low - margin, high + margin
    steps = next(steps for decades, steps in TICKS if high - low < decades)
    candidates = (m * 10.0**e for e in range(math.floor(low), math.ceil(high) + 1) for m in steps)
    ticks = [tick for tick in candidates if low <= math.log10(tick) <= high]
    axis: Figure = {"type": "log", "range": [low, high]}
    return axis | ({"tickvals": ticks, "ticktext": [_short(tick) for tick in ticks]} if len(ticks) > 1 else {})


def _short(value: float) -> str:
    """1500000 -> 1.5M."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9999 * size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def common_layout(x_title: str, y_title: str) -> Figure:
    """What all charts share: see-through, quiet grid, legend on top."""
    axis = {"gridcolor": GRID, "linecolor": GRID, "zeroline": False, "automargin": True, "tickfont": {"color": MUTED}}
    return {
        "autosize": True,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, -apple-system, Segoe UI, Roboto, sans-serif", "size": 13, "color": INK},
        "margin": {"l": 62, "r": 16, "t": 36, "b": 52},
        "hovermode": "closest",
        "hoverlabel": {"bgcolor": "var(--card)", "bordercolor": GRID, "font": {"color": INK}, "align": "left"},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": MUTED, "activecolor": ACCENT},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"size": 12}},
        "xaxis": axis | {"title": {"text": x_title, "standoff": 10}},
        "yaxis": axis | {"title": {"text": y_title, "standoff": 10}},
    }


def safe(value: Any) -> str:
    """Text for a plotly label, which would read markup."""
    return html.escape(str(value))
