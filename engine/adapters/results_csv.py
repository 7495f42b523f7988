"""Results of other tools, from a CSV file: one column a gene, one an objective, `noise` and `fidelity` if there are.

Columns that are neither are ignored, so that an export of another tracker can be read as it is; `rename` says which
column holds what. A gene with one choice needs no column. An empty cell of an objective means that it was not measured.
"""

import csv
import math
from collections.abc import Mapping
from pathlib import Path

from distilsearch.architecture import Architecture, Value
from distilsearch.errors import InputError
from distilsearch.space import Parameter, SearchSpace

from ..engine import Engine
from ..objectives import Expensive
from ..record import Tell


def read_results(
    path: Path | str,
    space: SearchSpace,
    objectives: list[str],
    rename: Mapping[str, str] | None = None,
    strict: bool = True,
) -> list[Tell | None]:
    """The results of a file, one a row; None for an architecture outside the space, unless `strict`.

    Args:
        path: a CSV file with a header.
        space: its genes of more than one choice must all be columns.
        objectives: names to look for; at least one must be a column.
        rename: column of the file -> gene, objective, `noise` or `fidelity`.
        strict: whether an architecture outside the space is an error.

    Raises:
        InputError: it names the file, the line and what is wrong there.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no file {path}; expected a CSV file of results")
    header, rows = _lines(path)
    names = [(rename or {}).get(name, name) for name in header]
    _check_columns(path, names, space, objectives)
    cells = {line: dict(zip(names, [*row, *[""] * len(names)], strict=False)) for line, row in rows.items()}
    return [_tell(f"{path}, line {line}", row, space, objectives, strict) for line, row in cells.items()]


def import_results(
    engine: Engine, path: Path | str, rename: Mapping[str, str] | None = None, strict: bool = True
) -> tuple[int, int]:
    """Tell an engine the results of a file; how many were told, and how many left out.

    Left out are rows without any expensive objective or learnt limit and, unless `strict`, architectures outside the
    engine's space.

    Raises:
        InputError: as `read_results`.
    """
    learnt = {o.name for o in (*engine.objectives, *engine.limits) if isinstance(o, Expensive)}
    names = [*(o.name for o in engine.objectives), *(x.name for x in engine.limits if x.name in learnt)]
    tells = read_results(path, engine.space, names, rename, strict)
    usable = [tell for tell in tells if tell is not None and learnt & set(tell.values)]
    for tell in usable:
        engine.tell(tell.architecture, tell.values, tell.noise, tell.fidelity)
    return len(usable), len(tells) - len(usable)


def _lines(path: Path) -> tuple[list[str], dict[int, list[str]]]:
    """The header, and the other lines that are not blank by their numbers."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header, lines = next(reader, []), ((reader.line_num, line) for line in reader)
            return header, {number: line for number, line in lines if line}
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as CSV: {error}") from error


def _check_columns(path: Path, names: list[str], space: SearchSpace, objectives: list[str]) -> None:
    read = [*space.names, *objectives, "noise", "fidelity"]
    if twice := sorted({name for name in names if name in read and names.count(name) > 1}):
        raise InputError(f"{path} has more than one column {', '.join(twice)}; rename or drop all but one")
    missing = [p.name for p in space.parameters if len(p.choices) > 1 and p.name not in names]
    if missing:
        raise InputError(
            f"{path} has no column {', '.join(missing)}; its columns are {', '.join(names) or 'none'}; say which column"
            " holds what by renaming (COLUMN=NAME)"
        )
    if not set(objectives) & set(names):
        raise InputError(f"{path} has none of the objectives {objectives}; its columns are {', '.join(names)}")


def _tell(where: str, row: Mapping[str, str], space: SearchSpace, objectives: list[str], strict: bool) -> Tell | None:
    numbers = {
        name: _number(where, name, row[name])
        for name in (*objectives, "noise", "fidelity")
        if (row.get(name) or "").strip()
    }
    noise, fidelity = numbers.pop("noise", None), numbers.pop("fidelity", None)
    if (noise is not None and noise < 0) or (fidelity is not None and fidelity <= 0):
        raise InputError(f"{where}: noise must not be negative and fidelity positive; got {noise} and {fidelity}")
    try:
        genes = {p.name: _choice(p, row[p.name]) if p.name in row else p.choices[0] for p in space.parameters}
        member = _member(space, Architecture(space.family, genes))
    except InputError as error:
        if strict:
            raise InputError(f"{where}: {error}") from error
        return None
    return Tell(member, numbers, noise, fidelity)


def _member(space: SearchSpace, architecture: Architecture) -> Architecture:
    """The canonical form of a member of the space."""
    if not space.contains(architecture):
        broken = [
            rule.message
            for rule in space.constraints
            if rule.reads and not rule.holds(*(architecture[name] for name in rule.reads))
        ]
        why = f": {'; '.join(filter(None, broken))}" if any(broken) else ""
        raise InputError(f"{dict(architecture.values)} is no member of the space{why}")
    return space.decode(space.encode([architecture]))[0]


def _choice(parameter: Parameter, text: str | None) -> Value:
    """The choice a cell means: the same text, or the same number."""
    cell = (text or "").strip()
    for choice in parameter.choices:
        if str(choice) == cell or (isinstance(choice, bool) and str(int(choice)) == cell):
            return choice
    for choice in parameter.choices:
        if isinstance(choice, int | float) and _is_number(cell) and float(cell) == float(choice):
            return choice
    raise InputError(f"{parameter.name}={cell!r} is none of {list(parameter.choices)}")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _number(where: str, name: str, cell: str) -> float:
    if not _is_number(cell) or not math.isfinite(float(cell)):
        raise InputError(f"{where}: {name} must be a finite number; got {cell!r} (leave empty what was not measured)")
    return float(cell)
