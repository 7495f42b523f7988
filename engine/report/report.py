"""From the plain JSON of a result to a page for the browser and a table for the terminal.

Notable: both are pure functions of the result, so the same result gives the same bytes, and a result written long
ago can be shown again. Whatever is missing in the result is said or left out, never invented: a latency that was
not measured is called predicted wherever it is used.
"""

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from distilsearch.home import write_atomically
from distilsearch.page.shell import document

from .figures import calibration_figure, curves_figure, front_figure, hypervolume_figure, latency_figure
from .readings import (
    DASH,
    Entry,
    Reading,
    both_latencies,
    count,
    gene_word,
    milliseconds,
    number,
    percent,
    prediction_error,
    score,
    shape,
    short_name,
)
from .sections import chart, environment, phases, section, students, trials


def write_report(result: Mapping[str, Any], path: Path) -> None:
    """Write the self-contained HTML page of `result` to `path`, whole or not at all."""
    write_atomically(path, render(result))


def render(result: Mapping[str, Any]) -> str:
    """The page as text; it makes no network request and needs no other file."""
    reading = Reading(result)
    figures = {name: figure for name, figure in _figures(reading).items() if figure}
    parts = [_header(reading), _notices(reading), _tiles(reading)]
    for i, objective in enumerate(reading.latencies):
        parts.append(_front_section(reading, objective, f"front-{i}", figures))
    parts.append(students(reading))
    cards = [_latency_section(reading, name, f"latency-{i}", figures) for i, name in enumerate(reading.latencies)]
    cards += [_surrogate_section(reading, figures), _progress_section(reading, figures), _curves_section(figures)]
    parts += [f'<div class="pair">{"".join(cards)}</div>', trials(reading)]
    parts += [phases(reading), environment(reading)]
    parts.append("<footer>Made by distilsearch from result.json. This page holds all it needs.</footer>")
    return document(f"{result.get('name') or 'search'} · distilsearch", "\n".join(filter(None, parts)), figures)


def headline(result: Mapping[str, Any]) -> str:
    """What was found, in one sentence about the knee."""
    reading = Reading(result)
    knee = reading.knee
    if knee is None:
        return "No student was chosen" if reading.front else "No student has been trained to the end yet"
    quality = reading.quality(knee.get("loss"))
    at = "" if quality is None else f" at {quality:.2f} {reading.quality_name}"
    speedup, latency = reading.speedup(knee), reading.latency(knee)
    name = short_name(knee)
    name = name[:1].upper() + name[1:]
    if speedup:
        verb = "is" if speedup.kind == "measured" else "is predicted to be"
        faster = f"{speedup.ratio:.1f}× faster than" if speedup.ratio > 1 else f"{1 / speedup.ratio:.1f}× slower than"
        return f"{name} {verb} {faster} the teacher{at}"
    return f"{name} answers in {milliseconds(latency.ms)} ms{at}" if latency.ms else f"{name} is the choice{at}"


def final_table(result: Mapping[str, Any]) -> Table:
    """The front, fastest first, and the teacher: the table that a finished search prints.

    Columns: student, layers/width/heads/FFN, parameters, predicted and measured latency and speedup for every
    latency objective, and the quality. The knee is bold and marked with a star.
    """
    reading = Reading(result)
    genes = [gene for gene in reading.genes() if gene != "inherit"]
    marks = "★ chosen: the knee of the front, or the fastest that keeps loss_at_most; ~ rests on a predicted latency"
    table = Table(box=SIMPLE_HEAD, padding=0, caption_justify="left")
    table.caption = marks if reading.front else "no student yet"
    table.add_column("student", no_wrap=True)
    table.add_column(_folded("/".join(map(gene_word, genes)) or "architecture"))
    for column in ("parameters", *_latency_columns(reading), reading.quality_name):
        table.add_column(Text(column), justify="right")
    for member in reading.front:
        cells = [f"{'★ ' if reading.is_knee(member) else ''}{member.get('key')}", shape(member, genes)]
        cells += [*_table_numbers(reading, member), score(reading.quality(member.get("loss")))]
        table.add_row(*(Text(cell) for cell in cells), style="bold" if reading.is_knee(member) else "")
    if reading.teacher:
        cells = ["teacher", DASH, *_table_numbers(reading, reading.teacher), score(reading.teacher_quality)]
        table.add_row(*(Text(cell) for cell in cells), style="dim")
    return table


