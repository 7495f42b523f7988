"""The charts of a report as plain plotly JSON: `{"data": [...], "layout": {...}}`, made without importing plotly.

Notable: colours are CSS variables ("var(--accent)") which the page resolves when it draws, so one figure serves the
light and the dark theme. Texts are HTML-escaped here because plotly renders markup in labels. A chart with nothing
to show is None. Latency axes are logarithmic with ticks at 1, 2, 3, 5 times powers of ten.
"""

import math
from collections.abc import Iterable, Sequence

from distilsearch.page.plots import (
    ACCENT,
    BAND,
    KNEE,
    LIMIT,
    MUTED,
    OUTLINE,
    POINT,
    TEACHER,
    Figure,
    band,
    common_layout,
    line,
    log_axis,
    safe,
    scatter,
)

from .doubts import first_words, measured_words, ms_of
from .readings import Reading, both_latencies, parts_words
from .schema import Latency, Member, StudentEntry, SurrogatePoint, TeacherEntry, TrialEntry
from .words import count, gene_word, milliseconds, score, sentence, served_words, short_name

Shown = StudentEntry | TeacherEntry


def front_figure(reading: Reading, objective: str) -> Figure | None:
    """All trials, the front after equal training, what was trained longer, the chosen one, teacher and limit.

    Over a logarithmic latency axis.
    """
    others = [trial for trial in reading.trials if trial.key not in reading.front_keys]
    traces = [
        _points(reading, objective, others, "trial", {"size": 8, "color": POINT}),
        _steps(reading, objective),
        _points(reading, objective, _equals(reading), "front", {"size": 11, "color": ACCENT}),
        _finished(reading, objective),
        _knee(reading, objective),
        _teacher(reading, objective),
    ]
    data = [trace for trace in traces if trace]
    limit = reading.limit_ms(objective)
    seen = [x for trace in data for x in trace["x"]] + [x for x in (limit,) if x]
    if not data:
        return None
    layout = common_layout("Latency (ms, log scale)", _quality_title(reading))
    layout["xaxis"] |= log_axis(seen)
    _mark_limits(layout, reading, objective, limit)
    return {"data": data, "layout": layout}


def latency_figure(reading: Reading, objective: str) -> Figure | None:
    """Predicted against measured latency with prediction intervals, the diagonal and the band of +-10 %."""
    pairs = both_latencies(reading, objective)
    if not pairs:
        return None
    ends = [x for _, latency in pairs.values() for x in (latency.predicted, latency.measured) if x]
    low, high = min(ends) / 1.25, max(ends) * 1.25
    data = [band(low, high), line([low, high], [low, high], "equal")]
    for name, colour, wanted in (("trial", POINT, False), ("front", ACCENT, True)):
        members = [pair for key, pair in pairs.items() if (key in reading.front_keys) is wanted]
        if members:
            data.append(_pairs_trace(reading, objective, members, name, colour))
    layout = common_layout("Measured latency (ms)", "Predicted latency (ms)")
    layout["xaxis"] |= log_axis([low, high], padding=0.0)
    layout["yaxis"] |= log_axis([low, high], padding=0.0)
    return {"data": data, "layout": layout}


def hypervolume_figure(reading: Reading) -> Figure | None:
    """The hypervolume after each completed trial."""
    values = reading.result.hypervolume_trace
    if not any(value is not None for value in values):
        return None
    trace = line(list(range(1, len(values) + 1)), values, "hypervolume", colour=ACCENT, dash="solid")
    trace |= {"mode": "lines+markers", "marker": {"size": 6, "color": ACCENT}, "hoverinfo": "x+y", "fill": "tozeroy"}
    trace |= {"fillcolor": BAND, "showlegend": False}
    trace["line"] |= {"shape": "hv", "width": 2.5}
    counting = "Completed pairs of student and serving" if reading.ways else "Completed trials"
    layout = common_layout(counting, "Hypervolume")
    layout["xaxis"] |= {"range": [0, len(values) + 0.5], "tickformat": "d", "dtick": max(1, math.ceil(len(values) / 8))}
    layout["yaxis"]["rangemode"] = "tozero"
    return {"data": [trace], "layout": layout}


def calibration_figure(reading: Reading) -> Figure | None:
    """The surrogate's leave-one-out predictions with one standard deviation, against what was measured."""
    points = reading.result.surrogate.points if reading.result.surrogate else ()
    rows = [(p, reading.quality(p.measured), reading.quality(p.predicted)) for p in points]
    drawn = [(p, x, y) for p, x, y in rows if x is not None and y is not None]
    if not drawn:
        return None
    xs, ys = [x for _, x, _ in drawn], [y for _, _, y in drawn]
    margin = 0.08 * (max(xs) - min(xs)) or 0.01
    ends = [min(xs) - margin, max(xs) + margin]
    trace = scatter(xs, ys, "leave-one-out", {"size": 9, "color": ACCENT})
    sds = [p.sd or 0.0 for p, _, _ in drawn]
    trace["error_y"] = {"type": "data", "array": sds, "color": MUTED, "thickness": 1.2, "width": 3}
    trace["hovertext"] = [_point_hover(*point) for point in drawn]
    name = safe(reading.quality_name)
    layout = common_layout(f"Measured {name}", f"Predicted {name}")
    return {"data": [line(ends, ends, "equal"), trace], "layout": layout}


