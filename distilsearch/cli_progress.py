"""How commands show that they are at work: a bar for each kind of work on a terminal, a line now and then elsewhere."""

import math
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .errors import Interrupted

if TYPE_CHECKING:
    from .progress import Progress

LINE_SECONDS = 15.0  # between two lines of one kind of work, where there is no terminal


@contextmanager
def shown_progress() -> Iterator["Progress"]:
    """A bar for each kind of work, on a terminal; a line now and then elsewhere. An interruption says how to go on."""
    try:
        with _shown() as progress:
            yield progress
    except KeyboardInterrupt:
        raise Interrupted("interrupted; the same command goes on, at most a minute of training is done again") from None


@contextmanager
def stopped_by_interrupt() -> Iterator[Callable[[], None]]:
    """The first Ctrl-C lets the step that is under way end and saves, at the second all ends now.

    Gives what is to be called between steps.
    """
    import signal

    asked = False

    def ask(*_: object) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGINT, former)
        print("stopping after this step; press again to end now", file=sys.stderr)

    def between() -> None:
        if asked:
            raise Interrupted("stopped; the same command continues where it was")

    former = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread():  # no place to ask for signals
        yield between
        return
    signal.signal(signal.SIGINT, ask)
    try:
        yield between
    finally:
        signal.signal(signal.SIGINT, former)


@contextmanager
def _shown() -> Iterator["Progress"]:
    if not sys.stderr.isatty():
        yield _lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def report(what: str, done: float, total: float) -> None:
            if total == 0:
                bars.console.print(what, highlight=False, soft_wrap=True)
                return
            if what not in tasks or (done == 0 and bars.tasks[tasks[what]].finished):
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total, visible=done < total)

        yield report


def _lines() -> Callable[[str, float, float], None]:
    import time

    said: dict[str, tuple[float, float]] = {}

    def report(what: str, done: float, total: float) -> None:
        if total == 0:
            print(what, file=sys.stderr, flush=True)
            return
        now, (last, before) = time.monotonic(), said.get(what, (-math.inf, math.nan))
        if now - last > LINE_SECONDS and done != before:
            said[what] = now, done
            amount = f": {done:g} of {total:g}" if total > 1 else "" if done < total else ": done"
            print(f"{what}{amount}", file=sys.stderr, flush=True)

    return report
