"""The table that a finished search prints."""

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from .budgets import answer_words, answers
from .doubts import measured_words
from .gains import gain_words
from .readings import Reading
from .schema import Entry, ResultFile
from .tables import speed_words
from .words import (
    DASH,
    count,
    gene_word,
    metric_word,
    milliseconds,
    score,
    score_words,
    served_words,
    shape,
    teacher_served,
)

CAPTION = "★ {chosen}; ~ rests on a predicted latency, ≈ on a disturbed one"


def final_table(result: ResultFile) -> Table:
    """The front, fastest first, and the teacher.

    Columns: student, layers/width/heads/FFN, how it is served where that was searched, parameters, predicted and
    measured latency and speedup for every latency objective, the quality, and the tokens that it was reached with where
    members were trained for different lengths. The chosen one is bold and has a star.
    """
    reading = Reading(result)
    genes = [gene for gene in reading.genes() if gene != "inherit"]
    table = Table(box=SIMPLE_HEAD, padding=0, caption_justify="left")
    table.caption = CAPTION.format(chosen=reading.choice_words) if reading.front else "no student yet"
    served = any(member.served for member in reading.front)
    longer = len({member.tokens for member in reading.front}) > 1
    _add_columns(table, reading, genes, served, longer)
    for member in reading.front:
        knee = reading.is_knee(member)
        name, words = f"{'★ ' if knee else ''}{member.key}", [served_words(member.served)] if served else []
        cells = [name, shape(member, genes), *words, *_numbers(reading, member)]
        cells.append(score(reading.quality(member.loss)))
        cells += [count(member.tokens) if member.tokens else DASH] if longer else []
        table.add_row(*map(Text, cells), style="bold" if knee else "")
    cells = [
        "teacher",
        DASH,
        *([teacher_served(reading.first_machine)] if served else []),
        *_numbers(reading, reading.teacher),
        score(reading.teacher_quality),
        *([DASH] if longer else []),
    ]
    table.add_row(*map(Text, cells), style="dim")
    return table


def _add_columns(table: Table, reading: Reading, genes: list[str], served: bool, longer: bool) -> None:
    """The heads of the columns; `served` and `longer` say which of those that are not always there stand in it."""
    table.add_column("student", no_wrap=True)
    table.add_column(_folded("/".join(map(gene_word, genes)) or "architecture"), overflow="fold")
    if served:
        table.add_column("served as", overflow="fold")
    last = ["trained\non"] if longer else []
    for column in ("parameters", *_latency_columns(reading), reading.quality_name, *last):
        table.add_column(Text(column), justify="right", overflow="fold")


def answer_lines(result: ResultFile) -> list[str]:
    """What there is at multiples of the teacher's speed, in words; nothing where no speed is known."""
    reading = Reading(result)
    lines = [f"  {answer_words(reading, answer)}" for answer in answers(reading)]
    return ["what you get at multiples of the teacher's speed:", *lines] if lines else []


def gain_lines(result: ResultFile) -> list[str]:
    """What training bought the chosen student, in words; where there is no probe, why."""
    reading, probe = Reading(result), result.probe
    if reading.knee is None or not (words := gain_words(reading, reading.knee)):
        return []
    why = [f"  no probe of what it brings beyond the text: {probe.why}"] if probe is not None and probe.why else []
    return [f"what training bought {reading.knee.key}:", f"  {words}", *why]


def proxy_lines(result: ResultFile) -> list[str]:
    """What candidates came to on the proxy task, by which one was chosen, in words: fastest first."""
    proxy, losses = result.proxy, {member.key: member for member in result.front}
    if proxy is None or not proxy.merits:
        return []
    reading, lines = Reading(result), []
    for key, scores in proxy.students.items():
        if key in losses and scores.values:
            member = losses[key]
            before = reading.quality(member.loss if member.flash_loss is None else member.flash_loss)
            figures = ", ".join(f"{metric_word(name)} {words}" for name, words in score_words(scores.values).items())
            mark = "★" if key == result.knee else " "
            lines.append(f"{mark} {key}: {figures} ({reading.quality_name} {score(before)} before)")
    return [f"on the proxy task {proxy.title}, by which one was chosen:", *lines]


def evaluation_lines(result: ResultFile) -> list[str]:
    """What the chosen student and the teacher came to on the run's evaluations, in words."""
    lines = []
    for entry in result.evaluations:
        models = {result.knee or "": entry.students.get(result.knee or ""), "the teacher": entry.teacher}
        sentences = [
            f"{key}: {', '.join(f'{name} {words}' for name, words in score_words(scores.values).items())}"
            for key, scores in models.items()
            if scores and scores.values
        ]
        lines += [f"  {entry.title}, {'; '.join(sentences)}"] if sentences else []
    return ["on the run's evaluations (the report has them all):", *lines] if lines else []


def _folded(title: str, width: int = 16) -> Text:
    """A long title over two lines, so that the column is no wider than what stands in it."""
    cut = title.rfind("/", 0, width) + 1 if len(title) > width else 0
    return Text(f"{title[:cut]}\n{title[cut:]}" if cut else title)


def _latency_columns(reading: Reading) -> list[str]:
    several = len(reading.latencies) > 1
    marks = [f" {i + 1}" if several else "" for i in range(len(reading.latencies))]
    return [f"{word}{mark}" for mark in marks for word in ("predicted\nms", "measured\nms", "speedup")]


def _numbers(reading: Reading, entry: Entry) -> list[str]:
    cells = [count(entry.parameters)]
    for objective in reading.latencies:
        latency = reading.latency(entry, objective)
        cells += [milliseconds(latency.predicted), measured_words(latency)]
        cells.append(speed_words(reading, entry, objective))
    return cells
