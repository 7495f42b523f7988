"""The parts of a report that are HTML tables, and the frame of one section.

Every value is escaped where it enters the markup; wide tables scroll inside their own frame.
"""

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from .readings import DASH, Entry, Reading, count, duration, gene_word, milliseconds, number, score, shape, values_of


def section(title: str, text: str, body: str) -> str:
    """One card; `body` is markup, the rest plain text."""
    words = f"<p>{html.escape(text)}</p>" if text else ""
    return f"<section><h2>{html.escape(title)}</h2>{words}{body}</section>"


def folded(title: str, body: str, is_open: bool = False) -> str:
    """One card that opens on a click."""
    state = " open" if is_open else ""
    return f"<section><details{state}><summary>{html.escape(title)}</summary>{body}</details></section>"


def chart(name: str, figures: Mapping[str, Any], label: str, empty: str, tall: bool = False) -> str:
    """The place of the figure `name`, or the words of `empty` where there is none."""
    if name not in figures:
        return f'<p class="empty">{html.escape(empty)}</p>'
    size = "chart tall" if tall else "chart"
    return f'<figure aria-label="{html.escape(label)}"><div id="{name}" class="{size}"></div></figure>'


def students(reading: Reading) -> str:
    """The front as a table, fastest first, the teacher last."""
    if not reading.front:
        return section("Chosen students", "", '<p class="empty">The front is empty so far.</p>')
    genes = reading.genes()
    heads = [_head(word) for word in ("Student", *map(gene_word, genes))]
    heads += [_head(word) for word in ("Parameters", *_latency_heads(reading), _name(reading), "Trained on")]
    rows = [_student_row(reading, member, genes) for member in reading.front]
    if reading.teacher:
        cells = [_cell(reading.teacher.get("name") or "teacher", "text"), *(_cell(DASH) for _ in genes)]
        cells += [*_numbers(reading, reading.teacher), _cell(score(reading.teacher_quality)), _cell(DASH)]
        rows.append(f'<tr class="teacher">{"".join(cells)}</tr>')
    text = "The front, fastest first. Behind a predicted latency stands its interval; each trained student is a folder."
    return section("Chosen students", text, _table(heads, rows, "Chosen students"))


def trials(reading: Reading) -> str:
    """Every trial with its state and, where it failed, why."""
    if not reading.trials:
        return ""
    genes = reading.genes()
    causes = any(trial.get("cause") for trial in reading.trials)
    shapes = " / ".join(map(gene_word, genes)) or "Architecture"
    words = ["#", "Student", shapes, "State", "Source", _name(reading)]
    words += [f"{word}{mark}" for mark in _marks(reading) for word in ("Predicted ms", "Measured ms")]
    words += ["Tokens", "Time"] + (["Cause"] if causes else [])
    heads = [_head(word, "text" if word in ("Student", "Cause") else "") for word in words]
    rows = [_trial_row(reading, trial, genes, causes) for trial in reading.trials]
    few = len(rows) <= 40
    return folded(f"All {len(rows)} trials" if len(rows) > 1 else "The only trial", _table(heads, rows, "Trials"), few)


def phases(reading: Reading) -> str:
    """Where the time went, as bars."""
    rows = [(str(p.get("what")), number(p.get("seconds"))) for p in reading.result.get("phases") or ()]
    kept = [(what, seconds) for what, seconds in rows if seconds is not None and seconds >= 0]
    if not kept:
        return ""
    whole, longest = sum(seconds for _, seconds in kept), max(seconds for _, seconds in kept) or 1.0
    body = [
        f'<tr><th scope="row">{html.escape(what)}</th>{_cell(duration(seconds))}'
        f'<td class="bar"><i style="width:{100 * seconds / longest:.1f}%"></i></td></tr>'
        for what, seconds in kept
    ]
    return section(f"Time: {duration(whole)} in all", "", _table([], body, "Time by phase"))


