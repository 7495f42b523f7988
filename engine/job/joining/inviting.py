"""What the driver of a run lets those know who join it: whether trials may be made, how many, and by whose table.

It is one fact of the whole study. It names the driver, so that what an earlier call has left is told from it, and is
taken back before the driver goes on to what is his alone; then he waits for the trials that are still under way.
"""

import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from distilsearch import profiling, strict
from distilsearch.errors import RunError
from distilsearch.home import identity
from distilsearch.places import DRIVER
from distilsearch.profiling.tables.store import table_folder

from ..ledger import Ledger
from ..loop.search import Search
from ..machines.machines import Declared, Profiled
from ..plans.budget import Allowance, Plan, Time, Trials
from ..plans.phases import PLAN, SPENT
from ..preparing.prepare import Prepared
from ..presence.holding import Holder, holder_of

NOTE = "joining"


@dataclass(frozen=True)
class Invitation:
    """What holds for trials of a run at this moment.

    Attributes:
        driver: whose it is.
        open: whether trials may be begun.
        home: whose students all can see; see `home.identity`.
        flash_tokens: the length of a trial.
        trials: how many there may be; none are said where `until` is.
        until: seconds of the run before whose end trials must end; None where their number is fixed.
        spent, at: seconds of the run at a moment of the driver's clock.
        tables, machines: by objective, the fingerprints (device, stack) of the table that predicts it, and of the
            machine itself; the latter where it is measured there. They are those of the first runtime.
        runtimes: by objective, the table of every runtime that serves there; none are said by earlier versions.
    """

    driver: Holder
    open: bool
    home: str
    flash_tokens: int
    trials: int
    until: float | None
    spent: float
    at: float
    tables: Mapping[str, Sequence[str]]
    machines: Mapping[str, Sequence[str]]
    runtimes: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)

    def table_of(self, machine: Declared, runtime: str) -> tuple[str, str] | None:
        """The fingerprints (device, stack) of a machine's table of a runtime; None where the driver has not said it."""
        first = {machine.serving.runtime: self.tables[machine.objective]} if machine.objective in self.tables else {}
        place = {**first, **self.runtimes.get(machine.objective, {})}.get(runtime)
        return None if place is None else (place[0], place[1])

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, noted: Any) -> "Invitation":
        """The inverse of `to_json`; a `RunError` where it is not what this product writes."""
        try:
            data = strict.table(noted, "its invitation")
            return cls(
                driver=Holder.from_json(strict.table(data["driver"], "its driver")),
                open=data["open"] is True,
                home=strict.text(data["home"], "its home"),
                flash_tokens=strict.whole(data["flash_tokens"], "its flash"),
                trials=strict.whole(data["trials"], "its trials"),
                until=None if data["until"] is None else strict.number(data["until"], "its end"),
                spent=strict.number(data["spent"], "what it spent"),
                at=strict.number(data["at"], "its time"),
                tables=_pairs(data["tables"]),
                machines=_pairs(data["machines"]),
                runtimes={name: _pairs(own) for name, own in _runtimes(data).items()},
            )
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"the ledger of the run is damaged ({error}); search into another folder") from None


def _runtimes(data: Mapping[str, Any]) -> dict[str, Any]:
    return strict.table(data.get("runtimes", {}), "the tables of its runtimes")


def _pairs(noted: Any) -> dict[str, tuple[str, ...]]:
    """Fingerprints by objective; each is a name that a folder of the store may have."""
    pairs = {name: tuple(pair) for name, pair in strict.table(noted, "fingerprints").items()}
    for name, pair in pairs.items():
        if len(pair) != 2 or not all(isinstance(part, str) and strict.is_plain(part) for part in pair):
            raise ValueError(f"the fingerprints of {name} should be two names; got {pair!r:.80}")
    return pairs


