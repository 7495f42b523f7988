"""The child's side of `child.Child`: read a job, run it, answer in JSON lines.

Teacher, text and tables stay loaded between jobs. SIGTERM asks the job to end where nothing is half done; the end of
its input, or the death of its parent, ends the process.
"""

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from distilsearch.errors import Interrupted
from distilsearch.progress import Progress

from ..work.wire import parsed, strict

PROGRESS_SECONDS = 0.25


def main() -> None:
    """Serve jobs until the parent closes its end."""
    between = _stoppable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with(int(sys.argv[1]))
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints goes to the log, not between the answers
    from ..jobs import perform

    for line in sys.stdin:
        request = parsed(line)
        place(request["threads"], request["cores"])
        text = perform(request["job"], _reporter(answers), between)
        answers.write(strict({"answer": text}) + "\n")


def _stoppable() -> Callable[[], None]:
    """What raises `Interrupted` once SIGTERM has come."""
    asked = False

    def note(*_: object) -> None:
        nonlocal asked
        asked = True

    def between() -> None:
        if asked:
            raise Interrupted("stopped; what was done is saved, and the same command goes on")

    signal.signal(signal.SIGTERM, note)
    return between


def _die_with(parent: int) -> None:
    """Ask the kernel to end this process when the thread that started it ends, so that nothing trains for nobody."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def place(threads: int | None, cores: Sequence[int]) -> None:
    """Compute with so many threads on these cores, also with the threads that compute libraries have started.

    None, and no cores, leave both as they are: what binds a meter's threads is part of what it measures.
    """
    if threads is not None:
        os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))  # for what is not loaded yet
        if (torch := sys.modules.get("torch")) is not None:
            torch.set_num_threads(threads)
    for thread in Path("/proc/self/task").iterdir() if cores else ():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread.name), cores)


def _reporter(answers: TextIO) -> Progress:
    last = 0.0

    def report(what: str, done: float, total: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PROGRESS_SECONDS or done >= total:
            last = now
            answers.write(strict({"progress": [what, done, total]}) + "\n")

    return report


if __name__ == "__main__":
    main()
