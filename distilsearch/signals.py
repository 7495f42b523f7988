"""The signals that ask a process to end: Ctrl-C, the TERM of schedulers and supervisors, the HUP of a closed terminal.

What a parent has told a process to ignore stays ignored, as `nohup` does with HUP.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Handler = Callable[[int, FrameType | None], None]


@contextmanager
def ending(handler: Handler) -> Iterator[None]:
    """Within it a handler gets the signals of `ENDING`; in other threads than the main one, which none reach, nothing
    is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {number: signal.getsignal(number) for number in ENDING}
    heeded = {number: before for number, before in former.items() if before not in (signal.SIG_IGN, None)}
    for number in heeded:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, before in heeded.items():
            signal.signal(number, before)


def end_now(number: int, frame: FrameType | None) -> None:
    """The handler that ends what is under way at once, as Ctrl-C does."""
    raise KeyboardInterrupt(number)


def name_of(error: KeyboardInterrupt) -> str:
    """What has ended it: "interrupted", or the signal that came from elsewhere."""
    number = number_of(error)
    return "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"


def number_of(error: KeyboardInterrupt) -> int:
    """The number of the signal that it stands for."""
    given = error.args[0] if error.args else signal.SIGINT
    return int(given) if given in ENDING else int(signal.SIGINT)


def exit_code(number: int) -> int:
    """How shells know a process that a signal has ended."""
    return 128 + number
