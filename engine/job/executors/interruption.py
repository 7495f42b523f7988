"""A signal to end, twice: the first lets all that runs finish its step and save, the second ends everything now."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from distilsearch.errors import Interrupted
from distilsearch.progress import Between, Progress, silent
from distilsearch.signals import ending, exit_code

from .executor import Executor


@contextlib.contextmanager
def interruptible(executor: Executor, progress: Progress = silent) -> Iterator[Between]:
    """Within it the first Ctrl-C, SIGTERM or SIGHUP stops an executor, so that its futures raise `Interrupted`; the
    second is a `KeyboardInterrupt`, and closes the executor. In other threads than the main one it does nothing.

    Gives what work of this process, which no executor can stop, is to call between its steps: it raises `Interrupted`
    where the first signal has come.
    """
    asked = 0

    def first_or_second(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt(number)
        asked = number
        # the main thread may hold any lock at this moment, so another one does the work
        threading.Thread(target=_stop, args=(executor, progress, number), daemon=True).start()

    def between() -> None:
        if asked:
            raise Interrupted("stopped; what was done is saved, and the same command goes on")

    try:
        with ending(first_or_second):
            yield between
    except Interrupted as error:
        if asked:
            error.exit_code = exit_code(asked)
        raise
    except KeyboardInterrupt:
        executor.close()
        raise


def _stop(executor: Executor, progress: Progress, number: int) -> None:
    """Say so and stop; the terminal that it would be said on may be gone."""
    name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
    with contextlib.suppress(OSError):
        progress(f"stopping: what is at work finishes its step, and all is saved; {name} again ends now", 0, 1)
    executor.stop()
