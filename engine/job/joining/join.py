"""A further process at work on a run that another one drives: it proposes and makes trials of the same study.

What both may do at once rests on the ledger: each trial is begun, taken over and ended in one step that nobody else
can come between, and the lease of a process that has died is free at once. So either may die at any moment. Whoever
has joined only makes trials; profiling, the front, the finish and the result are the driver's. He stays until the
driver has gone, and then until no trial is left that may be made.
"""

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from distilsearch.disks import full_disks_named
from distilsearch.errors import InputError, RunError
from distilsearch.home import ensure_folder, identity, written_folders
from distilsearch.progress import Between, Progress, silent

from ..executors import Executor
from ..executors.interruption import interruptible
from ..ledger import JOURNAL, open_storage
from ..loop.informed import cuts_within
from ..loop.proposing import new_engine
from ..machines.machines import Declared, Profiled, declared_by
from ..machines.shares import set_shares
from ..preflight import LOCAL, joinable
from ..preparing.equipping import making_of
from ..preparing.opening import opened_executor, opened_ledger
from ..preparing.prepare import checked
from ..preparing.profiling import profiled
from ..presence.holding import Holder, Presence, driver_of
from ..run import MainJob
from ..runfile.config import Run
from ..runfile.continuing import continued, kept_run
from ..source import Making, open_source, scores
from .inviting import NOTE, Following, Invitation, fingerprints
from .tables_left import fetched, left_tables

LOGS = "joined"  # the folder of the run with the logs of those who have joined it
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Joined:
    """What came of joining a run.

    Attributes:
        made: trials that ended here, well or not.
        finished: whether the run has a result that it did not have before.
    """

    folder: Path
    made: int
    finished: bool

    @property
    def words(self) -> str:
        """In one line."""
        how = "has ended" if self.finished else "is driven by nobody now, and has no result yet"
        then = f"distilsearch report {self.folder}" if self.finished else "`distilsearch search`, called again, goes on"
        return f"trials made here: {self.made}; the run in {self.folder} {how}: {then}"


@dataclass(frozen=True)
class Hands:
    """What whoever joins brings with him; None is as the run has it, or one worker on the driver's own machine."""

    workers: int | None = None
    device: str | None = None


