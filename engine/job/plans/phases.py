"""How long each phase of a run has taken, and the run as a whole, over all its calls; each says so when it begins.

What a phase had no time for is noted beside it: a run of few minutes leaves out much, and its page says what.

Notable: several drivers of one study in a database each note their own times, under their own name. A driver's page
says his, and beside them those of all.
"""

import hashlib
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from distilsearch.progress import Between, Progress, nothing, silent

from ...report.schema import Phase, ResultFile
from ..ledger import Ledger

if TYPE_CHECKING:
    from ..executors import Executor

PHASES, DRIVERS = "phases", "drivers"
SPENT, PLAN, SHORT, WAITED = "spent_seconds", "plan", "cut_short", "waited"  # what the ledger calls them
JUDGED = "untrained"  # there too: how many groups of students were judged untrained
CUTS = "judge cuts"  # before the others: what is searched depends on it
UNTRAINED = "judge untrained students"
JUDGING_SHARE = 0.05  # of a run's minutes, that judging cuts and untrained students may take together
CUTS_SHARE = 0.5  # of that, for cuts
PROBE_SHARE = 0.04  # of a run's minutes, that scoring students on the probe may take


def cut_short(ledger: Ledger, what: str, words: str) -> None:
    """Note what a phase had no time for; "" that it had time for all."""
    if words or what in shortened(ledger):
        others = {name: said for name, said in shortened(ledger).items() if name != what}
        ledger.note(SHORT, others | ({what: words} if words else {}))


def shortened(ledger: Ledger) -> Mapping[str, str]:
    """What phases had no time for, in words, by phase."""
    noted: Mapping[str, str] = ledger.noted(SHORT) or {}
    return noted


def forgotten(ledger: Ledger, folder: Path) -> None:
    """Where nothing has been trained, let a mended run file be as good as new: what the refused one settled is gone.

    Cuts that were judged in the share of one minute, and blocks for trainings as short as that, would stay for ever.
    """
    if not ledger.entries():
        (folder / "run.toml").unlink(missing_ok=True)
        for name in (JUDGED, SHORT):
            if ledger.noted(name) is not None:
                ledger.note(name, None)


def driver_name(url: str, folder: Path) -> str:
    """What tells drivers of one study in a database apart: host and folder; "" of a run with its own journal."""
    if not url:
        return ""
    return f"{socket.gethostname()}-{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:8]}"


def own_seconds(ledger: Ledger, driver: str = "") -> dict[str, float]:
    """Seconds by phase that a driver has noted, over all his calls."""
    return dict(ledger.noted(noted_as(driver)) or {})


def all_seconds(ledger: Ledger) -> dict[str, float]:
    """Seconds by phase of all drivers of a study together."""
    whole = own_seconds(ledger)  # of a run alone, or from before drivers were told apart
    for driver in ledger.noted(DRIVERS) or ():
        for what, seconds in own_seconds(ledger, driver).items():
            whole[what] = whole.get(what, 0.0) + seconds
    return whole


def noted_as(driver: str) -> str:
    """What the ledger calls the times of a driver."""
    return f"{PHASES} of {driver}" if driver else PHASES


def with_phases(file: ResultFile, ledger: Ledger, driver: str = "") -> ResultFile:
    """A result with the times of all phases that its driver has noted, over all his calls; others stay."""
    whole = all_seconds(ledger) if driver else None
    entries = phase_entries(own_seconds(ledger, driver), shortened(ledger), whole)
    names = {entry.what for entry in entries}
    return file.model_copy(update={"phases": (*entries, *(one for one in file.phases if one.what not in names))})


def phase_entries(
    seconds: Mapping[str, float], short: Mapping[str, str], whole: Mapping[str, float] | None = None
) -> tuple[Phase, ...]:
    """What took how long, and what there was no time for; `whole`: how long all drivers of a shared study took."""
    together = {name: round(value, 2) for name, value in (whole or {}).items()}
    names = dict.fromkeys((*seconds, *short, *together))
    return tuple(
        Phase(what=n, seconds=round(seconds.get(n, 0.0), 2), short=short.get(n, ""), all_seconds=together.get(n))
        for n in names
    )


class Phases:
    """Seconds by phase, in the order they began; the ledger keeps them. `between` is called before each.

    Args:
        driver: whose they are, of a study that others drive too; see `driver_name`.
    """

    def __init__(
        self, ledger: Ledger, progress: Progress = silent, between: Between = nothing, driver: str = ""
    ) -> None:
        self._ledger, self._driver = ledger, driver
        self._progress, self._between = progress, between
        self.seconds = own_seconds(ledger, driver)

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
        if seconds > 0:
            self.seconds[what] = self.seconds.get(what, 0.0) + seconds
            self._ledger.note(noted_as(self._driver), self.seconds)
            drivers = list(self._ledger.noted(DRIVERS) or ()) if self._driver else [""]
            if self._driver not in drivers:  # noted again where two have written it at once
                self._ledger.note(DRIVERS, sorted([*drivers, self._driver]))


def waited(ledger: Ledger, executor: "Executor") -> float | None:
    """The share of their time that trainings have waited for meters, of this call and of those before it, and note it.

    None where nobody knows, or nothing was trained yet.
    """
    share, seconds = (getattr(executor, name, None) for name in ("paused_share", "busy_seconds"))
    before: Mapping[str, float] = ledger.noted(WAITED) or {"seconds": 0.0, "paused": 0.0}
    paused = before["paused"] + (share or 0.0) * (seconds or 0.0)
    whole = before["seconds"] + (seconds or 0.0)
    if share is not None and seconds:
        ledger.note(WAITED, {"seconds": round(whole, 3), "paused": round(paused, 3)})
    return paused / whole if whole else None


class Stopwatch:
    """Seconds that a run has taken over all its calls; what a killed call had not noted is not counted.

    Args:
        started: when this call began, by `time.monotonic`.
    """

    def __init__(self, ledger: Ledger, started: float) -> None:
        self._ledger = ledger
        phases = all_seconds(ledger)  # known of calls that were killed
        self._before: float = max(float(ledger.noted(SPENT) or 0.0), sum(phases.values()))
        self._started = started

    @property
    def seconds(self) -> float:
        """So far."""
        return self._before + time.monotonic() - self._started

    def note(self) -> None:
        """Let later calls know."""
        self._ledger.note(SPENT, round(self.seconds, 3))
