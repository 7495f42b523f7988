"""Architectures as users name them: by genes on the command line, or many in a CSV or JSON file, one a row."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .architecture import Architecture, Value
from .errors import InputError

if TYPE_CHECKING:
    from .families import Family, TeacherFacts
    from .space import SearchSpace

OPEN = "inherit"  # changes no shape, so it may be left open
NOT_GENES = ("key", "name")  # columns that may stand beside genes
ANYTHING: Mapping[str, Sequence[Value]] = {}


def architecture_of(
    kind: "Family",
    values: Mapping[str, Value],
    facts: "TeacherFacts | None" = None,
    among: Mapping[str, Sequence[Value]] = ANYTHING,
) -> Architecture:
    """The one architecture that named genes fix.

    Args:
        among: choices of genes that need not be named, such as a run's: one alone is taken, and of several one is
            suggested. Where nothing of them goes with what is named, several are the family's own.

    Raises:
        InputError: a gene is unknown, impossible, or missing.
    """
    named = {name: (value,) for name, value in values.items()}
    alone = {name: own for name, own in among.items() if len(own) == 1}
    space = _possible(kind, {**among, **named}, facts) or kind.space({**alone, **named}, facts)
    missing = [p.name for p in space.parameters if len(p.choices) > 1 and p.name != OPEN]
    if missing:
        example = " ".join(f"{name}={value}" for name, value in _example(space, [*values, *missing]).items())
        raise InputError(f"an architecture needs {', '.join(missing)} too: name them, such as {example}")
    return space.decode(space.grid(limit=1_000_000)[:1])[0]


def _possible(
    kind: "Family", genes: Mapping[str, Sequence[Value]], facts: "TeacherFacts | None"
) -> "SearchSpace | None":
    """The space of some choices; None where nothing is possible."""
    try:
        return kind.space(genes, facts)
    except InputError:
        return None


def _example(space: "SearchSpace", genes: Sequence[str]) -> dict[str, Value]:
    """Genes of an architecture of the space, so that what is given as an example is one."""
    some = space.decode(space.sample(1, np.random.default_rng(0)))[0]
    return {gene: some[gene] for gene in genes}


def value_of(text: str) -> Value:
    """A gene's value out of text: a whole number where it is one."""
    return int(text) if text.isdigit() else text


def read_architectures(path: Path, make: Callable[[Mapping[str, Value]], Architecture]) -> list[Architecture]:
    """The architectures in a CSV file (a column a gene) or a JSON file (a list of objects), in order.

    Args:
        make: the architecture that the genes of a row name; an `InputError` where they name none.

    Raises:
        InputError: it cannot be read, or a row is no architecture; the message names the row.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}; expected a CSV or JSON file of architectures") from None
    rows = _json_rows(path, text) if path.suffix.lower() == ".json" else _csv_rows(text)
    if not rows:
        raise InputError(f"{path} holds no architecture; expected rows of genes such as layers, width, heads, ffn")
    architectures = []
    for place, row in rows.items():
        try:
            architectures.append(make(row))
        except InputError as error:
            raise InputError(f"{path}, {place}: {error}") from None
    return architectures


def _csv_rows(text: str) -> dict[str, dict[str, Value]]:
    """Genes by the line they stand in."""
    reader = csv.DictReader(io.StringIO(text), skipinitialspace=True)
    return {
        f"line {reader.line_num}": {
            name.strip(): value_of(cell.strip())
            for name, cell in row.items()
            if name and isinstance(cell, str) and cell.strip() and name.strip() not in NOT_GENES
        }
        for row in reader
        if any(isinstance(cell, str) and cell.strip() for cell in row.values())
    }


def _json_rows(path: Path, text: str) -> dict[str, dict[str, Any]]:
    """Genes by the number of the entry; an entry may be plain genes, an architecture, or a member of a result."""
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON ({error}); expected a list of objects with genes") from None
    entries = [entries] if isinstance(entries, dict) else entries
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f'{path} must hold a list of objects with genes, such as [{{"layers": 2, "width": 384}}]')
    return {f"entry {number}": _genes(entry) for number, entry in enumerate(entries, 1)}


def _genes(entry: Mapping[str, Any]) -> dict[str, Any]:
    for within in ("architecture", "values"):
        if isinstance(entry.get(within), dict):
            return _genes(entry[within])
    return {name: value for name, value in entry.items() if name not in NOT_GENES}