def _folded(title: str, width: int = 16) -> Text:
    """A long title over two lines, so that the column is no wider than what stands in it."""
    cut = title.rfind("/", 0, width) + 1 if len(title) > width else 0
    return Text(f"{title[:cut]}\n{title[cut:]}" if cut else title)


def _latency_columns(reading: Reading) -> list[str]:
    several = len(reading.latencies) > 1
    marks = [f" {i + 1}" if several else "" for i in range(len(reading.latencies))]
    return [f"{word}{mark}" for mark in marks for word in ("predicted\nms", "measured\nms", "speedup")]


def _table_numbers(reading: Reading, entry: Entry) -> list[str]:
    cells = [count(entry.get("parameters"))]
    for objective in reading.latencies:
        latency, speedup = reading.latency(entry, objective), reading.speedup(entry, objective)
        mark = "" if speedup and speedup.kind == "measured" else "~"
        cells += [milliseconds(latency.predicted), milliseconds(latency.measured)]
        cells.append(f"{mark}{speedup.ratio:.2f}×" if speedup else DASH)
    return cells


def _figures(reading: Reading) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "hypervolume": hypervolume_figure(reading),
        "calibration": calibration_figure(reading),
        "curves": curves_figure(reading),
    }
    for i, objective in enumerate(reading.latencies):
        figures[f"front-{i}"] = front_figure(reading, objective)
        figures[f"latency-{i}"] = latency_figure(reading, objective)
    return figures


def _notices(reading: Reading) -> str:
    """What a reader of the figures must know first."""
    warnings = reading.result.get("warnings") or ()
    return "".join(f'<p class="notice">{html.escape(str(warning))}</p>' for warning in warnings)


def _header(reading: Reading) -> str:
    result, teacher = reading.result, reading.teacher
    size = f" ({count(teacher.get('parameters'))} parameters)" if teacher.get("parameters") else ""
    states = [trial.get("state") for trial in reading.trials]
    failed = f", {states.count('failed')} failed" if "failed" in states else ""
    done = _counted(states.count("complete"), "trial")
    lead = f"Teacher {teacher.get('name') or 'unknown'}{size}. {done} completed{failed}."
    for i, objective in enumerate(reading.latencies):
        words = _target_words(reading, objective)
        lead += f" Latency{f' {i + 1}' if len(reading.latencies) > 1 else ''}: {words}." if words else ""
    return (
        f'<header><p class="eyebrow">distilsearch · {html.escape(str(result.get("name") or "search"))}</p>'
        f'<h1>{html.escape(headline(result))}</h1><p class="lead">{html.escape(lead)}</p></header>'
    )


def _target_words(reading: Reading, objective: str) -> str:
    target = reading.target(objective)
    serving = target.get("serving") or {}
    words = [str(target["device"])] if target.get("device") else []
    words += [f"{name} {serving[name]}" for name in ("batch", "sequence") if serving.get(name)]
    words += [str(serving[name]) for name in ("dtype", "mode", "phase") if serving.get(name)]
    words += [_counted(serving["threads"], "thread")] if serving.get("threads") else []
    return ", ".join(words)


def _counted(amount: int, noun: str) -> str:
    return f"{amount} {noun}{'' if amount == 1 else 's'}"


def _tiles(reading: Reading) -> str:
    """The knee in four numbers, each beside the teacher's."""
    knee = reading.knee
    if knee is None:
        return ""
    speedup, latency, teacher = reading.speedup(knee), reading.latency(knee), reading.latency(reading.teacher).ms
    own, whole = number(knee.get("parameters")), number(reading.teacher.get("parameters"))
    kind = "measured" if latency.measured else "predicted"
    tiles = [
        (f"{speedup.ratio:.1f}×" if speedup else DASH, f"faster than the teacher ({speedup.kind if speedup else '?'})"),
        (score(reading.quality(knee.get("loss"))), f"{reading.quality_name}; teacher {score(reading.teacher_quality)}"),
        (f"{milliseconds(latency.ms)} ms", f"{kind}; teacher {milliseconds(teacher)} ms"),
        (count(own), f"parameters; teacher {count(whole)}"),
    ]
    cells = (f'<div class="tile"><b>{html.escape(b)}</b><span>{html.escape(small)}</span></div>' for b, small in tiles)
    return f'<div class="tiles">{"".join(cells)}</div>'


