"""The sessions that a table's rounds come from: how quiet the machine was in each, and taking one out again.

A session is one call that timed something. What one of them spoilt is left out of fits and measured again by itself
(`clock.Measured.disturbed`); one that should never have been is dropped by name. Its files are put aside, into
`dropped/`, and not fetched or merged again; moved back into `rounds/` by hand they count as before.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from distilsearch.errors import InputError
from distilsearch.home import write_atomically

from ..device import REGIME_ADDED
from . import rounds
from .derive import grouped

LEAST_DIGITS = 6


@dataclass(frozen=True)
class Session:
    """One session: when it began, rounds and cases it timed, and its median sentinel over the undisturbed one."""

    name: str
    began_unix: float
    rounds: int
    cases: int
    slowness: float


def sessions(folder: Path) -> list[Session]:
    """The sessions of the table in `folder`, in order of time."""
    parts = rounds.read_all(folder)
    ratios: dict[str, list[float]] = {}
    cases: dict[str, int] = {}
    for group in grouped(parts).values():
        for name, sentinel in zip(group.sessions, group.sentinels, strict=True):
            ratios.setdefault(name, []).append(sentinel / group.baseline)
        for name in set(group.sessions):
            cases[name] = cases.get(name, 0) + 1
    began: dict[str, float] = {}
    for part in parts:
        for row in part.rows.select(["session", "unix_seconds"]).to_pylist():
            began[row["session"]] = min(row["unix_seconds"], began.get(row["session"], row["unix_seconds"]))
    listed = [Session(n, began[n], len(r), cases[n], float(np.median(r))) for n, r in ratios.items()]
    return sorted(listed, key=lambda session: (session.began_unix, session.name))


def drop(folder: Path, session: str) -> tuple[str, int]:
    """Take a session, named by enough of its first digits, out of a table; returns its name and number of rounds.

    Raises:
        InputError: no session begins so, or several do.
    """
    parts = rounds.read_all(folder)
    names = sorted({name for part in parts for name in part.rows["session"].unique().to_pylist()})
    meant = [name for name in names if name.startswith(session)] if len(session) >= LEAST_DIGITS else []
    meant = [session] if session in names else meant
    if len(meant) != 1:
        raise InputError(
            f"expected one session of this table ({', '.join(names[:8])}{', ...' * (len(names) > 8)}) by at least"
            f" {LEAST_DIGITS} of its first digits; {session!r} names {len(meant)} (`distilsearch tables check --noisy`"
            " lists them)"
        )
    return meant[0], sum(_without(folder, part, meant[0]) for part in parts)


def _without(folder: Path, part: rounds.Rounds, session: str) -> int:
    """Put a file aside that holds rounds of a session, and write what else it holds anew; returns their number."""
    rest = part.rows.filter(pc.not_equal(part.rows["session"], session))
    count = len(part.rows) - len(rest)
    if count and len(rest):
        rounds.write(folder, _as_written(rest), part.device, part.stack)
    if count:
        aside = folder / rounds.DROPPED / part.name
        write_atomically(aside, rounds.verified_bytes(folder / rounds.ROUNDS / part.name))
        (folder / rounds.ROUNDS / part.name).unlink()
    return count


def _as_written(rows: pa.Table) -> pa.Table:
    """Without the columns that came later and say nothing."""
    silent = [name for name in rounds.ADDED if rows[name].unique().to_pylist() == [REGIME_ADDED[name]]]
    return rows.drop_columns(silent)
