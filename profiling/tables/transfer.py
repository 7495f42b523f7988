"""Tables on their way: to and from a folder or any URL that fsspec opens, and two of them side by side.

Only rounds travel. Their names are the hashes of their content, so that a transfer is a union, can be broken off
and repeated, and a damaged file is noticed where it arrives.
"""

import glob
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distilsearch.errors import InputError, TableError
from distilsearch.hiding import hidden, hidden_in
from distilsearch.home import write_atomically

from . import rounds
from .store import all_tables, merge, own_store, store_folder
from .table import LatencyTable


@dataclass(frozen=True)
class Difference:
    """Two tables on the operators of one kind: rows in both, the median and 90th percentile of |b / a - 1|."""

    kind: str
    common: int
    only_a: int
    only_b: int
    median_ratio: float
    median: float
    p90: float


def push(url: str, store: Path | str | None = None, only: tuple[str, str] | None = None) -> int:
    """Send the rounds of all tables of a store that are not at `url` yet; returns how many files went.

    `only`: the fingerprints of one table's device and stack.
    """
    system, root = _opened(url)
    if _is_folder(url):
        own_store(root)
    folders, sent = [path for path in all_tables(store) if only in (None, (path.parent.name, path.name))], 0
    if not folders:
        raise TableError(f"the store {store_folder(store)} holds no latency table to send")
    for folder in folders:
        target = f"{root}/{folder.parent.name}/{folder.name}/{rounds.ROUNDS}"
        system.makedirs(target, exist_ok=True)
        there = {Path(name).name for name in system.ls(target, detail=False)}
        for name in sorted(set(rounds.names(folder)) - there):
            part = f"{target}/.{name}.{uuid.uuid4().hex}.part"  # others may send the same at the same time
            with system.open(part, "wb") as file:
                file.write(rounds.verified_bytes(folder / rounds.ROUNDS / name))
            system.mv(part, f"{target}/{name}")
            sent += 1
    return sent


def pull(
    url: str, store: Path | str | None = None, only: tuple[str, str] = ("*", "*"), absent_ok: bool = False
) -> list[LatencyTable]:
    """Fetch the rounds at `url` that a store lacks; returns the tables touched. Damaged files are refused.

    `only`: the fingerprints of one table's device and stack.
    """
    own_store(store)
    system, root = _opened(url)
    pattern = f"{glob.escape(root)}/{only[0]}/{only[1]}/{rounds.ROUNDS}/*.parquet"
    names = sorted(str(name) for name in system.glob(pattern))
    if not names and not absent_ok:
        raise TableError(
            f"there is no latency table at {hidden(url)}; expected DEVICE/STACK/{rounds.ROUNDS}/*.parquet below it"
        )
    here = store_folder(store)
    with tempfile.TemporaryDirectory() as temporary:
        folders: dict[Path, None] = {}
        for name in names:
            place = Path(*Path(name).parts[-4:])
            if not (here / place).exists() and not (here / place.parents[1] / rounds.DROPPED / place.name).exists():
                write_atomically(Path(temporary) / place, system.cat_file(name))
                folders[Path(temporary) / place.parents[1]] = None
        return merge(list(folders), store)


def _opened(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it."""
    from fsspec.core import url_to_fs

    try:
        system, root = url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise InputError(f"cannot open {hidden(url)!r}: {hidden_in(error, url)}") from None
    return system, str(root).rstrip("/")


def _is_folder(url: str) -> bool:
    """Whether it is of this machine's own file system."""
    return "::" not in url and url.partition("://")[0] in ("file", "local", url)


def differences(a: LatencyTable, b: LatencyTable) -> list[Difference]:
    """Two tables compared per kind of operator, on what both have measured in the same regime."""
    first, second = _seconds(a), _seconds(b)
    rows = []
    for kind in sorted({key[0] for key in first.keys() | second.keys()}):
        ours, theirs = ({k: v for k, v in table.items() if k[0] == kind} for table in (first, second))
        common = sorted(ours.keys() & theirs.keys(), key=str)
        ratios = np.array([theirs[key] / ours[key] for key in common])
        errors = np.abs(ratios - 1)
        figures = [float(np.median(ratios)), *map(float, np.quantile(errors, (0.5, 0.9)))] if common else [np.nan] * 3
        rows.append(Difference(kind, len(common), len(ours) - len(common), len(theirs) - len(common), *figures))
    return rows


def _seconds(table: LatencyTable) -> Mapping[tuple[str, object, object], float]:
    """Seconds by (kind, what, regime); whole models are the kind `model`."""
    rows: dict[tuple[str, object, object], float] = {
        (row.operator.kind, row.operator, row.regime): row.measured.seconds_p10
        for row in table.operators
        if row.measured.usable
    }
    return rows | {
        ("model", row.architecture, row.serving): row.measured.seconds_p10
        for row in table.models
        if row.measured.usable
    }
