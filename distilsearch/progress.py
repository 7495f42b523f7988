"""How long work tells its caller where it stands: one callable, so that every room is free of terminals."""

from collections.abc import Callable

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


def silent(what: str, done: float, total: float) -> None:
    """Tell nobody."""


Between = Callable[[], None]
"""Called between two steps of long work, where nothing is half done: it may take its time, or raise `Interrupted`."""


def nothing() -> None:
    """Go on at once."""
