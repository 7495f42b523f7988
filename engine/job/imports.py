"""Results of other tools that a run starts from: read from CSV once, kept in the run's folder as plain JSON."""

import json
from collections.abc import Mapping
from pathlib import Path

from distilsearch.errors import InputError
from distilsearch.home import file_lock, write_atomically

from ..adapters.results_csv import read_results
from .config import Run
from .prepare import prepare
from .recall import IMPORTED, imported


def import_csv(
    run: Run, path: Path | str, rename: Mapping[str, str], strict: bool = True, folder: Path | None = None
) -> tuple[int, int]:
    """Keep the results of a file for a run; how many are new, and how many rows were left out.

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
    tells = read_results(path, space, objectives, rename, strict)
    usable = [tell for tell in tells if tell is not None and "loss" in tell.values]
    if not usable:
        raise InputError(f"{path} has no row with a loss; if a column holds it, say so with --rename COLUMN=loss")
    with file_lock(place / ".lock"):
        earlier = imported(place)
        new = [t for i, t in enumerate(usable) if t not in earlier and t not in usable[:i]]
        write_atomically(place / IMPORTED, json.dumps([t.to_json() for t in (*earlier, *new)], indent=1))
    return len(new), len(tells) - len(new)
