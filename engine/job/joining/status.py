"""Where a run stands, read from its ledger while it is at work or after: nothing is changed by looking."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from distilsearch import strict
from distilsearch.errors import RunError
from distilsearch.space import SearchSpace

from ..ledger import JOURNAL, Entry, Ledger, is_asked, open_storage
from ..ledger.journal import unread
from ..plans.phases import PHASES, PLAN, SPENT, all_seconds, driver_name, noted_as
from ..preflight import begun
from ..presence.activity import NOTHING, Doing, activity_of
from ..presence.holding import Holder, Presence
from ..runfile.config import Run
from ..runfile.continuing import kept_run


@dataclass(frozen=True)
class Status:
    """A run at one moment.

    Attributes:
        asked: how many trials the run file asks for, or its plan expects; 0 before there is one.
        minutes: that the run may take, and has taken so far; None where trials are asked for.
        states: how many trials are complete, failed, running, interrupted; imported ones left out.
        running: the trials under way, with their holders.
        best: the smallest loss so far, None before the first.
        phases: seconds spent so far, by phase; of the one that a driver is in, up to this moment.
        resolved: what probes chose at the first start (precision, workers, threads); empty before.
        finished: whether there is a result.
        genes: those that the run leaves open.
        interrupted: numbers of running trials whose holder has ended.
        damage: what of its journal cannot be read, in words; "" where all can.
        driver: who drives it at this moment; None where nobody does.
        doing: what he is at, and since when; nothing where that is not known.
        begun: whether teacher and text have been read, so that there is more to say.
    """

    name: str
    asked: int
    states: dict[str, int]
    running: tuple[Entry, ...]
    best: float | None
    phases: dict[str, float]
    resolved: dict[str, Any]
    finished: bool
    genes: tuple[str, ...] = ()
    interrupted: frozenset[int] = frozenset()
    minutes: tuple[float, float] | None = None
    damage: str = ""
    driver: Holder | None = None
    doing: Doing = NOTHING
    begun: bool = True

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        others = ("running", "genes", "interrupted", "driver", "doing")
        fields = {name: value for name, value in vars(self).items() if name not in others}
        running = [_plain(entry, entry.number in self.interrupted) for entry in self.running]
        doing = {"doing": self.doing.words, "heard": self.doing.heard}
        return {"schema": 1, **fields, "running": running, "driver": self.driver and self.driver.to_json(), **doing}

    @property
    def _end(self) -> str:
        """What follows the counts: a result is the end of a run only while nothing has begun anew."""
        if not self.finished:
            return ""
        return "; its result is of an earlier call" if self.driver or self.running else ", finished"

    @property
    def left(self) -> bool:
        """Whether it was begun, has no result, and nobody anywhere is known to be at work on it."""
        busy = self.driver is not None or any(entry.number not in self.interrupted for entry in self.running)
        return self.begun and not self.finished and not busy

    def lines(self, now: datetime) -> list[str]:
        """In words."""
        counts = ", ".join(f"{count} {state}" for state, count in sorted(self.states.items())) or "none yet"
        ended = sum(count for state, count in self.states.items() if state in ("complete", "failed"))
        asked = "of" if ended <= self.asked else "more than now asked for:"
        trials = f"{asked} {self.asked} trials"
        if self.minutes:
            asked = "of about" if ended <= self.asked else "more than planned: about"
            planned = f"{asked} {self.asked} trials" if self.asked else "no plan yet"
            trials = f"{planned}, {self.minutes[1]:.1f} of {self.minutes[0]:g} minutes"
        words = [f"{self.name}: {counts}, {trials}{self._end}"]
        if not self.begun:
            words = [f"{self.name}: not begun yet"]
        if self.driver:
            said = self.doing.said(now.timestamp())
            words.append(f"{self.driver} is at work on it{f': {said}' if said else ''}")
        elif self.left:
            words.append("nobody is known to be at work on it: called again, the search goes on from here")
        if self.damage:
            words.append(f"warning: {self.damage}")
        if self.best is not None:
            words.append(f"smallest loss so far: {self.best:.4f}")
        words += [_words(entry, self.genes, now, entry.number in self.interrupted) for entry in self.running]
        if self.resolved:
            chosen = self.resolved
            words.append(
                f"trains in {chosen['precision']}; trainers: {chosen['workers']}, threads of each: {chosen['threads']}"
            )
        words += [f"{what}: {seconds:.0f} s" for what, seconds in self.phases.items()]
        return words


def _plain(entry: Entry, interrupted: bool) -> dict[str, Any]:
    """A running trial as plain JSON."""
    began = entry.began.isoformat(timespec="seconds") if entry.began else None
    holder = {"host": entry.lease.get("host"), "pid": entry.lease.get("pid"), "interrupted": interrupted}
    return {"number": entry.number, "architecture": entry.architecture.to_json(), "began": began, **holder}


def status(folder: Path) -> Status:
    """Where the run of a folder stands; of one whose driver is still at teacher and text, that is all there is to say.

    Raises:
        RunError: the folder holds no run, or one that has not begun.
    """
    driver, doing = activity_of(folder)
    run = kept_run(folder) if driver else begun(folder)
    if run is None or not (run.storage.url or (folder / JOURNAL).exists()):
        name = run.name if run else folder.resolve().name
        return Status(name, 0, {}, (), None, {}, {}, False, driver=driver, doing=doing, begun=False)
    ledger, space = _ledger_of(run, folder)
    noted, lasting = _noted(ledger, driver_name(run.storage.url, folder)), doing.seconds(time.time())
    plan, phases = noted["plan"], noted["phases"]
    spent = max(noted["spent"], noted["together"] + lasting)  # which a run of minutes also notes after each trial
    if doing.phase:  # a phase is noted when it ends
        phases = phases | {doing.phase: phases.get(doing.phase, 0.0) + lasting}
    return Status(
        name=run.name,
        asked=plan.get("trials", 0) if run.minutes else run.trials,
        minutes=(run.minutes, spent / 60) if run.minutes else None,
        **_counted(ledger),
        damage="" if run.storage.url else unread(folder / JOURNAL),
        phases=phases,
        resolved=noted["resolved"],
        finished=(folder / "result.json").exists(),
        genes=tuple(p.name for p in space.parameters if len(p.choices) > 1),
        driver=driver,
        doing=doing,
    )


def _ledger_of(run: Run, folder: Path) -> tuple[Ledger, SearchSpace]:
    """The ledger of a run as it is, not mended, and the space of its students."""
    storage, space = open_storage(run.storage.url, folder, mend=False), run.students()
    presence = None if run.storage.url else Presence(folder)
    return Ledger(storage, run.name, ["loss", *run.latencies], space, presence=presence), space


def _counted(ledger: Ledger) -> dict[str, Any]:
    """What its trials come to at this moment: `states`, `running`, `interrupted` and `best` of a `Status`."""
    entries = [entry for entry in ledger.entries() if is_asked(entry)]
    running = tuple(entry for entry in entries if entry.state == "running")
    interrupted = frozenset(entry.number for entry in running if ledger.ended(entry.lease))
    states = Counter("interrupted" if entry.number in interrupted else entry.state for entry in entries)
    best = min((entry.values[0] for entry in entries if entry.state == "complete"), default=None)
    return {"states": dict(states), "running": running, "interrupted": interrupted, "best": best}


def _noted(ledger: Ledger, driver: str) -> dict[str, Any]:
    """What a run has noted of itself; a `RunError` where it is not what this product writes.

    Times are by this driver; those of a study from before drivers were told apart are of all.
    """
    try:
        plan = strict.table(ledger.noted(PLAN) or {}, "its plan")
        phases = strict.table(ledger.noted(noted_as(driver)) or ledger.noted(PHASES) or {}, "its phases")
        together = sum(strict.number(seconds, "a phase") for seconds in all_seconds(ledger).values())
        resolved = strict.table(ledger.noted("resolved") or {}, "what it resolved")
        if resolved and not {"precision", "workers", "threads"} <= set(resolved):
            raise ValueError(f"what it resolved lacks a value: {sorted(resolved)}")
        return {
            "plan": plan | ({"trials": strict.whole(plan["trials"], "its trials")} if "trials" in plan else {}),
            "spent": strict.number(ledger.noted(SPENT) or 0.0, "what it spent"),
            "together": together,
            "phases": {name: strict.number(value, "a phase") for name, value in phases.items()},
            "resolved": resolved,
        }
    except (ValueError, TypeError) as error:
        raise RunError(f"the ledger of the run is damaged ({error}); search into another folder") from None


def _words(entry: Entry, genes: Sequence[str], now: datetime, interrupted: bool) -> str:
    shape = ", ".join(f"{gene}={entry.architecture[gene]}" for gene in genes if gene in entry.architecture.values)
    if interrupted:
        return f"interrupted, goes on when the run is called again: {shape}"
    lasting = f" for {(now - entry.began).total_seconds():.0f} s" if entry.began else ""
    return f"running{lasting} on {entry.lease.get('host', '?')} (pid {entry.lease.get('pid', '?')}): {shape}"