def curves_figure(reading: Reading) -> Figure | None:
    """Quality over tokens of every trial; front members in colour, on top."""
    front = reading.front_keys
    drawn = sorted(reading.trials, key=lambda trial: (trial.key in front, reading.is_knee(trial)))
    traces: list[Figure] = []
    for trial in drawn:
        pairs = [(tokens, reading.quality(loss)) for tokens, loss in trial.curve]
        curve = [(tokens, quality) for tokens, quality in pairs if quality is not None]
        if curve:
            traces.append(_curve(reading, trial, curve, trial.key in front))
    if not traces:
        return None
    named: set[str] = set()
    for trace in traces:
        trace["showlegend"] = trace["name"] not in named
        named.add(trace["name"])
    return {"data": traces, "layout": common_layout("Training tokens", _quality_title(reading))}


def _points(
    reading: Reading, objective: str, students: Sequence[StudentEntry], name: str, marker: Figure
) -> Figure | None:
    rows = [(s, reading.latency(s, objective), reading.quality(s.loss)) for s in students]
    drawn = [(s, latency, q) for s, latency, q in rows if ms_of(latency) and q is not None]
    if not drawn:
        return None
    symbols = ["circle" if latency.measured else "circle-open" for _, latency, _ in drawn]
    style = marker | {"symbol": symbols, "line": OUTLINE}
    trace = scatter([ms_of(latency) for _, latency, _ in drawn], [q for *_, q in drawn], name, style)
    trace["hovertext"] = [_hover(reading, s, objective) for s, *_ in drawn]
    trace["error_x"] = interval([latency for _, latency, _ in drawn], skip_measured=True, colour=marker["color"])
    return trace


def _equals(reading: Reading) -> list[Member]:
    """The front with the losses that it was drawn among equals by."""
    return [member.model_copy(update={"loss": reading.equal_loss(member)}) for member in reading.front]


def _finished(reading: Reading, objective: str) -> Figure | None:
    """The members that were trained longer than their rivals, as they are handed back: a series of its own."""
    longer = [member for member in reading.front if reading.finished(member)]
    return _points(reading, objective, longer, "finished", {"size": 11, "color": KNEE})


def _knee(reading: Reading, objective: str) -> Figure | None:
    knee = reading.knee
    place = f"{'top' if reading.upwards else 'bottom'} center"  # the side where no student is
    trace = _landmark(reading, objective, knee, "chosen", reading.quality(knee.loss), KNEE) if knee else None
    return trace and _styled(trace, {"symbol": "star", "size": 18}, place)


def _teacher(reading: Reading, objective: str) -> Figure | None:
    trace = _landmark(reading, objective, reading.teacher, "teacher", reading.teacher_quality, TEACHER)
    return trace and _styled(trace, {"symbol": "diamond", "size": 14}, "bottom center")


def _landmark(
    reading: Reading, objective: str, entry: Shown, label: str, quality: float | None, colour: str
) -> Figure | None:
    """One named mark; its colour is also that of its label."""
    ms = ms_of(reading.latency(entry, objective))
    if ms is None or quality is None:
        return None
    trace = scatter([ms], [quality], label, {"color": colour, "line": OUTLINE})
    text: Figure = {"mode": "markers+text", "text": [f"<b>{label}</b>"], "textfont": {"color": colour}}
    text["cliponaxis"] = False  # the label of a mark at the edge is read too
    return trace | text | {"hovertext": [_hover(reading, entry, objective)]}


def _styled(trace: Figure, marker: Figure, place: str) -> Figure:
    return trace | {"marker": trace["marker"] | marker, "textposition": place}


def _steps(reading: Reading, objective: str) -> Figure | None:
    """The attained quality at each latency: a step line over the members that are best in these two objectives."""
    xs: list[float] = []
    ys: list[float] = []
    for latency, quality in sorted(_front_points(reading, objective), key=lambda point: point[0]):
        if not ys or (quality > ys[-1] if reading.upwards else quality < ys[-1]):
            xs.append(latency)
            ys.append(quality)
    if len(xs) < 2:
        return None
    trace = line(xs, ys, "front line", colour=ACCENT, dash="solid")
    trace["line"] |= {"shape": "hv", "width": 2}
    return trace


def _front_points(reading: Reading, objective: str) -> Iterable[tuple[float, float]]:
    for member in reading.front:
        ms, quality = ms_of(reading.latency(member, objective)), reading.quality(reading.equal_loss(member))
        if ms and quality is not None:
            yield ms, quality


