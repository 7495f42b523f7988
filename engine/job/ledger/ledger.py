"""Trials on disk: an Optuna study, so that its dashboard opens every run.

What Optuna leaves open is settled here: a multi-objective trial is created whole (`template_trial`), partial
figures and causes are user attributes, and a running trial carries a lease of ours, because journal storage has no
heartbeat: who holds it, and a counter that its holder raises now and then. A lease is dead when the mark of its holder
in the run's folder is free (`Presence`) or, where there is none, when its process on this host is gone; and wherever it
is held, when its counter has stood still for `DEAD_SECONDS` of the observer's own clock: clocks of two machines are
never compared. A holder that comes back finds another's lease and drops its result.
"""

import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from distilsearch.architecture import Architecture
from distilsearch.errors import DistilSearchError
from distilsearch.progress import Progress, silent
from distilsearch.space import SearchSpace

from ..presence.holding import Presence
from .alone import Connected, alone
from .entries import Entry, Form
from .journal import nobody, open_journal
from .leases import gone, lease_of, this_process
from .studies import give_names, study_of, unnamed

JOURNAL = "journal.log"
BEAT_SECONDS = 30.0  # at most one beat of a lease in so long a time
DEAD_SECONDS = 150.0  # a lease that has not been renewed for so long is open to others

T = TypeVar("T")
Allowed = Callable[[Sequence[Entry]], bool]


def always(entries: Sequence[Entry]) -> bool:
    """Whatever is there."""
    return True


