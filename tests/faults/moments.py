"""Moments of a process that can be found again: its changes to files, and the locks it takes, counted.

All processes of one role add to one counter on the disk, so the so-manieth event happens once, in whichever of
them it falls, and not again in those that come after. With one process at work a number is the same moment each time;
with several it is as near as their waits for one another let it be.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WRITES = os.O_WRONLY | os.O_RDWR
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "fcntl.flock")
_armed: list["Moment"] = []  # audit hooks cannot be taken away: there is one, and this says what it does


class Moment:
    """What happens at an event of a role.

    Args:
        counter: the file that counts the events of the role.
        number: of the event, from 1; 0 only counts.
        action: what is done just before it; whatever it raises is raised by what the process was about to do.
    """

    def __init__(self, counter: Path, number: int = 0, action: Callable[[], object] = lambda: None) -> None:
        _armed.clear()  # in a fork, that of its parent, whose files are closed here
        self._number, self._action, self._counter = number, action, counter
        self._within = str(counter.parent)
        self._file = os.open(counter, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._busy = False

    def arm(self) -> None:
        """Count in this process from now on, and nothing else than this."""
        if not _armed:
            sys.addaudithook(_heard)
        _armed[:] = [self]

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Count an event, if it is one."""
        if self._busy or not self._counts(event, arguments):
            return
        self.tick()

    def tick(self) -> None:
        """An event."""
        self._busy = True
        try:
            os.write(self._file, b".")
            if os.fstat(self._file).st_size == self._number:
                struck(self._counter.parent)
                self._action()
        finally:
            self._busy = False

    def _counts(self, event: str, arguments: tuple[Any, ...]) -> bool:
        if event == "open":
            path, _, flags = arguments
            return isinstance(path, str) and bool(flags & WRITES) and path.startswith(self._within)
        return event in CHANGES and (not isinstance(arguments[0], str) or arguments[0].startswith(self._within))


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    for moment in _armed:
        moment.hear(event, arguments)


def struck(world: Path) -> None:
    """Note that a fault struck, and when."""
    with (world / "struck").open("a") as file:
        file.write(f"{time.monotonic()}\n")


def strokes(world: Path) -> list[float]:
    """When faults struck a world."""
    path = world / "struck"
    return [float(line) for line in path.read_text().split()] if path.exists() else []


def counted(counter: Path) -> int:
    """How many events there were."""
    return counter.stat().st_size if counter.exists() else 0
