"""Results of commands in words and tables."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from .engine.job.inventory import Item

UNITS = ("B", "kB", "MB", "GB", "TB")
HOURS = 24


def fidelity_lines(measured: Mapping[str, Any]) -> Iterator[str]:
    """A measured rank fidelity, a line a predictor."""
    yield f"{measured['note']}, {measured['pairs']} students; 90 % intervals over students"
    for row in measured["rows"]:
        named = row["predictor"] + (f" at {row['tokens']:,} tokens" if row["tokens"] else "")
        named += f" of {row['recipe']}" if row["recipe"] else ""
        yield f"{named}: {', '.join(correlation(name, row[name]) for name in ('spearman', 'kendall'))}"
    for entry in measured["left_out"]:
        named = f"at {entry['tokens']:,} tokens" + (f" of {entry['recipe']}" if entry["recipe"] else "")
        yield f"left out, {named}: {entry['cause']}; its genes: {entry['architecture']['values']}"


def correlation(name: str, measured: Mapping[str, float | None]) -> str:
    """A correlation and its interval."""
    if measured["value"] is None:
        return f"{name} not a number (it puts the students in no order)"
    if measured["lower"] is None:
        return f"{name} {measured['value']:.3f} (too few students for an interval)"
    return f"{name} {measured['value']:.3f} ({measured['lower']:.2f} to {measured['upper']:.2f})"


def size(count: float) -> str:
    """Bytes in a unit that a person reads."""
    for unit in UNITS:
        if count < 1000 or unit == UNITS[-1]:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("there is a largest unit")


def age(days: float) -> str:
    """How long ago."""
    return f"{days:.0f} d" if days >= 1 else f"{days * HOURS:.0f} h"


def home_table(items: Sequence["Item"]) -> "Table":
    """What the home holds, a row an entry."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("kind", "name", "size", "age", "teacher", "tokens", "loss", "shown by"):
        table.add_column(name, justify="right" if name in ("size", "age", "tokens", "loss") else "left")
    for item in items:
        trial = item.trial
        tokens, loss = (f"{trial.tokens:,}", f"{trial.loss:.4f}") if trial else ("", "")
        where = item.note or ", ".join(run.name for run in item.shown_by)
        table.add_row(item.kind, item.name, size(item.bytes), age(item.days), item.teacher, tokens, loss, where)
    return table