def fingerprints(machine: Declared, runtime: str = "") -> tuple[str, str]:
    """Those of the machine of this process, and of its stack with a runtime, the first one where none is given."""
    device = profiling.open_device(machine.section.device)
    return names_of(table_folder(device, runtime=runtime or machine.serving.runtime))


def names_of(folder: Path) -> tuple[str, str]:
    """The fingerprints (device, stack) that the folder of a table is called by."""
    return folder.parent.name, folder.name


def invite(
    ledger: Ledger, prepared: Prepared, machines: Sequence[Profiled], allowance: Allowance, spent: float
) -> Invitation:
    """Let others make trials too, from now on.

    Args:
        spent: seconds that the run has taken so far.
    """
    runtimes = {machine.objective: _noted_tables(machine) for machine in machines}
    first = {machine.objective: runtimes[machine.objective].get(machine.serving.runtime) for machine in machines}
    invitation = Invitation(
        driver=holder_of(prepared.folder / DRIVER),
        open=True,
        home=identity(),
        flash_tokens=prepared.run.train.flash_tokens,
        trials=allowance.trials if isinstance(allowance, Trials) else 0,
        until=allowance.until if isinstance(allowance, Time) else None,
        spent=spent,
        at=time.time(),
        tables={name: place for name, place in first.items() if place is not None},
        machines={machine.objective: fingerprints(machine.declared) for machine in machines if machine.local},
        runtimes=runtimes,
    )
    ledger.note(NOTE, invitation.to_json())
    return invitation


def _noted_tables(machine: Profiled) -> dict[str, tuple[str, str]]:
    """The fingerprints of each runtime's table; a table that lies nowhere has none."""
    folders = {runtime: table.folder for runtime, table in machine.tables.items()}
    return {runtime: names_of(folder) for runtime, folder in folders.items() if folder is not None}


def disinvite(ledger: Ledger, invitation: Invitation) -> None:
    """Let nobody begin another trial."""
    ledger.note(NOTE, replace(invitation, open=False).to_json())


def explored(search: Search, prepared: Prepared, allowance: Allowance, spent: float) -> None:
    """Make the trials of a run, with whoever joins it meanwhile; see `Search.explore`, and `invite` for `spent`."""
    invitation = invite(search.ledger, prepared, search.machines, allowance, spent)
    search.explore(allowance, prepared.run.stop_below)
    disinvite(search.ledger, invitation)
    if search.behind:  # what others have under way ends, or is taken over
        search.explore(allowance, prepared.run.stop_below)


class Followed:
    """The clock of a run as those see it who have joined: where its driver is another host's, by what he notes alone.

    Clocks of two machines are never compared. What a driver has spent since his last note is not known then, so that
    a trial may be begun that he would not have begun any more.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._noted, self._since = -1.0, 0.0

    @property
    def seconds(self) -> float:
        """That it has taken so far."""
        invitation = Invitation.from_json(self._ledger.noted(NOTE))
        noted = max(float(self._ledger.noted(SPENT) or 0.0), invitation.spent)
        if noted != self._noted:
            self._noted, self._since = noted, time.monotonic()
        passed = time.time() - invitation.at if invitation.driver.host == socket.gethostname() else 0.0
        return max(noted + time.monotonic() - self._since, invitation.spent + passed)

    def note(self) -> None:
        """That is the driver's."""


class Following:
    """As many trials as the driver of a run allows, at any moment."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._time: Time | None = None

    def total(self, ended: int, flying: int) -> int:
        """How many in all."""
        invitation = Invitation.from_json(self._ledger.noted(NOTE))
        if not invitation.open:
            return 0
        if invitation.until is None:
            return invitation.trials
        if self._time is None:
            plan = Plan.from_json(self._ledger.noted(PLAN))
            self._time = Time(plan, Followed(self._ledger), invitation.until)
        self._time.until = invitation.until
        return self._time.total(ended, flying)

    def landed(self, flops: float, seconds: float) -> None:
        """Where time is what is left, it counts."""
        if self._time is not None:
            self._time.landed(flops, seconds)