class Ledger:
    """The trials of one run.

    Args:
        storage: an Optuna storage; see `open_storage`.
        name: name of the study.
        objectives: names of the objectives, all minimised.
        space: the search space; its genes become categorical parameters of the study.
        clock: monotonic seconds.
        presence: of those who work on the journal of a folder; this ledger enters it with its first lease, until
            `close`. None where the storage is a database, which others share from folders of their own.

    Raises:
        RunError: the study holds other objectives.
    """

    def __init__(
        self,
        storage: BaseStorage,
        name: str,
        objectives: Sequence[str],
        space: SearchSpace,
        clock: Callable[[], float] = time.monotonic,
        presence: Presence | None = None,
    ) -> None:
        self.holder = uuid.uuid4().hex[:12]
        self._presence = presence
        self._clock = clock
        self._beaten = clock()
        self._beats: dict[int, tuple[Any, float]] = {}  # of others' leases: what was seen last, and since when
        self._outages = 0
        self._ended: dict[int, Entry] = {}
        self._storage = storage
        self._form = Form.of(space, len(objectives))
        self._study = study_of(storage, name, objectives)
        self._unnamed = unnamed(storage, self._study, name, objectives)

    @property
    def confirms(self) -> bool:
        """Whether what is written is confirmed over a connection that may break before it is."""
        return isinstance(self._storage, Connected)

    def enter(self) -> None:
        """Mark this ledger as present now, before it holds any lease: the journal is not mended beneath it."""
        if self._presence is not None:
            self._presence.enter(self.holder)

    def close(self) -> None:
        """Work on it no more: leases that are still held are open to others at once."""
        released = False
        try:
            self._write(self._release)
            if self._presence is not None:
                self._presence.sweep({str(lease_of(trial).get("holder", "")) for trial in self._running()})
            released = True
        except DistilSearchError:  # a full disk, say: then its mark stays and says that it has gone
            pass
        finally:
            if self._presence is not None:
                self._presence.leave(remove=released)
            if isinstance(self._storage, Connected):
                self._storage.close()

    def _release(self) -> None:
        for trial in self._running():
            if lease_of(trial).get("holder") == self.holder:
                self._storage.set_trial_user_attr(trial._trial_id, "lease", {})

    def entries(self) -> list[Entry]:
        """Every trial, in the order of their numbers."""
        return [self._entry(t) for t in self._storage.get_all_trials(self._study, deepcopy=False)]

    def open(
        self, architecture: Architecture, facts: dict[str, Any] | None = None, allowed: Allowed = always
    ) -> Entry | None:
        """Begin a trial: it is running, and this ledger holds its lease. `facts` say what was planned.

        Args:
            allowed: whether there may be such a trial beside the entries that are there at the moment; asked while
                nobody else can write. None, and nothing is written, where it says no.
        """
        attributes = {"lease": self._lease(), "facts": facts or {}}
        return self._create(self._form.filled(TrialState.RUNNING, architecture, attributes, None), allowed)

    def add(
        self, architecture: Architecture, values: Sequence[float], facts: dict[str, Any], allowed: Allowed = always
    ) -> Entry | None:
        """Enter a result that was known before; `allowed` as above."""
        template = self._form.filled(TrialState.COMPLETE, architecture, {"facts": facts}, list(values))
        return self._create(template, allowed)

    def add_failed(
        self, architecture: Architecture, cause: str, facts: dict[str, Any], allowed: Allowed = always
    ) -> Entry | None:
        """Enter a trial that is known to give no result; `allowed` as above."""
        attributes = {"facts": facts, "cause": cause, "transient": False}
        return self._create(self._form.filled(TrialState.FAIL, architecture, attributes, None), allowed)

    def complete(self, entry: Entry, values: Sequence[float], facts: dict[str, Any]) -> Entry | None:
        """End a trial with its objectives; None, and nothing is written, where another has taken it over."""
        return self._end(entry, TrialState.COMPLETE, {"facts": entry.facts | facts}, list(values))

    def fail(
        self, entry: Entry, cause: str, transient: bool = False, facts: Mapping[str, Any] | None = None
    ) -> Entry | None:
        """End a trial that gave no result; the cause is kept, and whether it may be tried again. None as above.

        Args:
            facts: what is known of it all the same.
        """
        known = {"facts": entry.facts | dict(facts)} if facts else {}
        return self._end(entry, TrialState.FAIL, {"cause": cause, "transient": transient, **known}, None)

    # Writing: all of it or nothing, and once, though a connection may break at any moment

    def _write(self, work: Callable[[], T]) -> T:
        return alone(self._storage, self._study, work)

    def _create(self, template: FrozenTrial, allowed: Allowed) -> Entry | None:
        """Enter a trial. It has a mark, by which it is found where its confirmation was lost."""
        if self._unnamed:
            give_names(self._storage, self._study, self._unnamed)
            self._unnamed = ()
        mark, again = uuid.uuid4().hex, False
        if self.confirms:
            template.set_user_attr("mark", mark)

        def write() -> int | None:
            nonlocal again
            trials = self._storage.get_all_trials(self._study, deepcopy=False)
            there = [trial._trial_id for trial in trials if trial.user_attrs.get("mark") == mark] if again else []
            again = True
            if there:
                return there[0]
            if not allowed([self._entry(trial) for trial in trials]):
                return None
            return self._storage.create_new_trial(self._study, template_trial=template)

        trial = self._write(write)
        return None if trial is None else self._fetch(trial)

    def _end(
        self, entry: Entry, state: TrialState, attributes: dict[str, Any], values: list[float] | None
    ) -> Entry | None:
        """End a trial that this ledger holds. One that it has ended so already was: the confirmation was lost."""

        def write() -> bool:
            trial = self._storage.get_trial(entry.id)
            if lease_of(trial).get("holder") != self.holder:
                return False
            if self.confirms and trial.state == state:
                return True
            for name, value in attributes.items():
                self._storage.set_trial_user_attr(entry.id, name, value)
            self._storage.set_trial_state_values(entry.id, state, values)
            return True

        return self._fetch(entry.id) if self._write(write) else None

    # Leases

    def renew(self, entries: Iterable[Entry]) -> None:
        """Say that trials of this ledger are still at work; written at most once in `BEAT_SECONDS`."""
        if self._clock() - self._beaten < BEAT_SECONDS:
            return
        self._beaten, held = self._clock(), list(entries)
        if held:
            self._write(lambda: self._beat(held))

    def _beat(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if lease_of(self._storage.get_trial(entry.id)).get("holder") == self.holder:
                self._storage.set_trial_user_attr(entry.id, "lease", self._lease())

    def abandoned(self) -> list[Entry]:
        """Running trials whose holder is gone; this ledger takes over their leases."""
        left, holders = [], set()
        for trial in self._running():
            lease = lease_of(trial)
            if self._dead(trial._trial_id, lease) and self._take_over(trial._trial_id, lease):
                left.append(self._entry(trial))
                holders.add(str(lease.get("holder", "")))
        for holder in holders - {""}:
            if self._presence is not None and self._presence.gone(holder):
                self._presence.forget(holder)
        return left

    def _take_over(self, trial_id: int, seen: dict[str, Any]) -> bool:
        """Take a lease that was seen to be dead; false where another was quicker, or its holder has come back."""
        own = self._lease()

        def write() -> bool:
            trial = self._storage.get_trial(trial_id)
            if trial.state.is_finished() or lease_of(trial) not in (seen, own):
                return False
            self._storage.set_trial_user_attr(trial_id, "lease", own)
            return True

        return self._write(write)

    def foreign(self) -> list[Entry]:
        """Running trials that somebody else holds."""
        others = [t for t in self._running() if lease_of(t).get("holder") != self.holder]
        return [self._entry(trial) for trial in others]

    def _running(self) -> list[FrozenTrial]:
        return self._storage.get_all_trials(self._study, deepcopy=False, states=(TrialState.RUNNING,))

    def _lease(self) -> dict[str, Any]:
        if self._presence is not None:
            self._presence.enter(self.holder)
        marked = {"marked": True} if self._presence is not None else {}
        return this_process() | marked | {"holder": self.holder, "beat": uuid.uuid4().hex[:8]}

    def _dead(self, trial_id: int, lease: dict[str, Any]) -> bool:
        if lease.get("holder") == self.holder:
            return False
        if self.ended(lease):
            return True
        outages = self._storage.outages if isinstance(self._storage, Connected) else 0
        if outages != self._outages:  # nobody could renew a lease meanwhile
            self._outages = outages
            self._beats.clear()
        beat, since = self._beats.get(trial_id, (None, 0.0))
        if beat != lease:
            self._beats[trial_id] = lease, self._clock()
            return False
        return self._clock() - since > DEAD_SECONDS

    def ended(self, lease: Mapping[str, Any]) -> bool:
        """Whether a lease was given back, or its holder is known to have ended."""
        if lease.get("marked") and self._presence is not None:
            return self._presence.gone(str(lease["holder"]))
        return not lease or gone(lease)

    def note(self, name: str, value: Any) -> None:
        """Keep a fact of the whole run; plain JSON."""
        self._write(lambda: self._storage.set_study_user_attr(self._study, name, value))

    def noted(self, name: str) -> Any:
        """A fact that was kept, or None."""
        return self._storage.get_study_user_attrs(self._study).get(name)

    def _fetch(self, trial_id: int) -> Entry:
        return self._entry(self._storage.get_trial(trial_id))

    def _entry(self, trial: FrozenTrial) -> Entry:
        """A trial as an entry; those that have ended change no more, and are made once."""
        entry = self._ended.get(trial._trial_id)
        if entry is None:
            entry = self._form.read(trial)
            if trial.state.is_finished():
                self._ended[trial._trial_id] = entry
        return entry


def open_storage(
    url: str, folder: Path, progress: Progress = silent, mend: bool = True, others: Callable[[], str] = nobody
) -> BaseStorage:
    """The database of a URL, or the journal file of a run folder when the URL is empty; see `open_journal`."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if not url:
        return open_journal(folder / JOURNAL, progress, mend, others)
    from .database import open_database  # loads SQLAlchemy, which a journal has no use for

    return open_database(url, progress)
