"""Results of other tools, from a CSV file: one column a gene, one an objective, `noise` and `fidelity` if there are.

Columns that are neither are ignored, so that an export of another tracker can be read as it is; `rename` says which
column holds what. A gene with one choice needs no column. An empty cell of an objective means that it was not measured;
a learnt one that is `nan` or `inf` is a trial that failed, as trackers and pandas write one that diverged.
"""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from distilsearch.architecture import Architecture, Value
from distilsearch.errors import InputError
from distilsearch.sheet import Sheet, read_sheet
from distilsearch.space import Parameter, SearchSpace

from ..engine import Engine
from ..objectives import Expensive
from ..record import Tell

ABSENT = ("", "na", "n/a", "<na>", "null", "none", "#n/a")  # of what was not measured, as R, pandas and databases do


@dataclass(frozen=True)
class Failure:
    """A trial of another tool that gave no result, and why."""

    architecture: Architecture
    cause: str


def read_results(
    path: Path | str,
    space: SearchSpace,
    objectives: list[str],
    rename: Mapping[str, str] | None = None,
    strict: bool = True,
    learnt: Collection[str] | None = None,
    spelling: Callable[[dict[str, str]], dict[str, str]] = dict,
) -> list[Tell | Failure | None]:
    """The results of a file, one a row; None for an architecture outside the space, unless `strict`.

    Args:
        path: a CSV file with a header.
        space: its genes of more than one choice must all be columns.
        objectives: names to look for; at least one must be a column.
        rename: column of the file -> gene, objective, `noise` or `fidelity`.
        strict: whether an architecture outside the space is an error.
        learnt: the objectives of which a value that is no finite number means a failed trial; all, unless given. Of
            the others it means that nothing was measured.
        spelling: a row by gene, objective, `noise` and `fidelity`, as the space spells it; it may add genes.

    Raises:
        InputError: it names the file, the line and what is wrong there.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no file {path}; expected a CSV file of results")
    sheet = read_sheet(path)
    names = [(rename or {}).get(name, name) for name in sheet.header]
    cells = {line: spelling(dict(zip(names, map(str.strip, row), strict=True))) for line, row in sheet.rows}
    added = {name: None for row in cells.values() for name in row if name not in names}
    _check_columns(sheet, [*names, *added], space, objectives)
    reading = _Reading(space, objectives, set(objectives if learnt is None else learnt), strict)
    return [reading.result(f"{path}, line {line}", row) for line, row in cells.items()]


def import_results(
    engine: Engine, path: Path | str, rename: Mapping[str, str] | None = None, strict: bool = True
) -> tuple[int, int]:
    """Tell an engine the results of a file, failures among them; how many were told, and how many left out.

    Left out are rows without any expensive objective or learnt limit, failures of what another row has a result of and,
    unless `strict`, architectures outside the engine's space.

    Raises:
        InputError: as `read_results`.
    """
    failing = {o.name for o in engine.objectives if isinstance(o, Expensive)}
    learnt = failing | {limit.name for limit in engine.limits if isinstance(limit, Expensive)}
    names = [*(o.name for o in engine.objectives), *(x.name for x in engine.limits if x.name in learnt)]
    results = read_results(path, engine.space, names, rename, strict, failing)
    tells, failures = sorted_out(results, learnt)
    for tell in tells:
        engine.tell(tell.architecture, tell.values, tell.noise, tell.fidelity)
    for failure in failures:
        engine.fail(failure.architecture, failure.cause)
    told = len(tells) + len(failures)
    return told, len(results) - told


def sorted_out(results: Collection[Tell | Failure | None], learnt: Collection[str]) -> tuple[list[Tell], list[Failure]]:
    """The results that say something of a learnt objective, and failures of what has no result: a repeat went well."""
    tells = [result for result in results if isinstance(result, Tell) and set(learnt) & set(result.values)]
    fine = {tell.architecture for tell in tells}
    failures = {r.architecture: r for r in results if isinstance(r, Failure) and r.architecture not in fine}
    return tells, list(failures.values())


def _check_columns(sheet: Sheet, names: list[str], space: SearchSpace, objectives: list[str]) -> None:
    path, read = sheet.path, [*space.names, *objectives, "noise", "fidelity"]
    if twice := sorted({name for name in names if name in read and names.count(name) > 1}):
        raise InputError(f"{path} has more than one column {', '.join(twice)}; rename or drop all but one")
    missing = [p.name for p in space.parameters if len(p.choices) > 1 and p.name not in names]
    if missing:
        raise InputError(
            f"{path} has no column {', '.join(missing)}; {sheet.hint}; say which column holds what by renaming"
            " (COLUMN=NAME)"
        )
    if not set(objectives) & set(names):
        raise InputError(f"{path} has none of the objectives {objectives}; {sheet.hint}")


@dataclass(frozen=True)
class _Reading:
    """What rows are read by."""

    space: SearchSpace
    objectives: list[str]
    learnt: set[str]
    strict: bool

    def result(self, where: str, row: Mapping[str, str]) -> Tell | Failure | None:
        """One row."""
        try:
            member = _member(self.space, Architecture(self.space.family, self._genes(row)))
        except InputError as error:
            if self.strict:
                raise InputError(f"{where}: {error}") from error
            return None
        names = (*self.objectives, "noise", "fidelity")
        numbers = {name: _number(where, name, row[name]) for name in names if row.get(name, "").lower() not in ABSENT}
        failed = [name for name in numbers if name in self.learnt and not math.isfinite(numbers[name])]
        if failed:
            return Failure(member, f"{where}: {failed[0]} is {row[failed[0]]}")
        numbers = {name: value for name, value in numbers.items() if math.isfinite(value)}
        noise, fidelity = numbers.pop("noise", None), numbers.pop("fidelity", None)
        if (noise is not None and noise < 0) or (fidelity is not None and fidelity <= 0):
            raise InputError(f"{where}: noise must not be negative and fidelity positive; got {noise} and {fidelity}")
        return Tell(member, numbers, noise, fidelity)

    def _genes(self, row: Mapping[str, str]) -> dict[str, Value]:
        return {p.name: _choice(p, row[p.name]) if p.name in row else p.choices[0] for p in self.space.parameters}


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


def _choice(parameter: Parameter, cell: str) -> Value:
    """The choice a cell means: the same text, or the same number."""
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
    if not _is_number(cell):
        raise InputError(
            f"{where}: {name} must be a number; got {cell!r} (leave empty what was not measured, nan is a failed trial)"
        )
    return float(cell)
