"""What befalls a process at its moment."""

import contextlib
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distilsearch.errors import DeviceError

from . import disks
from .world import World

Undo = Callable[[], object]
Action = Callable[[], object]
HOUR = 3600.0


def kill(number: int = signal.SIGKILL) -> Action:
    """A signal to the process itself."""
    return lambda: os.kill(os.getpid(), number)


def jump(hours: float) -> None:
    """The wall clock of this process is wrong from now on."""
    real = time.time
    time.time = lambda: real() + hours * HOUR
    time.time_ns = lambda: int(time.time() * 1e9)


def no_memory() -> None:
    """What an allocation raises that cannot be had."""
    raise MemoryError("unable to allocate 1.00 GiB")


def diverge() -> None:
    """The loss of the next training that takes a step is none, from there to its end."""
    from distilsearch.distill.steps.runs import Run

    weighed, hurt = Run._weighed, list[Any]()

    def broken(self: Any, parts: Any, stage: Any) -> Any:
        hurt[:] = hurt or [self]
        value = weighed(self, parts, stage)
        return value * float("nan") if self is hurt[0] else value

    Run._weighed = broken  # type: ignore[method-assign]


def lose_meter() -> None:
    """The device that is timed is there no longer."""
    raise DeviceError("the device 'cpu' is gone: its driver does not answer")


def lose_trainer(world: World) -> Action:
    """The device that trains is there no longer, for this process and those that come after it."""

    def train(*_: object) -> None:
        raise RuntimeError("CUDA error: device-side failure: the device is lost")

    def lose() -> None:
        from distilsearch.engine.job.work import work

        (world.root / "gone").touch()
        work.distilled = train  # type: ignore[assignment]
        train()

    return lose


def lock_database(path: Path, seconds: float) -> Action:
    """Another process holds the database for itself, from when it gets it, for so long or until `release`."""

    def lock() -> None:
        if os.fork() == 0:
            os.closerange(0, 4096)
            path.with_name("holder").write_text(str(os.getpid()))
            while True:
                with contextlib.suppress(sqlite3.Error):
                    connection = sqlite3.connect(path, timeout=60.0, isolation_level=None)
                    connection.execute("BEGIN EXCLUSIVE")
                    time.sleep(seconds)
                    os._exit(0)

    return lock


def release(path: Path) -> None:
    """End the process that holds a database."""
    holder = path.with_name("holder")
    if holder.exists():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(holder.read_text()), signal.SIGKILL)
        holder.unlink()


def take_away(path: Path) -> None:
    """A file is not where it was."""
    if path.exists():
        path.rename(path.with_name(f"{path.name}.away"))


def give_back(path: Path) -> None:
    """It is there again."""
    away = path.with_name(f"{path.name}.away")
    if away.exists():
        away.replace(path)


@contextmanager
def small_disk(folder: Path) -> Iterator[tuple[Action, Undo]]:
    """A disk that can be filled, and emptied."""
    with disks.small(folder):
        yield lambda: disks.fill(folder), lambda: disks.empty(folder)


@contextmanager
def writable(folder: Path) -> Iterator[tuple[Action, Undo]]:
    """A folder that can be forbidden, and allowed."""
    try:
        yield lambda: disks.forbid(folder), lambda: disks.allow(folder)
    finally:
        disks.allow(folder)


@contextmanager
def plain(action: Action, undo: Undo = lambda: None) -> Iterator[tuple[Action, Undo]]:
    """What needs nothing around it."""
    try:
        yield action, undo
    finally:
        undo()
