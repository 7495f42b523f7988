"""How commands show that they are at work: a bar for each kind of work on a terminal, a line now and then elsewhere."""

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from . import signals
from .errors import Interrupted
from .progress import amount

if TYPE_CHECKING:
    from .progress import Progress

LIBRARIES = "loading libraries"
WORK = ("preparing", "timing")  # what a sweep says of any case
PROBES = "peaks, bandwidth and launches of the device"
WAITING = "waiting"
FAR_OVER, FEW_SECONDS, MOST_NAMED = 1.5, 2.0, 4
LINE_SECONDS = 15.0  # between two lines of one kind of work, where there is no terminal


@contextmanager
def shown_progress() -> Iterator["Progress"]:
    """A bar for each kind of work, on a terminal; a line now and then elsewhere.

    An interruption says how to go on, whether it was Ctrl-C or a signal from elsewhere. That nobody reads what is said,
    because the terminal is gone, ends nothing.
    """
    try:
        with signals.ending(signals.end_now), _shown() as progress:
            yield _unheard(progress)
    except KeyboardInterrupt as error:
        interrupted = Interrupted(
            f"{signals.name_of(error)}; the same command goes on, and of training does at most a minute again"
        )
        interrupted.exit_code = signals.exit_code(signals.number_of(error))
        raise interrupted from None


def _unheard(progress: "Progress") -> "Progress":
    def report(what: str, done: float, total: float) -> None:
        with suppress(OSError):
            progress(what, done, total)

    return report


@contextmanager
def loading(progress: "Progress") -> Iterator[None]:
    """Say that heavy libraries are imported, which takes seconds where they are not in memory."""
    progress(LIBRARIES, 0, 1)
    yield
    progress(LIBRARIES, 1, 1)


class Spending:
    """A progress that passes everything on, and knows where the time went: seconds by what was last said to begin.

    What is prepared and timed before a plan is announced are the probes, which no budget leaves out.
    """

    def __init__(self, progress: "Progress", clock: Callable[[], float] = time.monotonic) -> None:
        self._progress, self._clock = progress, clock
        self._started = self._last = clock()
        self._what, self._planned = "", False
        self.seconds: dict[str, float] = {}

    def __call__(self, what: str, done: float, total: float) -> None:
        self._count()
        self._planned |= what not in (LIBRARIES, *WORK) and not what.startswith(WAITING)
        self._what = PROBES if what in WORK and not self._planned else what
        self._progress(what, done, total)

    def _count(self) -> None:
        now = self._clock()
        if self._what:
            self.seconds[self._what] = self.seconds.get(self._what, 0.0) + now - self._last
        self._last = now

    def over(self, budget: float | None) -> list[str]:
        """Why it took far longer than a budget of seconds; nothing where it did not."""
        self._count()
        took = self._last - self._started
        if budget is None or took <= max(FAR_OVER * budget, budget + FEW_SECONDS):
            return []
        longest = sorted(self.seconds.items(), key=lambda entry: -entry[1])[:MOST_NAMED]
        where = ", ".join(f"{what} {seconds:.0f} s" for what, seconds in longest if seconds >= 1)
        return [
            f"this took {took:.0f} s, not the {budget:g} s asked for ({where}): a budget ends what is begun anew; what"
            " every table needs is measured first, and what has begun is finished"
        ]


@contextmanager
def stopped_by_interrupt() -> Iterator[Callable[[], None]]:
    """The first Ctrl-C, SIGTERM or SIGHUP lets the step that is under way end and saves, at the second all ends now.

    Gives what is to be called between steps.
    """
    asked = 0

    def ask(number: int, frame: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt(number)
        asked = number
        with suppress(OSError):
            print("stopping after this step; press again to end now", file=sys.stderr)

    def between() -> None:
        if asked:
            interrupted = Interrupted("stopped; the same command continues where it was")
            interrupted.exit_code = signals.exit_code(asked)
            raise interrupted

    with signals.ending(ask):
        yield between


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
                bars.console.print(what, markup=False, highlight=False, soft_wrap=True)
                return
            if what not in tasks or (done == 0 and bars.tasks[tasks[what]].finished):
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total, visible=done < total)

        yield report


def _lines() -> Callable[[str, float, float], None]:
    said: dict[str, tuple[float, float]] = {}

    def report(what: str, done: float, total: float) -> None:
        if total == 0:
            print(what, file=sys.stderr, flush=True)
            return
        now, (last, before) = time.monotonic(), said.get(what, (-math.inf, math.nan))
        if now - last > LINE_SECONDS and done != before:
            said[what] = now, done
            share = f": {amount(done, total)}" if total > 1 else "" if done < total else ": done"
            print(f"{what}{share}", file=sys.stderr, flush=True)

    return report
