"""Who trains what, where several processes share one archive: a claim is won by one of them, and it dies with it.

A claim is a folder named by the key, with one file named by its holder. All that decides is one rename of the file
system, so it holds on shared ones: a folder with a file in it is renamed onto an absent or empty one alone (the claim
is won), and a file is renamed away from under its holder once (the claim is taken over). The file holds a counter that
the holder's heartbeat moves. Nobody reads another's clock: a claim is dead when its counter has not moved for
`PATIENCE_SECONDS` of the observer's own monotonic time, or at once when its process on this host is gone.
"""

import contextlib
import hashlib
import os
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from distilsearch.errors import RunError
from distilsearch.home import ensure_folder

PATIENCE_SECONDS = 60.0  # without a move of the counter, after which a claim is dead
BEAT_SECONDS = 5.0
POLL_SECONDS = 0.5
DIGITS = 20  # of the counter


@dataclass(frozen=True)
class Pace:
    """How claims see time; tests bring their own clock."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    patience: float = PATIENCE_SECONDS
    beat: float = BEAT_SECONDS
    poll: float = POLL_SECONDS


class Claim:
    """A claim that this process has won; `held` tells whether it still has it."""

    def __init__(self, path: Path, pace: Pace) -> None:
        self._path = path
        self._counter = 0
        self._released = threading.Event()
        self._heart = threading.Thread(target=self._beat, args=(pace.beat,), daemon=True, name=f"claim {path.name}")
        self._heart.start()

    @property
    def held(self) -> bool:
        """Whether nobody has taken it over meanwhile."""
        return self._path.exists()

    def release(self) -> None:
        """Give it back."""
        self._released.set()
        self._heart.join()
        self._path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # another's by now, or gone with its trial
            self._path.parent.rmdir()

    def _beat(self, seconds: float) -> None:
        while not self._released.wait(seconds):
            self._counter += 1
            try:  # in place: a file that was renamed away is not made anew
                with self._path.open("r+b") as file:
                    file.write(b"%0*d" % (DIGITS, self._counter))
            except FileNotFoundError:
                return
            except OSError:  # a full disk or a server that is away for a moment; others see a counter that rests
                continue


@dataclass
class Claims:
    """The claims in one folder, as one observer sees them."""

    folder: Path
    pace: Pace = field(default_factory=Pace)
    _seen: dict[Path, tuple[bytes, float]] = field(default_factory=dict)  # by file: its counter, and since when

    def claim(self, key: str) -> Claim | None:
        """The claim of a key, where it is free or its holder is dead; none where a living one holds it."""
        place = ensure_folder(self.folder) / key
        own = place / f"{_me()}.{uuid.uuid4().hex}"
        for other in self._holders(place):
            if not self._dead(other):
                return None
            if _renamed(other, own):
                self._seen.pop(other, None)
                return Claim(own, self.pace)
        return Claim(own, self.pace) if _won(own) else None

    def holder(self, key: str) -> str | None:
        """Who holds a claim now, in words; none where nobody living does."""
        for other in self._holders(self.folder / key):
            if not self._dead(other):
                host, pid, *_ = other.name.split(".")
                return f"process {pid}" if host == _host() else f"process {pid} of another host"
        return None

    @contextlib.contextmanager
    def waited(self, key: str, waiting: Callable[[str], None] | None = None) -> Iterator[Claim]:
        """Hold the claim of a key, once it is free; `waiting` is told who holds it meanwhile."""
        while (claim := self.claim(key)) is None:
            if waiting is not None:
                waiting(self.holder(key) or "another process")
            self.pace.sleep(self.pace.poll)
        try:
            yield claim
        finally:
            claim.release()

    def _holders(self, place: Path) -> list[Path]:
        try:
            return sorted(path for path in place.iterdir() if not path.name.startswith("."))  # as NFS leaves some
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RunError(f"cannot read the claims in {place}: {error.strerror or error}") from error

    def _dead(self, path: Path) -> bool:
        """Whether a holder is gone: its process, if it was of this host, or the beat of its heart."""
        host, pid, started, *_ = [*path.name.split("."), "", "", ""]
        if host == _host() and _started(pid) != started:
            return True
        try:
            counter = path.read_bytes()
        except OSError:
            return False  # it has just been released or taken over
        before, since = self._seen.get(path, (None, 0.0))
        if counter != before:
            self._seen[path] = counter, self.pace.clock()
            return False
        return self.pace.clock() - since > self.pace.patience


def _won(own: Path) -> bool:
    """Put a folder with the own file in the claim's place, which succeeds where that is absent or empty."""
    place = own.parent
    fresh = place.with_name(f".{own.name}")
    try:
        fresh.mkdir()
        (fresh / own.name).write_bytes(b"%0*d" % (DIGITS, 0))
        with contextlib.suppress(OSError):  # a server that repeats a request may say no to what it has done
            fresh.rename(place)
        return own.exists()
    except OSError as error:
        raise RunError(f"cannot write claims in {place.parent}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _renamed(other: Path, own: Path) -> bool:
    with contextlib.suppress(OSError):
        other.rename(own)
    return own.exists()


def _me() -> str:
    return f"{_host()}.{os.getpid()}.{_started(str(os.getpid()))}"


def _host() -> str:
    """Where process numbers mean what they mean here: this boot of this host, in this namespace of processes."""
    facts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        facts += [Path("/proc/sys/kernel/random/boot_id").read_text(), str(Path("/proc/self/ns/pid").readlink())]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]


def _started(pid: str) -> str:
    """When a process of this host began, in ticks since boot; empty where it is gone, or ended and not yet buried."""
    try:
        state, *fields = Path(f"/proc/{int(pid)}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return ""
    return "" if state in "ZX" else fields[18]
