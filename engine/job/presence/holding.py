"""Who is at work on a run's folder, by files that are locked: the system frees them when their holder dies.

So nobody must guess from clocks, process numbers or names of hosts, which a restarted container does not keep. One
process drives a run; whoever comes second waits and is told whom for. Each ledger marks its presence beside it, and the
leases of one whose mark is free are open to others at once.
"""

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from distilsearch import strict
from distilsearch.disks import disk_full, is_full
from distilsearch.errors import RunError
from distilsearch.home import ensure_folder
from distilsearch.places import DRIVER, own_run
from distilsearch.progress import Progress, silent

HANDS = ".hands"
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Holder:
    """Who holds a mark, as far as is known."""

    host: str = ""
    pid: int = 0
    since: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Holder":
        """The inverse of `to_json`."""
        host, since = (strict.text(content[name], name) for name in ("host", "since"))
        return cls(host, strict.whole(content["pid"], "pid"), since)

    def __str__(self) -> str:
        if not self.pid:
            return "another process"
        return f"process {self.pid} on {self.host} (since {self.since})"


class Mark:
    """A file that this process has locked; see `marked`."""

    def __init__(self, path: Path, file: int) -> None:
        self.path, self._file = path, file

    def release(self, remove: bool = True) -> None:
        """Give it back; without `remove` the file stays, and says that its holder has gone."""
        if remove:
            with contextlib.suppress(OSError):
                self.path.unlink()
        os.close(self._file)


def marked(path: Path) -> Mark | None:
    """The mark at a path, with who holds it from now on; None where somebody living holds it.

    Raises:
        RunError: it cannot be written, or the file system knows no locks.
    """
    ensure_folder(path.parent)
    try:
        while True:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)  # not a stranger's link
            if not _locked(file):
                return None
            if _same(path, file):
                _sign(file)
                return Mark(path, file)
            os.close(file)  # its former holder has just removed it
    except OSError as error:
        if is_full(error):
            raise disk_full(error, [path.parent]) from error
        raise RunError(f"cannot lock {path}: {error.strerror or error}; name a folder on a local disk") from error


def holder_of(path: Path) -> Holder:
    """Who has signed a mark."""
    try:
        return Holder.from_json(strict.table(strict.read_json(path), "a mark"))
    except (OSError, ValueError, KeyError, TypeError):
        return Holder()


@contextlib.contextmanager
def driving(folder: Path, progress: Progress = silent, sleep: Callable[[float], None] = time.sleep) -> Iterator[None]:
    """Drive the run of a folder alone; while another process does, wait, and say who it is.

    Raises:
        RunError: the folder is somebody else's, or cannot be written.
    """
    own_run(folder)
    fresh, waited = not folder.exists(), ""
    while (mark := marked(folder / DRIVER)) is None:
        waited = f"waiting for {holder_of(folder / DRIVER)}, which is at work on the run in {folder}"
        progress(waited, 0, 1)
        sleep(POLL_SECONDS)
    if waited:
        progress(waited, 1, 1)
    try:
        yield
    finally:
        mark.release()
        if fresh:
            with contextlib.suppress(OSError):  # what was refused leaves nothing behind
                folder.rmdir()


def driver_of(folder: Path) -> Holder | None:
    """Who drives the run of a folder at this moment; None where nobody does.

    Raises:
        RunError: that cannot be looked at.
    """
    path = folder / DRIVER
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # whoever looks may be allowed no more
        free = _locked(file, fcntl.LOCK_SH)  # so that two who look are not in each other's way
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunError(f"cannot look at {path}: {error.strerror or error}") from error
    if free:
        os.close(file)
    return None if free else holder_of(path)


class Presence:
    """The marks of all ledgers of a run's folder.

    Args:
        folder: the run's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / HANDS
        self._own: Mark | None = None

    def enter(self, holder: str) -> None:
        """Mark a ledger of this process as present, if it is not yet."""
        self._own = self._own or marked(self._folder / holder)

    def leave(self, remove: bool = True) -> None:
        """It is no longer; `remove` where it has left no lease behind."""
        if self._own is not None:
            self._own.release(remove)
            self._own = None
        with contextlib.suppress(OSError):
            self._folder.rmdir()

    def sweep(self, needed: Container[str]) -> None:
        """Remove the marks of all that have ended, but of those that a lease still names."""
        with contextlib.suppress(OSError):
            for path in list(self._folder.iterdir()):
                if path.name not in needed and self.gone(path.name):
                    self.forget(path.name)

    def gone(self, holder: str) -> bool:
        """Whether one that had marked its presence has ended: its mark is free, or absent."""
        try:
            file = os.open(self._folder / holder, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        except OSError:
            return False  # nobody can tell; the lease will
        if _locked(file):
            os.close(file)
            return True
        return False

    def living(self) -> str:
        """Some other one that is at work, in words; "" where none is."""
        with contextlib.suppress(OSError):
            for path in sorted(self._folder.iterdir()):
                if (self._own is None or path != self._own.path) and not self.gone(path.name):
                    return str(holder_of(path))
        return ""

    def forget(self, holder: str) -> None:
        """Remove the mark of one that has ended and has no lease any more."""
        with contextlib.suppress(OSError):
            (self._folder / holder).unlink()


def _locked(file: int, how: int = fcntl.LOCK_EX) -> bool:
    """Lock an open file, or close it where somebody else has locked it."""
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return False
    except BaseException:
        os.close(file)
        raise
    return True


def _same(path: Path, file: int) -> bool:
    """Whether an open file is still the one at its path."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except FileNotFoundError:
        return False


def _sign(file: int) -> None:
    since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    content = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": since})
    with contextlib.suppress(OSError):  # on a full disk it is held all the same
        os.ftruncate(file, 0)
        os.pwrite(file, content.encode(), 0)
