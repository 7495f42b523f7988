"""Results of commands in words and tables."""

import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from .engine.job.commands.inventory import Item
    from .engine.report.schema import ResultFile

Json = Annotated[bool, typer.Option("--json", help="Print plain JSON instead of words")]
UNITS = ("B", "kB", "MB", "GB", "TB")
HOURS = 24
WIDE = 120  # columns where there is no terminal


def fidelity_lines(measured: Mapping[str, Any]) -> Iterator[str]:
    """A measured rank fidelity, a line a predictor."""
    ranked = f"; ranked by {measured['quality']}" if measured.get("quality") else ""
    yield f"{measured['note']}, {measured['pairs']} students{ranked}; 90 % intervals over students"
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


def print_wide(table: "Table") -> None:
    """Print a table as wide as the terminal; a pipe, which has none, gets more than 80 columns."""
    from rich.console import Console

    usual = Console()
    (usual if usual.is_terminal else Console(width=max(WIDE, usual.width))).print(table)


def show(result: "ResultFile") -> None:
    """Print a result: its table, how its students were trained, and what a reader must know of it."""
    from .engine.report.requests import request_lines
    from .engine.report.terminal import answer_lines, evaluation_lines, final_table, gain_lines, proxy_lines
    from .engine.report.words import counted

    print_wide(final_table(result))
    for line in [
        *request_lines(result),
        *answer_lines(result),
        *gain_lines(result),
        *proxy_lines(result),
        *evaluation_lines(result),
    ]:
        print(line)
    if words := training_words(result.environment.get("training")):
        print(words)
    failed = sum(trial.state == "failed" for trial in result.trials)
    for warning in [*([f"{counted(failed, 'trial')} failed; the report says why"] if failed else []), *result.warnings]:
        print(f"warning: {warning}", file=sys.stderr)


def print_json(data: Any) -> None:
    """Print a result as JSON for other programs; what is no number is null."""
    print(json.dumps(_finite(data), indent=1, ensure_ascii=False))


def _finite(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {str(name): _finite(value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def remark(words: Iterable[str]) -> None:
    """Say what a user should know, though all goes on."""
    for each in words:
        print(f"note: {each}", file=sys.stderr)


def training_words(training: Any) -> str:
    """By how many trainers students were trained, and how long those waited for meters; nothing of older results."""
    if not isinstance(training, Mapping) or not {"workers", "threads", "precision"} <= set(training):
        return ""
    words = f"trainers: {training['workers']}, threads of each: {training['threads']}, {training['precision']}"
    paused = training.get("paused_share")
    return words + (f"; {paused:.0%} of their time they waited for measurements" if paused is not None else "")
