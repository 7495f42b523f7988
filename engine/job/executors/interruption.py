"""Ctrl-C, twice: the first lets all that runs finish its step and save, the second ends everything now."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from distilsearch.progress import Progress, silent

from .executor import Executor

SAID = "stopping: each training finishes its step and saves; Ctrl-C again ends now"


@contextlib.contextmanager
def interruptible(executor: Executor, progress: Progress = silent) -> Iterator[None]:
    """Within it the first Ctrl-C stops an executor, so that its futures raise `Interrupted`; the second is the usual
    `KeyboardInterrupt`, and closes the executor. In other threads than the main one, which signals never reach, it does
    nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = False

    def first_or_second(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        # the main thread may hold any lock at this moment, so another one does the work
        threading.Thread(target=_stop, args=(executor, progress), daemon=True).start()

    before = signal.signal(signal.SIGINT, first_or_second)
    try:
        yield
    except KeyboardInterrupt:
        executor.close()
        raise
    finally:
        signal.signal(signal.SIGINT, before)


def _stop(executor: Executor, progress: Progress) -> None:
    progress(SAID, 0, 1)
    executor.stop()
