"""What the driver of a run is doing, for whoever looks at its folder: a line beside his mark, which counts while he is
there.

The file is opened once and written over in place, a block of one length, so that telling costs no more than a write
into memory. Where it cannot be written nobody is told, and the run goes on.
"""

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from distilsearch import strict
from distilsearch.errors import RunError
from distilsearch.progress import Progress, amount

from .holding import Holder, driver_of

ACTIVITY = ".doing"
MOST = 200  # characters of what is said
LENGTH = 12 * MOST + 32  # bytes of the line: JSON writes a character in 12 of them at most
SECONDS = 1.0  # between two of one kind of work


class Activity:
    """A progress that passes everything on, and writes down what is under way: the outermost work, and the latest.

    Not all work says that it has ended: what has begun after some other work is over with it, and where it is not, for
    the two are side by side, it is back with its next word.
    """

    def __init__(self, file: int, progress: Progress, clock: Callable[[], float] = time.monotonic) -> None:
        self._file, self._progress, self._clock = file, progress, clock
        self._under_way: dict[str, tuple[float, float]] = {}  # in the order in which they began
        self._written: dict[str, float] = {}  # when, by the kind of work
        self._lock = threading.Lock()  # drivers of children report too

    def __call__(self, what: str, done: float, total: float) -> None:
        """Some work has come so far."""
        if total > 0:
            with self._lock:
                self._note(what, done, total)
        self._progress(what, done, total)

    def _note(self, what: str, done: float, total: float) -> None:
        if done < total:
            self._under_way[what] = done, total
        elif what in self._under_way:
            kinds = list(self._under_way)
            for over in kinds[kinds.index(what) :]:
                del self._under_way[over]
        now = self._clock()
        if now - self._written.get(what, now - SECONDS) >= SECONDS:
            self._written[what] = now
            kinds = list(self._under_way)
            parts = dict.fromkeys([*kinds[:1], *([what] if what in self._under_way else kinds[-1:])])
            self._write("; ".join(_words(part, *self._under_way[part]) for part in parts))

    def _write(self, words: str) -> None:
        line = json.dumps({"doing": words[:MOST]}).encode()
        with contextlib.suppress(OSError):
            os.pwrite(self._file, line.ljust(LENGTH), 0)


def _words(what: str, done: float, total: float) -> str:
    return f"{what}: {amount(done, total)}" if total > 1 else what


@contextlib.contextmanager
def shown_activity(folder: Path, progress: Progress) -> Iterator[Progress]:
    """Within it whoever looks at a run's folder sees what its driver, this process, tells the progress given here."""
    path = folder / ACTIVITY
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except OSError:
        yield progress
        return
    try:
        yield Activity(file, progress)
    finally:
        os.close(file)
        with contextlib.suppress(OSError):
            path.unlink()


def activity_of(folder: Path) -> tuple[Holder | None, str]:
    """Who drives the run of a folder, and what he is doing, in words; None where nobody does, or nobody can tell."""
    try:
        driver = driver_of(folder)
    except RunError:
        return None, ""
    return driver, read_activity(folder / ACTIVITY) if driver else ""


def at_work(folder: Path) -> str:
    """The same as half a sentence; "" where nobody drives it."""
    driver, activity = activity_of(folder)
    return f"{driver} is at work on it{f' ({activity})' if activity else ''}" if driver else ""


def read_activity(path: Path) -> str:
    """What a file says is done, in plain letters; "" where it says nothing that can be read."""
    try:
        words = strict.text(strict.table(strict.read_json(path), "what is done")["doing"], "what is done")
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return "".join(letter for letter in words[:MOST] if letter.isprintable())
