"""Writes to a study that nobody else writes to meanwhile, whatever it is kept in.

What lies in a database is known here by what it can do: SQLAlchemy is a third of what `status` would have to load, and
most runs keep a journal.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import TypeVar

from optuna.storages import BaseStorage

from .journal import Journal

T = TypeVar("T")


class Connected(BaseStorage):
    """A storage behind a connection that breaks.

    Attributes:
        outages: how often it has been gone, and has come back.
    """

    outages: int

    @abstractmethod
    def close(self) -> None:
        """Give its connections back; it can be used again."""

    @abstractmethod
    def alone(self, study: int | None, work: Callable[[], T]) -> T:
        """What `work` gives, done in one transaction while nobody else writes to the study; it may be done again."""


def alone(storage: BaseStorage, study: int | None, work: Callable[[], T]) -> T:
    """See `Connected.alone`; of a journal what was written before an error stays."""
    if isinstance(storage, Connected):
        return storage.alone(study, work)
    return storage.alone(work) if isinstance(storage, Journal) else work()
