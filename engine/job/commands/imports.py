"""Results of other tools that a run starts from: read from CSV once, kept in the run's folder as plain JSON."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from distilsearch.errors import InputError
from distilsearch.families.cuts import GENE, spelt_row
from distilsearch.home import file_lock, write_atomically

from ...adapters.results_csv import read_results, sorted_out
from ..preparing.prepare import prepare
from ..preparing.recall import IMPORTED, failure_json, imported, imported_failures
from ..runfile.config import Run


def import_csv(
    run: Run, path: Path | str, rename: Mapping[str, str], strict: bool = True, folder: Path | None = None
) -> tuple[int, int]:
    """Keep the results of a file for a run, failed trials among them; how many are new, how many rows were left out.

    Left out are rows without a loss, repeats and, unless `strict`, architectures outside the run's space.

    Raises:
        InputError: as `read_results`, and where there is no loss.
        DistilSearchError: the run itself cannot be done; see `prepare`.
    """
    if not Path(path).is_file():  # before a teacher is loaded for it
        raise InputError(f"there is no file {path}; expected a CSV file of results")
    place = folder or Path("runs") / run.name
    prepared = prepare(run, place)
    space, objectives = prepared.served.students, ["loss", *(t.objective for t in prepared.machines)]
    facts, rules = prepared.teacher.facts, run.space.genes.get(GENE, ())
    kin = facts.family == space.family and run.space.cuts is not None  # else rules are choices by their names
    spelling = partial(spelt_row, choices=rules, teacher=facts) if kin else dict
    results = read_results(path, space, objectives, rename, strict, ["loss"], spelling)
    tells, failures = sorted_out(results, ["loss"])
    if not tells:
        failed = f" ({len(failures)} failed)" if failures else ""
        raise InputError(
            f"{path} has no row with a loss{failed}; if a column holds it, say so with --rename COLUMN=loss"
        )
    with file_lock(place / ".lock"):
        earlier, fallen = imported(place), imported_failures(place)
        new = [t for i, t in enumerate(tells) if t not in earlier and t not in tells[:i]]
        present = {tell.architecture for tell in earlier} | {failure.architecture for failure in fallen}
        more = [failure for failure in failures if failure.architecture not in present]
        lines = [t.to_json() for t in (*earlier, *new)] + [failure_json(f) for f in (*fallen, *more)]
        write_atomically(place / IMPORTED, json.dumps(lines, indent=1))
    return len(new) + len(more), len(results) - len(new) - len(more)
