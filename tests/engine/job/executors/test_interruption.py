"""The first signal to end stops an executor and lets it save, the second closes it."""

import signal
import threading
from collections.abc import Iterator

import pytest

from distilsearch.engine.job.executors.interruption import interruptible
from distilsearch.errors import Interrupted
from distilsearch.signals import ENDING


class Stoppable:
    """An executor that notes what it was told."""

    workers = 1

    def __init__(self) -> None:
        self.stopped, self.closed = threading.Event(), False

    def stop(self) -> None:
        self.stopped.set()

    def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def heeded() -> Iterator[None]:
    """What asks to end is heeded also in a suite that was started to ignore it, as by nohup."""
    former = {number: signal.getsignal(number) for number in ENDING}
    for number in (number for number, before in former.items() if before is signal.SIG_IGN):
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, before in former.items():
        signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_saves_and_says_so_and_the_second_ends_now(number: signal.Signals) -> None:
    executor, said = Stoppable(), list[str]()

    def once() -> None:
        with interruptible(executor, lambda what, *_: said.append(what)):
            signal.raise_signal(number)
            assert executor.stopped.wait(600)
            raise Interrupted("what was done is saved")

    def twice() -> None:
        with interruptible(executor):
            signal.raise_signal(number)
            signal.raise_signal(number)

    with pytest.raises(Interrupted) as caught:
        once()
    assert caught.value.exit_code == 128 + number
    assert "what is at work finishes its step, and all is saved" in said[0]
    assert not executor.closed
    with pytest.raises(KeyboardInterrupt):
        twice()
    assert executor.closed


def test_where_nobody_reads_what_is_said_it_stops_all_the_same() -> None:
    executor = Stoppable()

    def gone(*_: object) -> None:
        raise OSError("the terminal is gone")

    with interruptible(executor, gone):
        signal.raise_signal(signal.SIGHUP)
        assert executor.stopped.wait(600)
