"""The rows of a report's tables: students, trials, phases, environment."""

import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from distilsearch.page.parts import bar, cell, code, head, row, row_head, table

from .budgets import Answer, foretold_words
from .doubts import best_words, first_words, measured_words
from .readings import Reading, kind_words, parts_words, teacher_share
from .schema import ONE_LABEL, ArtefactEntry, Entry, EvaluationEntry, Member, Phase, ProxyEntry, Scores, TrialEntry
from .words import (
    DASH,
    count,
    duration,
    gene_word,
    metric_word,
    milliseconds,
    percent,
    score,
    score_words,
    sentence,
    served_words,
    shape,
    teacher_served,
)


def students_table(reading: Reading) -> str:
    """The front, fastest first, the teacher last."""
    genes, served = reading.genes(), any(member.served for member in reading.front)
    words = ["Student", _shapes(genes), *(["Served as"] if served else []), "Parameters"]
    words += [*latency_heads(reading), sentence(reading.quality_name), "Trained on"]
    longer = any(reading.finished(member) for member in reading.front)
    words += ["After equal training"] if longer else []
    rows = [_student_row(reading, member, genes, served, longer) for member in reading.front]
    ways = [cell(teacher_served(reading.first_machine))] if served else []
    cells = [cell(reading.teacher.name, "text"), cell(DASH), *ways, *_numbers(reading, reading.teacher)]
    cells += [
        cell(score(reading.teacher_quality), small=parts_words(reading.teacher)),
        *[cell(DASH)] * (2 if longer else 1),
    ]
    rows.append(row(cells, "teacher"))
    return table([head(word) for word in words], rows, "Chosen students")


def answers_table(reading: Reading, choices: Sequence[Answer]) -> str:
    """For each multiple of the teacher's speed the best student that reaches it."""
    words = ["At least", "Speedup", "Known as", "Latency ms", sentence(reading.quality_name), "Trained on", "Student"]
    heads = [head(word, "text" if word in ("Student", "Known as") else "") for word in words]
    return table(heads, [_answer_row(reading, answer) for answer in choices], "Answers")


def _answer_row(reading: Reading, answer: Answer) -> str:
    member, asked = answer.member, row_head(f"{answer.speed:g}×")
    if member is None:
        none = f"no student of this run is {answer.speed:g}× as fast"
        return row([asked, cell(none, "text"), *[cell(DASH)] * 5])
    ms = best_words(reading.latency(member))
    known = cell(kind_words(reading.speedup(member)), "text", small=foretold_words(reading, answer))
    cells = [asked, cell(speed_words(reading, member, reading.latencies[0])), known, cell(ms)]
    cells += [cell(score(reading.quality(member.loss))), _trained(member)]
    cells.append(
        f'<td class="text">{code(member.key, member.student, "chosen" if reading.is_knee(member) else "")}</td>'
    )
    return row(cells)


def artefacts_table(reading: Reading) -> str:
    """What students were exported as, the fastest student first."""
    words = ["Student", "Runtime", "Precision", "File", "MB", "int8", "Adds to the loss", "Differs from torch by"]
    heads = [head(word, "text" if word in ("Runtime", "Precision", "File", "int8") else "") for word in words]
    rows = [_artefact_row(reading, member, one) for member in reading.front for one in member.artefacts]
    return table(heads, rows, "Served files")


def _artefact_row(reading: Reading, member: Member, one: ArtefactEntry) -> str:
    knee = reading.is_knee(member)
    cells = [row_head(code(member.key, member.student, "chosen" if knee else ""))]
    file = code(PurePosixPath(one.file).name, one.file)
    cells += [cell(one.runtime, "text"), cell(one.dtype, "text"), f'<td class="text">{file}</td>']
    cells += [cell(f"{one.bytes / 1e6:.1f}"), cell(one.quantised or DASH, "text words"), cell(score(one.lost))]
    cells.append(cell(DASH if one.difference is None else f"{one.difference:.1e}"))
    return row(cells, "knee" if knee else "")