def _titled(reading: Reading, objective: str, title: str) -> str:
    several = len(reading.latencies) > 1
    return f"{title}, latency {reading.latencies.index(objective) + 1}" if several else title


def _front_section(reading: Reading, objective: str, name: str, figures: Mapping[str, Any]) -> str:
    text = (
        "Every dot is a student. Those on the line are the best at their speed; the star is the knee, where giving up "
        "more speed or more quality pays least. Open dots have only a predicted latency, with its interval."
    )
    label = "Chart: quality against latency of all students; the tables below hold the same numbers"
    body = chart(name, figures, label, "No trial has both a quality and a latency yet.", tall=True)
    return section(_titled(reading, objective, "Quality against latency"), text, body)


def _latency_section(reading: Reading, objective: str, name: str, figures: Mapping[str, Any]) -> str:
    error = prediction_error(latency for _, latency in both_latencies(reading, objective).values())
    floor = number(reading.target(objective).get("noise_floor"))
    text = ""
    if error:
        text = f"Over {_counted(error.count, 'measured student')} the median error is {percent(error.median)}, "
        text += f"the worst {percent(error.worst)}; {percent(error.within_tenth)} lie within the 10\u00a0% band"
        held = error.inside_interval
        text += "" if held is None else f" and {percent(held)} of the intervals hold their measurement"
        text += "."
    text += f" Measuring the same model again differs by {percent(floor)} (noise floor)." if floor is not None else ""
    label = "Chart: predicted against measured latency with intervals"
    body = chart(name, figures, label, "No latency has been measured yet: run distilsearch measure on the target.")
    return section(_titled(reading, objective, "Predicted against measured latency"), text.strip(), body)


def _progress_section(reading: Reading, figures: Mapping[str, Any]) -> str:
    reference = reading.result.get("reference") or {}
    point = ", ".join(f"{name} {value:.4g}" for name, value in reference.items() if number(value) is not None)
    text = "The volume that the front dominates, after each trial" + (f"; reference point: {point}." if point else ".")
    body = chart("hypervolume", figures, "Chart: hypervolume after each trial", "No trial has completed yet.")
    return section("Progress of the search", text, body)


def _surrogate_section(reading: Reading, figures: Mapping[str, Any]) -> str:
    label = "Chart: leave-one-out predictions against measured quality"
    body = chart("calibration", figures, label, "This result holds no check of the surrogate.")
    return section("How well quality is foreseen", _surrogate_words(reading), body)


def _surrogate_words(reading: Reading) -> str:
    surrogate, ranks = reading.result.get("surrogate") or {}, reading.result.get("rank_fidelity") or {}
    words = "Each trial predicted from all the others, ± one standard deviation."
    facts = [f"Surrogate {surrogate['name']}"] if surrogate.get("name") else []
    facts += [f"R² {surrogate['r2']:.2f}"] if number(surrogate.get("r2")) is not None else []
    facts += (
        [f"interval coverage {percent(surrogate['coverage'])}"] if number(surrogate.get("coverage")) is not None else []
    )
    words += f" {', '.join(facts)}." if facts else ""
    note = str(ranks.get("note") or "")
    if number(ranks.get("spearman")) is None:
        return words + (f" Short against full training: {note}." if note else "")
    pairs = _counted(ranks.get("pairs") or 0, "student")
    words += f" Short against full training of {pairs}: Spearman {ranks['spearman']:.2f}"
    words += f", Kendall {ranks['kendall']:.2f}" if number(ranks.get("kendall")) is not None else ""
    return f"{words} ({note})." if note else f"{words}."


def _curves_section(figures: Mapping[str, Any]) -> str:
    text = "Held-out quality of each student over the tokens it has seen."
    body = chart("curves", figures, "Chart: quality over training tokens", "No student has been trained yet.")
    return section("Training curves", text, body)
