"""How long each phase of a run has taken, and the run as a whole, over all its calls; each says so when it begins.

What a phase had no time for is noted beside it: a run of few minutes leaves out much, and its page says what.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from distilsearch.progress import Between, Progress, nothing, silent

from .ledger import Ledger

SPENT, PLAN, SHORT = "spent_seconds", "plan", "cut_short"  # what the ledger calls them
CUTS = "judge cuts"  # before the others: what is searched depends on it
UNTRAINED = "judge untrained students"
JUDGING_SHARE = 0.05  # of a run's minutes, that judging cuts and untrained students may take together
CUTS_SHARE = 0.5  # of that, for cuts


def cut_short(ledger: Ledger, what: str, words: str) -> None:
    """Note what a phase had no time for."""
    ledger.note(SHORT, {**shortened(ledger), what: words})


def shortened(ledger: Ledger) -> Mapping[str, str]:
    """What phases had no time for, in words, by phase."""
    noted: Mapping[str, str] = ledger.noted(SHORT) or {}
    return noted


class Phases:
    """Seconds by phase, in the order they began; the ledger keeps them. `between` is called before each."""

    def __init__(self, ledger: Ledger, progress: Progress = silent, between: Between = nothing) -> None:
        self._ledger = ledger
        self._progress, self._between = progress, between
        self.seconds: dict[str, float] = dict(ledger.noted("phases") or {})

    @contextmanager
    def phase(self, what: str) -> Iterator[None]:
        """Count the time inside."""
        self._between()
        start = time.perf_counter()
        self._progress(what, 0, 1)
        yield
        self._progress(what, 1, 1)
        self.took(what, time.perf_counter() - start)

    def took(self, what: str, seconds: float) -> None:
        """Count time that has passed elsewhere; of none there is nothing to say."""
        if seconds:
            self.seconds[what] = self.seconds.get(what, 0.0) + seconds
            self._ledger.note("phases", self.seconds)


class Stopwatch:
    """Seconds that a run has taken over all its calls; what a killed call had not noted is not counted.

    Args:
        started: when this call began, by `time.monotonic`.
    """

    def __init__(self, ledger: Ledger, started: float) -> None:
        self._ledger = ledger
        phases: dict[str, float] = ledger.noted("phases") or {}  # known of calls that were killed
        self._before: float = max(float(ledger.noted(SPENT) or 0.0), sum(phases.values()))
        self._started = started

    @property
    def seconds(self) -> float:
        """So far."""
        return self._before + time.monotonic() - self._started

    def note(self) -> None:
        """Let later calls know."""
        self._ledger.note(SPENT, round(self.seconds, 3))
