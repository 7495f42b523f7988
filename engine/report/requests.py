"""Requests of many lengths: how long they are, and what those of the median length and of the 99th percentile take."""

from collections.abc import Iterator

from distilsearch.page.parts import card, cell, head, row, row_head, table
from distilsearch.request_lengths import RequestLengths

from .readings import Reading
from .schema import Entry, Latency, ResultFile
from .words import lengths_of, milliseconds, percent

QUANTILES = ("p50", "p99")
KINDS = ("predicted", "measured")


def quantile_words(latency: Latency, kind: str) -> str:
    """Median and 99th percentile of what was "measured" or "predicted", such as "p50 1.20, p99 3.10"; "" of none."""
    pairs = [(name, getattr(latency, f"{kind}_{name}")) for name in QUANTILES]
    return ", ".join(f"{name} {milliseconds(ms)}" for name, ms in pairs if ms is not None)


def request_lines(result: ResultFile) -> list[str]:
    """What requests take where these are of many lengths, in words: of the chosen student and of the teacher."""
    reading, lines = Reading(result), []
    for objective, lengths in _mixed(reading):
        lines.append(f"{objective} is the mean over requests of {lengths.words}, in ms:")
        for name, entry in _models(reading):
            said = {kind: _whole(reading.latency(entry, objective), kind) for kind in KINDS[::-1]}
            words = "; ".join(f"{kind} {one}" for kind, one in said.items() if one)
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
        shares = zip(lengths.nodes, lengths.weights, strict=True)
        heads = [head(word) for word in ("tokens", "share of the requests")]
        nodes = table(heads, [row([row_head(str(n)), cell(percent(w))]) for n, w in shares], "Lengths of requests")
        cards.append(card(f"Requests as they come, {objective}", text, nodes + _quantiles(reading, objective)))
    return "\n".join(cards)


def _quantiles(reading: Reading, objective: str) -> str:
    """What each model takes: mean and quantiles, predicted and measured."""
    heads = [f"{kind} {what}, ms" for kind in KINDS for what in ("mean", *QUANTILES)]
    names = [f"{kind}{end}" for kind in KINDS for end in ("", *(f"_{quantile}" for quantile in QUANTILES))]
    rows = []
    for name, entry in _models(reading):
        latency = reading.latency(entry, objective)
        rows.append(row([row_head(name), *(cell(milliseconds(getattr(latency, one))) for one in names)]))
    return table([head(word) for word in ("model", *heads)], rows, "Latency of requests")


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
    return f"{milliseconds(mean)} ({quantiles})" if mean is not None and quantiles else ""
