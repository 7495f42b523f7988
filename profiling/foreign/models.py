"""Whole models that anybody has timed, also where this tool cannot run: one row a model, a column a gene.

Beside genes there is one column of times whose name is its unit (`latency_ms` is milliseconds), and there may be
`family` (bert) and how it was served: `batch` 1, `sequence` 128, `dtype` float32, `phase` encode, `threads`, `mode`
eager. Genes that are no column have the family's usual choice where it is one, such as the vocabulary; other columns
are ignored. Rows of one model are rounds of it.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from distilsearch.architecture import Architecture, Value
from distilsearch.errors import DistilSearchError, TableError, unknown
from distilsearch.families import FAMILIES, family
from distilsearch.lowering import check_length
from distilsearch.operators import DTYPE_BYTES, PHASES, Serving

from ..device import Regime
from .plain import UNITS, regime_of
from .rows import Found, Model, Record

NAMED_UNITS = {**UNITS, "latency_ms": 1e-3, "ms": 1e-3, "us": 1e-6}
SHAPELESS = ("inherit",)  # genes that change no shape may be left open


def read(path: Path, records: Sequence[Record]) -> Iterator[Found]:
    """One whole model a row."""
    units = [unit for unit in NAMED_UNITS if unit in records[0]]
    if len(units) != 1:
        raise TableError(
            f"{path} needs exactly one column of times, {', '.join(NAMED_UNITS)}; {records[0].columns.hint}"
        )
    for record in records:
        regime, serving = _served(record)
        yield Model(
            record, _architecture(record, serving), serving, regime, record.seconds(units[0], NAMED_UNITS[units[0]])
        )


def _served(record: Record) -> tuple[Regime, Serving]:
    dtype, phase = record.text("dtype", "float32"), record.text("phase", "encode")
    if dtype not in DTYPE_BYTES:
        raise record.wrong("dtype", " or ".join(DTYPE_BYTES), dtype)
    if phase not in PHASES:
        raise record.wrong("phase", " or ".join(PHASES), phase)
    regime = regime_of(record, dtype)
    batch, sequence = record.whole("batch", 1, 1), record.whole("sequence", 1, 128)
    return regime, Serving(batch, sequence, dtype, phase, regime.threads or None, regime.mode)


def _architecture(record: Record, serving: Serving) -> Architecture:
    """The one architecture that the row's genes fix."""
    name = record.text("family", "bert")
    if name not in FAMILIES:
        raise record.refused(f"column 'family': {unknown('family', name, FAMILIES)}")
    columns = [gene for gene in _genes(name) if gene in record]
    genes = {gene: (value,) for gene in columns if (value := _value(record.cell(gene))) is not None}
    try:
        space = family(name).space(genes)
        check_length(space, serving)
        members = space.decode(space.grid(limit=1_000_000)[:1])
    except (DistilSearchError, TypeError, ValueError, ZeroDivisionError) as error:
        raise record.refused(f"{error}") from error
    missing = [p.name for p in space.parameters if len(p.choices) > 1 and p.name not in SHAPELESS]
    if missing:
        raise record.refused(f"which names no {', '.join(missing)}: give each a column and a cell")
    if not members:
        raise record.refused("which is no architecture that the family can have")
    return members[0]


@cache
def _genes(name: str) -> tuple[str, ...]:
    return family(name).space().names


def _value(cell: object) -> Value | None:
    """A gene's value: a whole number however it is written, another number, or a word."""
    if cell is None or isinstance(cell, bool):
        return cell
    try:
        number = float(str(cell))
    except ValueError:
        return str(cell)
    return int(number) if number.is_integer() else number
