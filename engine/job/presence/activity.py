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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distilsearch import strict
from distilsearch.errors import RunError
from distilsearch.progress import Progress, amount

from .holding import Holder, driver_of

ACTIVITY = ".doing"
MOST = 200  # characters of what is said
MOST_PHASE = 60  # and of the name of a phase
LENGTH = 12 * (MOST + MOST_PHASE) + 128  # bytes of the line: JSON writes a character in 12 of them at most
SECONDS = 1.0  # between two of one kind of work that goes on; its beginning and its end are written at once
SILENT_SECONDS = 10.0  # from which on it is said for how long there was no word


@dataclass(frozen=True)
class Doing:
    """What a driver is at.

    Attributes:
        words: the outermost work, and the latest; "" where nothing is known.
        phase: the name of the outermost work, "" between two of them or where nothing is known.
        since: when that began, in seconds of Unix; None where that is not known.
        heard: when the latest word came, in the same.
    """

    words: str = ""
    phase: str = ""
    since: float | None = None
    heard: float | None = None

    def seconds(self, now: float) -> float:
        """How long the phase has lasted at a moment, in seconds; 0 where that is not known."""
        return max(0.0, now - self.since) if self.phase and self.since is not None else 0.0

    def said(self, now: float) -> str:
        """The words, and for how long nothing has been heard since, where that is long."""
        silent = 0.0 if self.heard is None else now - self.heard
        return self.words + (f" (no word for {silent:.0f} s)" if self.words and silent >= SILENT_SECONDS else "")

    @classmethod
    def from_json(cls, content: Any) -> "Doing":
        """Out of a file, in plain letters; a `ValueError` or `KeyError` where it says nothing that can be read."""
        fields = strict.table(content, "what is done")
        since, heard = (fields.get(name) for name in ("since", "heard"))
        return cls(
            _plain(strict.text(fields["doing"], "what is done"), MOST),
            _plain(strict.text(fields.get("phase", ""), "a phase"), MOST_PHASE),
            None if since is None else strict.number(since, "since"),
            None if heard is None else strict.number(heard, "heard"),
        )


NOTHING = Doing()


@dataclass
class _Work:
    """Work that is under way: how far it is, since when, and when it was last heard of, by the clock of Unix."""

    done: float
    total: float
    began: float
    heard: float


class Activity:
    """A progress that passes everything on, and writes down what is under way: the outermost work, and the latest.

    Not all work says that it has ended: what has begun after some other work is over with it, and where it is not, for
    the two are side by side, it is back with its next word.
    """

    def __init__(self, file: int, progress: Progress, clock: Callable[[], float] = time.time) -> None:
        self._file, self._progress, self._clock = file, progress, clock
        self._under_way: dict[str, _Work] = {}  # in the order in which they began
        self._written: dict[str, float] = {}  # when, by the kind of work
        self._lock = threading.Lock()  # drivers of children report too

    def __call__(self, what: str, done: float, total: float) -> None:
        """Some work has come so far."""
        if total > 0:
            with self._lock:
                self._note(what, done, total)
        self._progress(what, done, total)

    def _note(self, what: str, done: float, total: float) -> None:
        now, kinds = self._clock(), list(self._under_way)
        if goes_on := done < total and what in self._under_way:
            self._under_way[what] = _Work(done, total, self._under_way[what].began, now)
        elif done < total:
            self._under_way[what] = _Work(done, total, now, now)
        elif what in self._under_way:
            for over in kinds[kinds.index(what) :]:
                del self._under_way[over]
        else:
            return  # it has said so already
        if not (goes_on and abs(now - self._written.get(what, -SECONDS)) < SECONDS):
            self._written[what] = now
            self._write(self._doing(now))

    def _doing(self, now: float) -> Doing:
        """The outermost work and, of the others, the one that was last heard of."""
        if not self._under_way:
            return Doing(heard=now)
        (phase, outer), *others = self._under_way.items()
        latest = [max(others, key=lambda one: one[1].heard)] if others else []
        words = "; ".join(_words(what, work) for what, work in [(phase, outer), *latest])
        return Doing(words[:MOST], phase[:MOST_PHASE], round(outer.began, 1), round(now, 1))

    def _write(self, doing: Doing) -> None:
        content = {"doing": doing.words, "phase": doing.phase, "since": doing.since, "heard": doing.heard}
        with contextlib.suppress(OSError):
            os.pwrite(self._file, json.dumps(content).encode().ljust(LENGTH), 0)


def _words(what: str, work: _Work) -> str:
    return f"{what}: {amount(work.done, work.total)}" if work.total > 1 else what


def _plain(text: str, most: int) -> str:
    return "".join(letter for letter in text[:most] if letter.isprintable())


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


def activity_of(folder: Path) -> tuple[Holder | None, Doing]:
    """Who drives the run of a folder, and what he is doing; None where nobody does, or nobody can tell."""
    try:
        driver = driver_of(folder)
    except RunError:
        return None, NOTHING
    return driver, read_activity(folder / ACTIVITY) if driver else NOTHING


def at_work(folder: Path) -> str:
    """The same as half a sentence; "" where nobody drives it."""
    driver, doing = activity_of(folder)
    return f"{driver} is at work on it{f' ({doing.words})' if doing.words else ''}" if driver else ""


def read_activity(path: Path) -> Doing:
    """What a file says is done; nothing where it says nothing that can be read."""
    try:
        return Doing.from_json(strict.read_json(path))
    except (OSError, ValueError, KeyError, TypeError):
        return NOTHING