def _trained(member: Member) -> str:
    if member.source == "imported":
        return cell("imported, no student")
    return cell(f"{count(member.tokens)} tokens" if member.tokens else DASH)


def proxy_table(reading: Reading, proxy: ProxyEntry) -> str:
    """What candidates came to on the proxy task, beside the loss that they were candidates for."""
    members = [member for member in reading.front if member.key in proxy.students]
    values: dict[str, float] = next((s.values for s in proxy.students.values() if s.values), {})
    names = [*score_words(values)]
    words = ["Student", "Latency ms", "Speedup", f"{sentence(reading.quality_name)} before", *map(metric_word, names)]
    rows = []
    for member in members:
        knee, scores = reading.is_knee(member), proxy.students[member.key]
        cells = [row_head(code(member.key, member.student, "chosen" if knee else ""))]
        cells += [cell(best_words(reading.latency(member))), cell(speed_words(reading, member, reading.latencies[0]))]
        cells.append(cell(score(reading.quality(member.loss if member.flash_loss is None else member.flash_loss))))
        cells += [cell(score_words(scores.values).get(name, DASH)) for name in names]
        rows.append(row(cells, "knee" if knee else ""))
    return table([head(word) for word in words], rows, "Proxy task")


def evaluations_table(reading: Reading) -> str:
    """The scores of teacher and students: each with its spread, and its share of the teacher's."""
    evaluations = reading.result.evaluations
    columns = [(entry, name) for entry in evaluations for name in score_words(_any_values(entry))]
    words = ["Student", "Latency ms", "Speedup", *(f"{metric_word(name)}, {entry.title}" for entry, name in columns)]
    rows = []
    for member in reading.front:
        knee = reading.is_knee(member)
        cells = [row_head(code(member.key, member.student, "chosen" if knee else ""))]
        cells += [cell(best_words(reading.latency(member))), cell(speed_words(reading, member, reading.latencies[0]))]
        cells += [_score_cell(entry, entry.students.get(member.key), name) for entry, name in columns]
        rows.append(row(cells, "knee" if knee else ""))
    cells = [cell(reading.teacher.name, "text"), cell(best_words(reading.latency(reading.teacher)))]
    cells.append(cell(speed_words(reading, reading.teacher, reading.latencies[0])))
    rows.append(row([*cells, *(_score_cell(entry, entry.teacher, name) for entry, name in columns)], "teacher"))
    return table([head(word) for word in words], rows, "Evaluations")


def _any_values(entry: EvaluationEntry) -> Mapping[str, float]:
    """Values of the first model that has some: the names of all."""
    return next((scores.values for scores in (entry.teacher, *entry.students.values()) if scores.values), {})


def _score_cell(entry: EvaluationEntry, scores: Scores | None, name: str) -> str:
    if scores is None or name not in scores.values:
        return cell(DASH)
    share = teacher_share(entry, scores, name) if scores is not entry.teacher else None
    small = "one label for all rows" if ONE_LABEL in scores.values else "" if share is None else percent(share)
    return cell(score_words(scores.values)[name], small=small)


def trials_table(reading: Reading) -> str:
    """Every trial with its state and, where it failed, why."""
    genes, causes = reading.genes(), any(trial.cause for trial in reading.trials)
    words = ["#", "Student", _shapes(genes), "State", "Source", sentence(reading.quality_name)]
    words += [f"{word}{mark}" for mark in _marks(reading) for word in ("Predicted ms", "Measured ms")]
    words += ["Tokens", "Time"] + (["Cause"] if causes else [])
    heads = [head(word, "text" if word in ("Student", "Cause") else "") for word in words]
    return table(heads, [_trial_row(reading, trial, genes, causes) for trial in reading.trials], "Trials")


def phases_table(phases: Sequence[Phase]) -> str:
    """Where the time went, as bars."""
    longest = max(phase.seconds for phase in phases) or 1.0
    shared = any(phase.all_seconds is not None for phase in phases)
    heads = [head(word) for word in ("Phase", "This driver", "", "All drivers")] if shared else []
    rows = []
    for p in phases:
        whole = [cell(DASH if p.all_seconds is None else duration(p.all_seconds))] if shared else []
        rows.append(row([row_head(html.escape(p.what)), cell(duration(p.seconds)), bar(p.seconds / longest), *whole]))
    return table(heads, rows, "Time by phase")


