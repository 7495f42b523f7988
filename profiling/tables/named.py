"""Tables by the names that people give their devices: as `tables list` prints them.

A device answers to DEVICE/STACK or DEVICE by fingerprint, to enough of its first digits, and to its model's name, which
is what `tables import --device` was told, or what the machine says of itself.
"""

import re
from pathlib import Path

from distilsearch import strict
from distilsearch.errors import InputError, TableError
from distilsearch.operators import TORCH

from ..device import check_facts, model_name
from . import rounds
from .restate import META
from .table import LatencyTable

PAIR = re.compile(r"([0-9a-f]{4,12})/([0-9a-f]{4,12})")
DIGITS = re.compile(r"[0-9a-f]{6,12}")


def table_named(name: str, store: Path, devices: tuple[str, ...], runtime: str = TORCH) -> LatencyTable | None:
    """The table of a device that is named so; of several stacks the one profiled last, of a runtime if there is one.

    None where digits find none.

    Raises:
        InputError: nobody is called so, or several devices are.
    """
    if pair := PAIR.fullmatch(name.strip("/")):
        return _newest([path for path in store.glob(f"{pair[1]}*/{pair[2]}*") if rounds.names(path)], name, runtime)
    tables = [path for path in sorted(store.glob("*/*")) if rounds.names(path)]
    names = {path: _name(path) for path in tables}
    called = [path for path in tables if names[path].casefold() == name.strip().casefold()]
    if called:
        return _newest(called, name, runtime)
    if not DIGITS.fullmatch(name):
        known = ", ".join(sorted(set(names.values()) - {""})) or "none yet"
        raise InputError(
            f"expected a device ({', '.join(devices)}), the name of a table's device ({known}) or at least 6 digits of"
            f" its fingerprint; got {name!r}"
        )
    return _newest([path for path in tables if path.parent.name.startswith(name)], name, runtime)


def _newest(folders: list[Path], name: str, runtime: str) -> LatencyTable | None:
    """The table that was profiled last, of one device alone; those of the runtime come first."""
    places = sorted({path.parent.name for path in folders})
    if len(places) > 1:
        raise InputError(f"{name!r} is the start or the name of several tables: {', '.join(places)}; name one of these")
    tables = [LatencyTable.read(folder) for folder in sorted(folders, key=_last_profiled, reverse=True)]
    return next((table for table in tables if table.runtime == runtime), tables[0] if tables else None)


def _last_profiled(folder: Path) -> float:
    return max((folder / rounds.ROUNDS / name).stat().st_mtime for name in rounds.names(folder))


def _name(folder: Path) -> str:
    """What a table's device is called: as its derived facts say, or where there are none, its rounds."""
    try:
        device = strict.read_json(folder / META)["device"]
        check_facts(device)
        return model_name(device)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    try:
        return model_name(rounds.read(folder / rounds.ROUNDS / rounds.names(folder)[0]).device)
    except TableError:
        return ""  # a damaged table has no name, and hides no other; `tables list` says what it is