def _mark_limits(layout: Figure, reading: Reading, objective: str, limit: float | None) -> None:
    lines = [(limit, f"limit {milliseconds(limit)} ms", LIMIT)] if limit else []
    teacher = ms_of(reading.latency(reading.teacher, objective))
    if teacher and reading.teacher_quality is None:
        lines.append((teacher, "teacher", TEACHER))
    for x, text, colour in lines:
        style = {"color": colour, "dash": "dash", "width": 1.5}
        shape = {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper", "layer": "below", "line": style}
        # plotly wants the logarithm of an annotation's place on a log axis, but not of a shape's
        side = {"y": 0.02, "yanchor": "bottom"} if reading.upwards else {"y": 0.98, "yanchor": "top"}
        place = side | {"x": math.log10(x), "yref": "paper", "xanchor": "right"}
        note = {"text": text, "showarrow": False, "textangle": -90, "font": {"color": colour, "size": 12}}
        layout.setdefault("shapes", []).append(shape)
        layout.setdefault("annotations", []).append(place | note)


def _pairs_trace(
    reading: Reading, objective: str, pairs: Sequence[tuple[StudentEntry, Latency]], name: str, colour: str
) -> Figure:
    latencies = [latency for _, latency in pairs]
    xs, ys = [latency.measured for latency in latencies], [latency.predicted for latency in latencies]
    trace = scatter(xs, ys, name, {"size": 9, "color": colour})
    trace["error_y"] = interval(latencies, skip_measured=False, colour=colour)
    trace["hovertext"] = [_hover(reading, student, objective) for student, _ in pairs]
    return trace


def _curve(reading: Reading, trial: TrialEntry, curve: Sequence[tuple[float, float]], on_front: bool) -> Figure:
    knee = reading.is_knee(trial)
    colour = KNEE if knee else ACCENT if on_front else POINT
    name = "chosen" if knee else "front" if on_front else "other trials"
    xs, ys = [tokens for tokens, _ in curve], [quality for _, quality in curve]
    trace = line(xs, ys, name, colour=colour, dash="solid")
    trace["line"]["width"] = 3 if knee else 2 if on_front else 1.2
    head = f"<b>{safe(trial.key)}</b> {safe(short_name(trial))}"
    trace["hovertext"] = [f"{head}<br>{count(x)} tokens: {score(y)}" for x, y in curve]
    return trace | {"hoverinfo": "text", "mode": "lines+markers", "marker": {"size": 5}, "legendgroup": name}


def _hover(reading: Reading, entry: Shown, objective: str) -> str:
    latency, student = reading.latency(entry, objective), not isinstance(entry, TeacherEntry)
    values = entry.architecture.values
    name = entry.name if isinstance(entry, TeacherEntry) else entry.key
    served = "" if isinstance(entry, TeacherEntry) else served_words(entry.served)
    quality = reading.quality(entry.loss) if student else reading.teacher_quality
    genes = " · ".join(f"{gene_word(gene)} {values[gene]}" for gene in reading.genes() if gene in values)
    lines = [f"<b>{safe(name)}</b>", safe(genes), safe(served), f"{safe(reading.quality_name)} {score(quality)}"]
    lines.append(safe(parts_words(entry)))
    if latency.measured:
        first = first_words(latency)
        lines.append(f"measured {measured_words(latency)} ms" + (f" ({first})" if first else ""))
    if latency.predicted:
        between = f" ({milliseconds(latency.lower)} to {milliseconds(latency.upper)})" if latency.lower else ""
        lines.append(f"predicted {milliseconds(latency.predicted)} ms{between}")
    if student and (speedup := reading.speedup(entry, objective)):
        times = speedup.words if speedup.disturbed else f"{speedup.ratio:.2f}"
        lines.append(f"{times}× the teacher's speed")
    if entry.parameters:
        lines.append(f"{count(entry.parameters)} parameters")
    return "<br>".join(line for line in lines if line)


def _point_hover(point: SurrogatePoint, measured: float, predicted: float) -> str:
    words = f"measured {score(measured)}<br>predicted {score(predicted)} ± {score(point.sd or 0.0)}"
    return f"<b>{safe(point.key)}</b><br>{words}"


def _quality_title(reading: Reading) -> str:
    better = "higher" if reading.upwards else "lower"
    return safe(f"{sentence(reading.quality_name)} ({better} is better)")


def interval(latencies: Sequence[Latency], skip_measured: bool, colour: str) -> Figure:
    """Asymmetric error bars from lower to upper around the prediction; none where `skip_measured` says so."""
    above, below = [], []
    for r in latencies:
        shown = r.predicted and not (skip_measured and r.measured)
        above.append(max(0.0, r.upper - r.predicted) if shown and r.upper and r.predicted else 0.0)
        below.append(max(0.0, r.predicted - r.lower) if shown and r.lower and r.predicted else 0.0)
    style = {"color": colour, "thickness": 1.2, "width": 3}
    return {"type": "data", "symmetric": False, "array": above, "arrayminus": below} | style