def facts_table(facts: Iterable[tuple[str, str]], label: str) -> str:
    """Names and values."""
    return table([], [row([row_head(html.escape(name)), cell(value, "cause")]) for name, value in facts], label)


def flat(facts: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """Nested facts as names and texts."""
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name} · ")
        else:
            yield f"{prefix}{name}", DASH if value is None else str(value)


def latency_heads(reading: Reading) -> list[str]:
    """The columns of `_numbers` behind the parameters."""
    return [f"{word}{mark}" for mark in _marks(reading) for word in ("Predicted ms", "Measured ms", "Speedup")]


def speed_words(reading: Reading, entry: Entry, objective: str) -> str:
    """How many times the teacher's speed; "~" where it rests on a prediction, "≈" where the machine was disturbed."""
    speedup = reading.speedup(entry, objective)
    if speedup is None or speedup.disturbed:
        return f"{speedup.words}×" if speedup else DASH
    return f"{'' if speedup.kind == 'measured' else '~'}{speedup.ratio:.2f}×"


def _shapes(genes: Sequence[str]) -> str:
    """The heading of a column of shapes: one column, so that a table fits the page."""
    return " / ".join(map(gene_word, genes)) or "Architecture"


def _student_row(reading: Reading, member: Member, genes: Sequence[str], served: bool, longer: bool) -> str:
    knee = reading.is_knee(member)
    cells = [row_head(code(member.key, member.student, "chosen" if knee else ""))]
    cells.append(cell(shape(member, genes), "words"))
    cells += [cell(served_words(member.served) or DASH, "words")] if served else []
    before = f"from {score(reading.quality(member.untrained_loss))}" if member.untrained_loss is not None else ""
    small = "; ".join(filter(None, (parts_words(member), before)))
    cells += [*_numbers(reading, member), cell(score(reading.quality(member.loss)), small=small)]
    cells.append(_trained(member))
    if longer:
        tokens = f"{count(member.flash_tokens)} tokens" if member.flash_tokens else ""
        cells.append(cell(score(reading.quality(reading.equal_loss(member))), small=tokens))
    return row(cells, "knee" if knee else "")


def _trial_row(reading: Reading, trial: TrialEntry, genes: Sequence[str], causes: bool) -> str:
    cells = [cell(trial.number), f'<td class="text">{code(trial.key)}</td>']
    cells.append(cell(shape(trial, genes), "words", served_words(trial.served)))
    cells += [cell(trial.state), cell(trial.source)]
    cells.append(cell(score(reading.quality(trial.loss)), small=parts_words(trial)))
    for objective in reading.latencies:
        latency = reading.latency(trial, objective)
        cells += [cell(milliseconds(latency.predicted)), cell(measured_words(latency), small=first_words(latency))]
    cells += [cell(count(trial.tokens)), cell(duration(trial.seconds))]
    cells += [cell(trial.cause, "cause")] if causes else []
    kind = {"failed": "failed", "complete": "knee" if reading.is_knee(trial) else ""}.get(trial.state, "")
    return row(cells, kind)


def _numbers(reading: Reading, entry: Entry) -> list[str]:
    cells = [cell(count(entry.parameters))]
    for objective in reading.latencies:
        ms = reading.latency(entry, objective)
        between = f"{milliseconds(ms.lower)}–{milliseconds(ms.upper)}" if ms.lower and ms.upper else ""
        cells += [cell(milliseconds(ms.predicted), small=between), cell(measured_words(ms), small=first_words(ms))]
        cells.append(cell(speed_words(reading, entry, objective)))
    return cells


def _marks(reading: Reading) -> list[str]:
    return [f" {i + 1}" for i in range(len(reading.latencies))] if len(reading.latencies) > 1 else [""]
