"""How long work tells its caller where it stands: one callable, so that every room is free of terminals."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[str, float, float], None]
"""`progress(what, done, total)`: what is being done, and how much of it, in a unit of the caller's own.

A total of 0 is a remark, said once.
"""


def amount(done: float, total: float) -> str:
    """How much is done, in words.

    >>> amount(8.32682, 30), amount(21_070, 160_000)
    ('8.3 of 30', '21070 of 160000')
    """
    return " of ".join(f"{value:.0f}" if value == round(value) else f"{value:.1f}" for value in (done, total))


@contextmanager
def all_over(progress: Progress) -> Iterator[Progress]:
    """A progress for work that may fail or break off: when it is left, whatever was begun under it is told to be over.

    It is over with what was done of it, so that nobody is told of more.
    """
    under_way: dict[str, float] = {}

    def told(what: str, done: float, total: float) -> None:
        if done < total:
            under_way[what] = done
        elif total > 0:
            under_way.pop(what, None)
        progress(what, done, total)

    try:
        yield told
    finally:
        for what, done in under_way.items():
            progress(what, done or 1, done or 1)


def silent(what: str, done: float, total: float) -> None:
    """Tell nobody."""


Between = Callable[[], None]
"""Called between two steps of long work, where nothing is half done: it may take its time, or raise `Interrupted`."""


def nothing() -> None:
    """Go on at once."""
