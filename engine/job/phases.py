"""How long each phase of a run has taken, over all its calls."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from .ledger import Ledger


class Phases:
    """Seconds by phase, in the order they began; the ledger keeps them."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.seconds: dict[str, float] = dict(ledger.noted("phases") or {})

    @contextmanager
    def phase(self, what: str) -> Iterator[None]:
        """Count the time inside."""
        start = time.perf_counter()
        yield
        self.seconds[what] = self.seconds.get(what, 0.0) + time.perf_counter() - start
        self._ledger.note("phases", self.seconds)
