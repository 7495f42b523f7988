"""Trials on disk: an Optuna study, so that its dashboard opens every run.

What Optuna leaves open is settled here: a multi-objective trial is created whole (`template_trial`), partial
figures and causes are user attributes, and a running trial carries a lease of ours, because journal storage has no
heartbeat: who holds it, and a counter that its holder raises now and then. A lease is dead when the mark of its holder
in the run's folder is free (`Presence`) or, where there is none, when its process on this host is gone; and wherever it
is held, when its counter has stood still for `DEAD_SECONDS` of the observer's own clock: clocks of two machines are
never compared. A holder that comes back finds another's lease and drops its result.
"""

import contextlib
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from distilsearch import hiding, strict
from distilsearch.architecture import Architecture
from distilsearch.errors import DistilSearchError, InputError, RunError
from distilsearch.progress import Progress, silent
from distilsearch.space import SearchSpace

from .holding import Presence
from .journal import open_journal

JOURNAL = "journal.log"
BEAT_SECONDS = 30.0  # at most one beat of a lease in so long a time
DEAD_SECONDS = 150.0  # a lease that has not been renewed for so long is open to others

STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
    TrialState.PRUNED: "failed",
}


@dataclass(frozen=True)
class Entry:
    """One trial of the ledger. `values` are the objectives in the order of the study; `facts` is plain JSON.

    `lease` says who holds a running one: host, pid, and the `holder` of a ledger.
    """

    number: int
    id: int
    architecture: Architecture
    state: str
    values: tuple[float, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    cause: str = ""
    transient: bool = False
    lease: dict[str, Any] = field(default_factory=dict)
    began: datetime | None = None

    @property
    def ended(self) -> bool:
        """Whether it counts among the trials asked for: it gave a result, or never will."""
        return self.state == "complete" or (self.state == "failed" and not self.transient)


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
        self._ended: dict[int, Entry] = {}
        self._storage = storage
        self._distributions: dict[str, BaseDistribution] = {
            p.name: CategoricalDistribution(p.choices) for p in space.parameters
        }
        self._family = space.family
        self._objectives = len(objectives)
        self._study = _study_of(storage, name, objectives)
        there = storage.get_study_system_attrs(self._study).get("study:metric_names")
        if there != list(objectives):
            raise RunError(f"the study {name!r} has the objectives {there}, not {list(objectives)}")

    def close(self) -> None:
        """Work on it no more: leases that are still held are open to others at once."""
        released = False
        try:
            for trial in self._running():
                if trial.user_attrs.get("lease", {}).get("holder") == self.holder:
                    self._storage.set_trial_user_attr(trial._trial_id, "lease", {})
            released = True
        except DistilSearchError:  # a full disk, say: then its mark stays and says that it has gone
            pass
        finally:
            if self._presence is not None:
                self._presence.leave(remove=released)

    def entries(self) -> list[Entry]:
        """Every trial, in the order of their numbers."""
        return [self._entry(t) for t in self._storage.get_all_trials(self._study, deepcopy=False)]

    def open(self, architecture: Architecture, facts: dict[str, Any] | None = None) -> Entry:
        """Begin a trial: it is running, and this ledger holds its lease. `facts` say what was planned."""
        attributes = {"lease": self._lease(), "facts": facts or {}}
        template = self._template(TrialState.RUNNING, architecture, attributes, None)
        return self._fetch(self._storage.create_new_trial(self._study, template_trial=template))

    def add(self, architecture: Architecture, values: Sequence[float], facts: dict[str, Any]) -> Entry:
        """Enter a result that was known before."""
        template = self._template(TrialState.COMPLETE, architecture, {"facts": facts}, list(values))
        return self._fetch(self._storage.create_new_trial(self._study, template_trial=template))

    def add_failed(self, architecture: Architecture, cause: str, facts: dict[str, Any]) -> Entry:
        """Enter a trial that is known to give no result."""
        attributes = {"facts": facts, "cause": cause, "transient": False}
        template = self._template(TrialState.FAIL, architecture, attributes, None)
        return self._fetch(self._storage.create_new_trial(self._study, template_trial=template))

    def complete(self, entry: Entry, values: Sequence[float], facts: dict[str, Any]) -> Entry | None:
        """End a trial with its objectives; None, and nothing is written, where another has taken it over."""
        if not self._holds(entry):
            return None
        self._storage.set_trial_user_attr(entry.id, "facts", entry.facts | facts)
        self._storage.set_trial_state_values(entry.id, TrialState.COMPLETE, list(values))
        return self._fetch(entry.id)

    def fail(self, entry: Entry, cause: str, transient: bool = False) -> Entry | None:
        """End a trial that gave no result; the cause is kept, and whether it may be tried again. None as above."""
        if not self._holds(entry):
            return None
        self._storage.set_trial_user_attr(entry.id, "cause", cause)
        self._storage.set_trial_user_attr(entry.id, "transient", transient)
        self._storage.set_trial_state_values(entry.id, TrialState.FAIL)
        return self._fetch(entry.id)

    # Leases

    def renew(self, entries: Iterable[Entry]) -> None:
        """Say that trials of this ledger are still at work; written at most once in `BEAT_SECONDS`."""
        if self._clock() - self._beaten < BEAT_SECONDS:
            return
        self._beaten = self._clock()
        for entry in entries:
            if self._holds(entry):
                self._storage.set_trial_user_attr(entry.id, "lease", self._lease())

    def abandoned(self) -> list[Entry]:
        """Running trials whose holder is gone; this ledger takes over their leases."""
        left, holders = [], set()
        for trial in self._running():
            lease = trial.user_attrs.get("lease", {})
            if self._dead(trial._trial_id, lease):
                self._storage.set_trial_user_attr(trial._trial_id, "lease", self._lease())
                left.append(self._entry(trial))
                holders.add(str(lease.get("holder", "")))
        for holder in holders - {""}:
            if self._presence is not None and self._presence.gone(holder):
                self._presence.forget(holder)
        return left

    def foreign(self) -> list[Entry]:
        """Running trials that somebody else holds."""
        others = [t for t in self._running() if t.user_attrs.get("lease", {}).get("holder") != self.holder]
        return [self._entry(trial) for trial in others]

    def _running(self) -> list[FrozenTrial]:
        return self._storage.get_all_trials(self._study, deepcopy=False, states=(TrialState.RUNNING,))

    def _lease(self) -> dict[str, Any]:
        if self._presence is not None:
            self._presence.enter(self.holder)
        marked = {"marked": True} if self._presence is not None else {}
        process = {"host": socket.gethostname(), "pid": os.getpid(), "started": _started(os.getpid())}
        return process | marked | {"holder": self.holder, "beat": uuid.uuid4().hex[:8]}

    def _holds(self, entry: Entry) -> bool:
        lease = self._storage.get_trial(entry.id).user_attrs.get("lease", {})
        return bool(lease.get("holder") == self.holder)

    def _dead(self, trial_id: int, lease: dict[str, Any]) -> bool:
        if lease.get("holder") == self.holder:
            return False
        if self.ended(lease):
            return True
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
        self._storage.set_study_user_attr(self._study, name, value)

    def noted(self, name: str) -> Any:
        """A fact that was kept, or None."""
        return self._storage.get_study_user_attrs(self._study).get(name)

    def _fetch(self, trial_id: int) -> Entry:
        return self._entry(self._storage.get_trial(trial_id))

    def _entry(self, trial: FrozenTrial) -> Entry:
        """A trial as an entry; those that have ended change no more, and are made once."""
        entry = self._ended.get(trial._trial_id)
        if entry is None:
            entry = self._made(trial)
            if trial.state.is_finished():
                self._ended[trial._trial_id] = entry
        return entry

    def _made(self, trial: FrozenTrial) -> Entry:
        """A trial; a `RunError` where its attributes are not what this product writes."""
        said = trial.user_attrs
        try:
            values = tuple(strict.number(value, "a value") for value in trial.values or ())
            if trial.state == TrialState.COMPLETE and len(values) != self._objectives:
                raise ValueError(f"a complete trial should have {self._objectives} values; got {len(values)}")
            return Entry(
                number=trial.number,
                id=trial._trial_id,
                architecture=Architecture(self._family, trial.params),
                state=STATES[trial.state],
                values=values,
                facts=strict.table(said.get("facts", {}), "facts"),
                cause=strict.text(said.get("cause", ""), "cause"),
                transient=bool(said.get("transient", False)),
                lease=strict.table(said.get("lease", {}), "lease"),
                began=trial.datetime_start,
            )
        except (ValueError, InputError) as error:
            raise RunError(
                f"trial {trial.number} of the run is damaged ({error}); search into another folder, and its students"
                " are taken from the archive"
            ) from None

    def _template(
        self, state: TrialState, architecture: Architecture, attributes: dict[str, Any], values: list[float] | None
    ) -> FrozenTrial:
        now = datetime.now()
        return FrozenTrial(
            number=-1,
            state=state,
            value=None,
            values=values,
            datetime_start=now,
            datetime_complete=now if state.is_finished() else None,
            params=dict(architecture.values),
            distributions=self._distributions,
            user_attrs={"key": architecture.key, **attributes},
            system_attrs={},
            intermediate_values={},
            trial_id=-1,
        )


def gone(lease: Mapping[str, Any]) -> bool:
    """Whether the process that holds a lease is known to have ended: only those of this host can be."""
    here = lease.get("host") == socket.gethostname()
    pid = lease.get("pid")
    return here and lease.get("started") != (_started(pid) if type(pid) is int else "")


def _study_of(storage: BaseStorage, name: str, objectives: Sequence[str]) -> int:
    """The id of a study, which is begun where there is none; looking for one that is there writes nothing."""
    with contextlib.suppress(KeyError):
        return storage.get_study_id_from_name(name)
    try:
        study = storage.create_new_study([StudyDirection.MINIMIZE] * len(objectives), name)
    except optuna.exceptions.DuplicatedStudyError:  # another process was quicker
        return storage.get_study_id_from_name(name)
    storage.set_study_system_attr(study, "study:metric_names", list(objectives))
    return study


def open_storage(url: str, folder: Path, progress: Progress = silent, mend: bool = True) -> BaseStorage:
    """The database of a URL, or the journal file of a run folder when the URL is empty; see `open_journal`."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if not url:
        return open_journal(folder / JOURNAL, progress, mend)
    try:
        return RDBStorage(hiding.opened(url))
    except Exception as error:  # the many errors of SQLAlchemy and its drivers, all of them the user's to mend
        hint = f"; its password is not kept in run.toml: give it in {hiding.PASSWORD}" if hiding.MASK in url else ""
        raise RunError(
            f"cannot open the storage {hiding.hidden(url)!r}: {hiding.hidden_in(error, url)}{hint}"
        ) from None  # the cause quotes the URL


def _started(pid: int) -> str:
    """When a process started, in clock ticks, so that a reused process number is told apart; "" when gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
