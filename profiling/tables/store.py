"""Where tables are: `<store>/<device fingerprint>/<stack fingerprint>/`, found again by what the machine is.

A table of another machine is named by its device: see `named`.
"""

from collections.abc import Sequence
from pathlib import Path

from distilsearch.errors import TableError
from distilsearch.home import tables_folder, write_atomically
from distilsearch.operators import TORCH
from distilsearch.places import STORE, own_folder

from ..device import Device, Facts, fingerprint
from ..devices import DEVICES, open_device
from ..runtimes import stack_of
from . import rounds
from .named import table_named
from .table import LatencyTable, derived


def store_folder(store: Path | str | None) -> Path:
    """The store that is meant: the given one, which need not exist yet, else the one shared by all runs."""
    return Path(store) if store is not None else tables_folder()


def own_store(store: Path | str | None) -> Path:
    """The store that is meant, to be written: a `RunError` where something else than tables lies there."""
    return own_folder(store, STORE) if store is not None else tables_folder()


def table_folder(device: Device, store: Path | str | None = None, runtime: str = TORCH) -> Path:
    """Where the table of a device with its present stack belongs, as a runtime runs models on it."""
    return folder_of(device.facts(), stack_of(device, runtime), store)


def folder_of(facts: Facts, stack: Facts, store: Path | str | None = None) -> Path:
    """Where the table of a machine and stack belongs."""
    return store_folder(store) / fingerprint(facts) / fingerprint(stack)


def find_table(device: str | Device, store: Path | str | None = None, runtime: str = TORCH) -> LatencyTable | None:
    """The table of a device of this machine with its present stack, or of any machine by a name of its device.

    None where there is none. Of several stacks of another machine it is the one profiled last, of the runtime if
    there is one.
    `InputError` when nobody or more than one is called so, `TableError` when the table is damaged or newer.
    """
    if isinstance(device, str) and device not in (*DEVICES, "auto"):
        return table_named(device, store_folder(store), (*DEVICES, "auto"), runtime)
    folder = table_folder(open_device(device), store, runtime)
    return LatencyTable.read(folder) if rounds.names(folder) else None


def all_tables(store: Path | str | None = None) -> list[Path]:
    """Folders of all tables of a store, sorted; the store itself may be a link, and nothing within it."""
    folders = sorted(path for path in store_folder(store).glob("*/*") if rounds.names(path))
    for folder in folders:
        for place in (folder.parent, folder, folder / rounds.ROUNDS):
            if place.is_symlink():
                raise TableError(f"{place} is a symbolic link, and none is followed in a store; put the folder there")
    return folders


def tables_at(folder: Path) -> list[Path]:
    """The folders of tables that a folder is, or holds as a store or as one device of a store; sorted."""
    return sorted(p for p in (folder, *folder.glob("*"), *folder.glob("*/*")) if rounds.names(p))


def merge(sources: Sequence[Path | str], store: Path | str | None = None) -> list[LatencyTable]:
    """Add the rounds of tables to those of a store; what is there already stays. Returns the tables touched.

    Files that were dropped from a table of the store are not added again.

    A source is the folder of a table, or of a store of them. The union of rounds: any order and any repetition of
    sources gives the same tables. Raises `TableError` where a source holds no table, or a damaged one.
    """
    own_store(store)
    touched: dict[Path, None] = {}
    for source in [table for named in sources for table in _tables_named(Path(named))]:
        parts = rounds.read_all(source)
        target = folder_of(parts[0].device, parts[0].stack, store)
        here = {part.name: part for part in [*rounds.read_all(target), *parts]}
        derived(here.values())  # refuses rounds of different machines, and what no table can be made of, before copying
        for name in set(rounds.names(source)) - set(rounds.names(target)) - set(rounds.names(target, rounds.DROPPED)):
            write_atomically(target / rounds.ROUNDS / name, rounds.verified_bytes(source / rounds.ROUNDS / name))
        touched |= {target: None} if rounds.names(target) else {}
    return [LatencyTable.read(folder) for folder in touched]


def _tables_named(folder: Path) -> list[Path]:
    tables = tables_at(folder)
    if not tables:
        what = f"the folder {folder} holds no latency table" if folder.is_dir() else f"there is no folder {folder}"
        raise TableError(f"{what}; name a store, or a table's own folder, which holds `{rounds.ROUNDS}/`")
    return tables
