"""Results of other tools, from a CSV file: one column a gene, one an objective, `noise` and `fidelity` if there are.

Columns that are neither are ignored, so that an export of another tracker can be read as it is; `rename` says which
column holds what. An empty cell of an objective means that it was not measured.
"""

import csv
from collections.abc import Mapping
from pathlib import Path

from distilsearch.architecture import Architecture, Value
from distilsearch.errors import InputError
from distilsearch.space import Parameter, SearchSpace

from .engine import Engine
from .objectives import Expensive
from .record import Tell


def read_results(
    path: Path | str, space: SearchSpace, objectives: list[str], rename: Mapping[str, str] | None = None
) -> list[Tell]:
    """The results of a file, one a row.

    Args:
        path: a CSV file with a header.
        space: its genes must all be columns.
        objectives: names to look for; at least one must be a column.
        rename: column of the file -> gene, objective, `noise` or `fidelity`.

    Raises:
        InputError: it names the file, the line and what is wrong there.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no file {path}; expected a CSV file of results")
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        names = [(rename or {}).get(name, name) for name in reader.fieldnames or ()]
        _check_columns(path, names, space, objectives)
        rows = [dict(zip(names, row.values(), strict=False)) for row in reader]
    return [_tell(f"{path}, line {i}", row, space, objectives) for i, row in enumerate(rows, 2)]


def import_results(
    engine: Engine, path: Path | str, rename: Mapping[str, str] | None = None, strict: bool = True
) -> tuple[int, int]:
    """Tell an engine the results of a file; how many were told, and how many left out.

    Left out are rows without any expensive objective and, unless `strict`, architectures outside the engine's space.

    Raises:
        InputError: as `read_results`, and for an architecture outside the space where `strict`.
    """
    learnt = {o.name for o in engine.objectives if isinstance(o, Expensive)}
    tells = read_results(path, engine.space, [o.name for o in engine.objectives], rename)
    told = 0
    for line, tell in enumerate(tells, 2):
        inside = engine.space.contains(tell.architecture)
        if strict and not inside:
            raise InputError(f"{path}, line {line}: {dict(tell.architecture.values)} is no member of the space")
        if inside and learnt & set(tell.values):
            (member,) = engine.space.decode(engine.space.encode([tell.architecture]))
            engine.tell(member, tell.values, tell.noise, tell.fidelity)
            told += 1
    return told, len(tells) - told


def _check_columns(path: Path, names: list[str], space: SearchSpace, objectives: list[str]) -> None:
    missing = [name for name in space.names if name not in names]
    if missing:
        raise InputError(f"{path} has no column {', '.join(missing)}; its columns are {', '.join(names)}; use rename")
    if not set(objectives) & set(names):
        raise InputError(f"{path} has none of the objectives {objectives}; its columns are {', '.join(names)}")


def _tell(where: str, row: Mapping[str, str], space: SearchSpace, objectives: list[str]) -> Tell:
    genes = {p.name: _choice(where, p, row[p.name]) for p in space.parameters}
    numbers = {
        name: _number(where, name, row[name])
        for name in (*objectives, "noise", "fidelity")
        if (row.get(name) or "").strip()
    }
    noise, fidelity = numbers.pop("noise", None), numbers.pop("fidelity", None)
    return Tell(Architecture(space.family, genes), numbers, noise, fidelity)


def _choice(where: str, parameter: Parameter, text: str | None) -> Value:
    """The choice a cell means: the same text, or the same number."""
    cell = (text or "").strip()
    for choice in parameter.choices:
        if str(choice) == cell or (isinstance(choice, bool) and str(int(choice)) == cell):
            return choice
    for choice in parameter.choices:
        if isinstance(choice, int | float) and _is_number(cell) and float(cell) == float(choice):
            return choice
    raise InputError(f"{where}: {parameter.name}={cell!r} is none of {list(parameter.choices)}")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _number(where: str, name: str, cell: str) -> float:
    if not _is_number(cell):
        raise InputError(f"{where}: {name} must be a number; got {cell!r}")
    return float(cell)
