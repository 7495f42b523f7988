"""Full disks, told from all other errors whoever raises them, with the folder named: they are no failure of a trial.

Libraries wrap what the system says in classes of their own, and some keep its words alone, so both are looked at,
along the whole chain of causes.
"""

import errno
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import DiskFullError

FULL = (errno.ENOSPC, errno.EDQUOT)
WORDS = re.compile(r"no space left on device|os error (28|122)\b|disk quota exceeded|disk is full", re.IGNORECASE)
LEAST_BYTES = 64 << 10  # free: with less, whatever has just died has died of it


def is_full(error: BaseException | None) -> bool:
    """Whether a full disk is what an error comes from."""
    while error is not None:
        if isinstance(error, DiskFullError) or (isinstance(error, OSError) and error.errno in FULL):
            return True
        if WORDS.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def disk_full(error: BaseException, places: Iterable[Path]) -> DiskFullError:
    """The error that names the full disk: that of the file that could not be written, else the fullest of `places`."""
    if isinstance(error, DiskFullError):
        return error
    named = _named(error)
    place = named if named is not None else min(_there(places), key=_free, default=Path.cwd())
    return full_at(place, str(error).splitlines()[0])


def full_at(place: Path, why: str) -> DiskFullError:
    """The error for a full disk that a folder lies on."""
    return DiskFullError(
        f"the disk of {place} is full ({why}); free some space there and call again: what was done is kept, and no"
        " trial counts as failed"
    )


def without_room(places: Iterable[Path]) -> Path | None:
    """The first of some folders whose disk is as good as full; none where all have room."""
    return next((place for place in _there(places) if _free(place) < LEAST_BYTES), None)


@contextmanager
def full_disks_named(*places: Path) -> Iterator[None]:
    """Within it, whatever comes from a full disk is a `DiskFullError`."""
    try:
        yield
    except Exception as error:
        if not is_full(error):
            raise
        raise disk_full(error, places) from error


def _there(places: Iterable[Path]) -> list[Path]:
    return [place for place in places if place.is_dir()]


def _free(place: Path) -> int:
    """Bytes that may still be written there."""
    try:
        return shutil.disk_usage(place).free
    except OSError:
        return 0


def _named(error: BaseException | None) -> Path | None:
    """The folder of the file that an error names."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL and isinstance(error.filename, str | os.PathLike):
            return Path(error.filename).absolute().parent
        error = error.__cause__ or error.__context__
    return None
