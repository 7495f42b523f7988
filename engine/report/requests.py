"""Requests of many lengths: how long they are, and what those of the median length and of the 99th percentile take.

Notable: figures of requests that cannot be true beside each other are left out of the result; here it is said why.
"""

from collections.abc import Iterator

from distilsearch.page.parts import card, cell, code, head, row, row_head, table
from distilsearch.request_lengths import RequestLengths

from .doubts import contradicting, measured_words, quantiles
from .readings import Reading
from .schema import Entry, Latency, ResultFile
from .words import DASH, lengths_of, milliseconds, percent

QUANTILES = ("p50", "p99")
KINDS = ("predicted", "measured")
SHORT = {"predicted": "off", "measured": "disturbed"}  # instead of quantiles that contradict each other, in a table


def quantile_words(latency: Latency, kind: str) -> str:
    """Median and 99th percentile of what was "measured" or "predicted", such as "p50 1.20, p99 3.10"; "" of none."""
    if contradicting(latency, kind):
        return f"p50 and p99 left out: {latency.left_out[kind].why}"
    both = quantiles(latency, kind)
    return ", ".join(f"{name} {milliseconds(ms)}" for name, ms in zip(QUANTILES, both, strict=True)) if both else ""


def request_lines(result: ResultFile) -> list[str]:
    """What requests take where these are of many lengths, in words: of the chosen student and of the teacher."""
    reading, lines = Reading(result), []
    for objective, lengths in _mixed(reading):
        lines.append(f"{objective} is the mean over requests of {lengths.words}, in ms:")
        for name, entry in _models(reading):
            sentences = {kind: _whole(reading.latency(entry, objective), kind) for kind in KINDS[::-1]}
            words = "; ".join(f"{kind} {one}" for kind, one in sentences.items() if one)
            lines += [f"  {name}: {words}"] if words else []
    return lines


def requests_card(reading: Reading) -> str:
    """The lengths that stand for all requests of each machine, and what they take; "" where all requests are alike."""
    cards = []
    for objective, lengths in _mixed(reading):
        text = (
            f"{lengths.requests:,} requests have {lengths.words}. Latency is measured and predicted at the lengths"
            " below, which stand for so many of them; what is searched and compared is the mean over the requests."
        )
        body = _nodes(lengths) + _quantiles(reading, objective)
        cards.append(card(f"Requests as they come, {objective}", text, body))
    return "\n".join(cards)


def _nodes(lengths: RequestLengths) -> str:
    """The lengths from left to right, and below each the share of the requests that it stands for."""
    shares = row([row_head("share of the requests"), *(cell(percent(weight)) for weight in lengths.weights)])
    heads = [head(word) for word in ("tokens", *map(str, lengths.nodes))]
    return table(heads, [shares], "Lengths of requests", "narrow")


def _quantiles(reading: Reading, objective: str) -> str:
    """What each model takes: mean and quantiles, predicted and measured."""
    heads = [head("Student"), *(head(f"{kind} {what}, ms") for kind in KINDS for what in ("mean", *QUANTILES))]
    rows = []
    for member in reading.front:
        knee = reading.is_knee(member)
        name = row_head(code(member.key, member.student, "chosen" if knee else ""))
        rows.append(row([name, *_times(reading.latency(member, objective))], "knee" if knee else ""))
    teacher = [cell(reading.teacher.name, "text"), *_times(reading.latency(reading.teacher, objective))]
    return table(heads, [*rows, row(teacher, "teacher")], "Latency of requests")


def _times(latency: Latency) -> Iterator[str]:
    """The cells of mean and quantiles, predicted and measured."""
    for kind in KINDS:
        yield cell(measured_words(latency) if kind == "measured" else milliseconds(latency.predicted))
        both, none = quantiles(latency, kind), SHORT[kind] if contradicting(latency, kind) else DASH
        yield from (cell(milliseconds(ms)) for ms in both) if both else [cell(none)] * len(QUANTILES)


def _mixed(reading: Reading) -> Iterator[tuple[str, RequestLengths]]:
    """The objectives whose requests are of many lengths."""
    for objective in reading.latencies:
        if (lengths := lengths_of(reading.machine(objective))) is not None:
            yield objective, lengths


def _models(reading: Reading) -> list[tuple[str, Entry]]:
    students: list[tuple[str, Entry]] = [(member.key, member) for member in reading.front]
    return [*students, ("teacher", reading.teacher)]


def _whole(latency: Latency, kind: str) -> str:
    """Mean and quantiles, such as "1.64 (p50 1.20, p99 3.10)"; "" where they are not known."""
    mean, quantiles = getattr(latency, kind), quantile_words(latency, kind)
    words = measured_words(latency) if kind == "measured" else milliseconds(mean)
    return f"{words} ({quantiles})" if mean is not None and quantiles else ""