def environment(reading: Reading) -> str:
    """Versions, devices and seeds, folded."""
    facts = list(_flat(reading.result.get("environment") or {}))
    rows = [f'<tr><th scope="row">{html.escape(k)}</th><td class="cause">{html.escape(v)}</td></tr>' for k, v in facts]
    tables = [
        f'<tr><th scope="row">latency table of {html.escape(str(target.get("objective")))}</th>'
        f'<td class="cause">{html.escape(str(target["table"]))}</td></tr>'
        for target in reading.result.get("targets") or ()
        if target.get("table")
    ]
    return folded("Environment", _table([], rows + tables, "Environment")) if rows or tables else ""


def _student_row(reading: Reading, member: Entry, genes: Sequence[str]) -> str:
    key = f"<code>{html.escape(str(member.get('key')))}</code>"
    if member.get("student"):
        key = f'<a href="./{html.escape(quote(str(member["student"])))}">{key}</a>'
    badge = '<span class="badge">knee</span>' if reading.is_knee(member) else ""
    cells = [f'<th scope="row">{key}{badge}</th>', *(_cell(values_of(member).get(gene, DASH)) for gene in genes)]
    cells += [*_numbers(reading, member), _cell(score(reading.quality(member.get("loss"))))]
    trained = f"{count(member['tokens'])} tokens" if member.get("tokens") else DASH
    cells.append(_cell("imported, no student" if member.get("source") == "imported" else trained))
    return f"<tr{_class('knee' if badge else '')}>{''.join(cells)}</tr>"


def _trial_row(reading: Reading, trial: Entry, genes: Sequence[str], causes: bool) -> str:
    key = f"<code>{html.escape(str(trial.get('key') or DASH))}</code>"
    cells = [_cell(trial.get("number", DASH)), f'<td class="text">{key}</td>']
    cells += [_cell(shape(trial, genes)), _cell(trial.get("state") or DASH), _cell(trial.get("source") or DASH)]
    cells.append(_cell(score(reading.quality(trial.get("loss")))))
    for objective in reading.latencies:
        latency = reading.latency(trial, objective)
        cells += [_cell(milliseconds(latency.predicted)), _cell(milliseconds(latency.measured))]
    cells += [_cell(count(trial.get("tokens"))), _cell(duration(trial.get("seconds")))]
    cells += [_cell(trial.get("cause") or "", "cause")] if causes else []
    state = {"failed": "failed", "complete": "knee" if reading.is_knee(trial) else ""}.get(str(trial.get("state")), "")
    return f"<tr{_class(state)}>{''.join(cells)}</tr>"


def _numbers(reading: Reading, entry: Entry) -> list[str]:
    cells = [_cell(count(entry.get("parameters")))]
    for objective in reading.latencies:
        latency, speedup = reading.latency(entry, objective), reading.speedup(entry, objective)
        known = latency.lower and latency.upper
        between = f"{milliseconds(latency.lower)}–{milliseconds(latency.upper)}" if known else ""
        small = f" <small>{between}</small>" if between else ""
        cells += [f"<td>{milliseconds(latency.predicted)}{small}</td>", _cell(milliseconds(latency.measured))]
        mark = "" if speedup and speedup.kind == "measured" else "~"
        cells.append(_cell(f"{mark}{speedup.ratio:.2f}×" if speedup else DASH))
    return cells


def _marks(reading: Reading) -> list[str]:
    return [f" {i + 1}" for i in range(len(reading.latencies))] if len(reading.latencies) > 1 else [""]


def _latency_heads(reading: Reading) -> list[str]:
    return [f"{word}{mark}" for mark in _marks(reading) for word in ("Predicted ms", "Measured ms", "Speedup")]


def _name(reading: Reading) -> str:
    return reading.quality_name[:1].upper() + reading.quality_name[1:]


def _head(word: str, kind: str = "") -> str:
    return f'<th scope="col"{_class(kind)}>{html.escape(word[:1].upper() + word[1:])}</th>'


def _cell(value: Any, kind: str = "") -> str:
    return f"<td{_class(kind)}>{html.escape(str(value))}</td>"


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def _table(heads: Sequence[str], rows: Sequence[str], label: str) -> str:
    head = f"<thead><tr>{''.join(heads)}</tr></thead>" if heads else ""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{html.escape(label)}">'
        f"<table>{head}<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _flat(facts: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name} · ")
        else:
            yield f"{prefix}{name}", DASH if value is None else str(value)