def join(
    run: Run | None,
    folder: Path,
    hands: Hands = Hands(),
    progress: Progress = silent,
    executor: Executor | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Joined:
    """Make trials of the run in a folder beside its driver, until the run ends.

    Args:
        run: what its run file says, where one was given; it must be the run of the folder.
        executor: who runs trainings and measurements, as for `search`.

    Raises:
        RunError: nobody drives the run, or it is no run, or of another home.
    """
    joinable(folder)
    before = _stamp(folder)
    with full_disks_named(folder, *written_folders()):
        there, invitation = _invited(run, folder, progress, sleep)
        _check_home(there, invitation)
        made = _helped(_own(there, invitation, hands), folder, invitation, progress, executor)
    return Joined(folder, made, _stamp(folder) != before)


def _helped(run: Run, folder: Path, invitation: Invitation, progress: Progress, executor: Executor | None) -> int:
    prepared = checked(run, folder, executor is not None, progress)
    logs = ensure_folder(folder / LOGS / f"{socket.gethostname()}-{os.getpid()}") if executor is None else None
    with (
        opened_ledger(prepared, progress, lambda: _at_work(folder)) as ledger,
        opened_executor(prepared, ledger, executor, progress, logs) as (hands, resolved),
        interruptible(hands, progress) as between,
    ):
        ledger.enter()
        told, now = _changes(progress), time.monotonic()
        return Helper(prepared, resolved, ledger, hands, told, now, between, invitation=invitation).help()


def _changes(progress: Progress) -> Progress:
    """A progress that says nothing twice in a row: whoever waits for others has nothing new to tell."""
    last: tuple[str, float, float] | None = None

    def told(what: str, done: float, total: float) -> None:
        nonlocal last
        if (what, done, total) != last:
            last = what, done, total
            progress(what, done, total)

    return told


@dataclass(frozen=True)
class Helper(MainJob):
    """The part of a main job that is shared."""

    invitation: Invitation = field(kw_only=True)

    @cached_property
    def making(self) -> Making:
        """As the driver's, who has noted in the home what is to be kept."""
        return making_of(self.prepared, self.resolved)

    def help(self) -> int:
        """Make trials; how many have ended here."""
        run = self.prepared.run
        machines = [self._tabled(machine) for machine in self.prepared.machines]
        set_shares(self.ledger, machines, self.teacher, self.executor, self.progress)
        engine = new_engine(run, self.prepared.served, machines, self.teacher)
        engine = self.informed(machines, cuts_within(run.minutes, self.ledger)) if run.foresees else engine
        source = open_source(run.source.name, self.making, **run.source.options)
        if self.making.supers:
            source.prepare(partial(self.executor.submit, progress=self.progress))
            engine = engine if scores(run.source.name) else self.informed(machines)
        trials = self.recalled(engine, machines, source)
        trials.source.prepare(self.executor.submit)
        driver = self.invitation.driver
        self.progress(f"joined the run of {driver}: trials at once here: {self.executor.workers}", 0, 0)
        watched = _Watched(self.prepared.folder, driver, self.progress, self.between)
        trials.assist(Following(self.ledger), run.stop_below, watched)
        entries = self.ledger.entries()
        return sum(e.lease.get("holder") == self.ledger.holder and e.state in ("complete", "failed") for e in entries)

    def _tabled(self, machine: Declared) -> Profiled:
        """A machine by the tables that the driver goes by, however little is in them; one that is not here is timed."""
        tables = left_tables(machine, self.invitation)
        if tables.keys() < {*machine.section.runtimes}:
            own = profiled(machine, self.prepared, self.executor, self.progress)
            tables = own.tables | tables
        return Profiled(machine, tables, self.prepared.served)


class _Watched:
    """Whether somebody drives the run; who does is said when it changes."""

    def __init__(self, folder: Path, driver: Holder, progress: Progress, between: Between) -> None:
        self._folder, self._progress, self._between = folder, progress, between
        self._driver: Holder | None = driver

    def __call__(self) -> bool:
        self._between()
        now = driver_of(self._folder)
        if now != self._driver:
            self._progress(f"{now} drives the run now" if now else f"{self._driver} drives the run no longer", 0, 0)
            self._driver = now
        return now is not None


def _invited(
    given: Run | None, folder: Path, progress: Progress, sleep: Callable[[float], None]
) -> tuple[Run, Invitation]:
    """The run as it stands, and what its driver has noted of trials: waited for as long as he gets ready for them."""
    waiting, storage = "", None
    while (driver := driver_of(folder)) is not None:
        run = kept_run(folder)
        if run is not None:
            run = run if given is None else continued(given, run)
            if storage is None and (run.storage.url or (folder / JOURNAL).exists()):
                storage = open_storage(run.storage.url, folder, progress, mend=False)
            if storage is not None and (noted := _noted(storage, run.name)) is not None:
                invitation = Invitation.from_json(noted)
                if invitation.driver == driver:
                    progress(waiting, 1, 1)
                    return run, invitation
        if not waiting:
            waiting = f"waiting until {driver} is ready for trials: teacher, text and table come first"
            progress(waiting, 0, 1)
        sleep(POLL_SECONDS)
    raise RunError(f"the process that drove the run in {folder} has gone before its trials began; start it again first")


def _noted(storage: Any, name: str) -> Any:
    try:
        return storage.get_study_user_attrs(storage.get_study_id_from_name(name)).get(NOTE)
    except KeyError:
        return None


def _check_home(run: Run, invitation: Invitation) -> None:
    """Refuse a home in which the driver would not find what is trained here."""
    if run.executor.depot:
        return
    if not invitation.home or invitation.home != identity():
        raise RunError(
            "the run was started with another DISTILSEARCH_HOME, and its driver would not find what is trained here:"
            " name the one that it was started with, on a disk that both can write"
        )


def _own(run: Run, invitation: Invitation, hands: Hands) -> Run:
    """The run as it is done here: with the hands that were brought, and machines that are not this one by their table.

    Raises:
        InputError: hands were brought to a run that others' machines make the trials of.
    """
    train, here = run.train, invitation.driver.host == socket.gethostname()
    if run.executor.name != LOCAL and hands != Hands():
        raise InputError(
            f'--workers and --device are of this machine; the run has [executor] name = "{run.executor.name}"'
        )
    workers = hands.workers or (1 if here and run.executor.name == LOCAL else train.workers)
    more = {"workers": workers, "device": hands.device or train.device, "flash_tokens": invitation.flash_tokens}
    machines = declared_by(run)
    for machine in machines:
        fetched(machine, invitation)  # a machine that is not this one is found by its tables
    target = tuple(_section(machine, invitation) for machine in machines)
    return run.model_copy(update={"train": train.model_copy(update=more), "target": target})


def _section(machine: Declared, invitation: Invitation) -> Any:
    """A target: itself where it is measured here, else the device of the table that predicts it."""
    there = invitation.machines.get(machine.objective)
    if there is not None and _fingerprints(machine) == tuple(there):
        return machine.section
    table = invitation.tables[machine.objective]
    several = len(machine.section.runtimes) > 1  # each has a table of its own, of the same device
    return machine.section.model_copy(update={"device": table[0] if several else "/".join(table)})


def _fingerprints(machine: Declared) -> tuple[str, str] | None:
    """Those of this machine; None where it has no such device."""
    try:
        return fingerprints(machine)
    except InputError:
        return None


def _at_work(folder: Path) -> str:
    """Who else is at work on a run, in words."""
    return str(driver_of(folder) or "") or Presence(folder).living()


def _stamp(folder: Path) -> tuple[int, int]:
    """What changes with every new result of a run."""
    try:
        status = (folder / "result.json").stat()
    except OSError:
        return 0, 0
    return status.st_ino, status.st_mtime_ns
