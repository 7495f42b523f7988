"""Trials on disk: an Optuna study, so that its dashboard opens every run.

What Optuna leaves open is settled here: a multi-objective trial is created whole (`template_trial`), partial
figures and causes are user attributes, and a running trial carries a lease of ours (process and host), because
journal storage has no heartbeat. A lease whose process is gone is open to whoever continues the run.
"""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from distilsearch.architecture import Architecture
from distilsearch.errors import RunError
from distilsearch.space import SearchSpace

STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
    TrialState.PRUNED: "failed",
}


@dataclass(frozen=True)
class Entry:
    """One trial of the ledger. `values` are the objectives in the order of the study; `facts` is plain JSON."""

    number: int
    id: int
    architecture: Architecture
    state: str
    values: tuple[float, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    cause: str = ""
    transient: bool = False

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

    Raises:
        RunError: the study holds other objectives.
    """

    def __init__(self, storage: BaseStorage, name: str, objectives: Sequence[str], space: SearchSpace) -> None:
        self._storage = storage
        self._distributions: dict[str, BaseDistribution] = {
            p.name: CategoricalDistribution(p.choices) for p in space.parameters
        }
        self._family = space.family
        try:
            self._study = storage.create_new_study([StudyDirection.MINIMIZE] * len(objectives), name)
            storage.set_study_system_attr(self._study, "study:metric_names", list(objectives))
        except optuna.exceptions.DuplicatedStudyError:
            self._study = storage.get_study_id_from_name(name)
            there = storage.get_study_system_attrs(self._study).get("study:metric_names")
            if there != list(objectives):
                raise RunError(f"the study {name!r} has the objectives {there}, not {list(objectives)}") from None

    def entries(self) -> list[Entry]:
        """Every trial, in the order of their numbers."""
        return [self._entry(t) for t in self._storage.get_all_trials(self._study, deepcopy=False)]

    def open(self, architecture: Architecture, facts: dict[str, Any] | None = None) -> Entry:
        """Begin a trial: it is running, and this process holds its lease. `facts` say what was planned."""
        attributes = {"lease": _lease(), "facts": facts or {}}
        template = self._template(TrialState.RUNNING, architecture, attributes, None)
        return self._fetch(self._storage.create_new_trial(self._study, template_trial=template))

    def add(self, architecture: Architecture, values: Sequence[float], facts: dict[str, Any]) -> Entry:
        """Enter a result that was known before."""
        template = self._template(TrialState.COMPLETE, architecture, {"facts": facts}, list(values))
        return self._fetch(self._storage.create_new_trial(self._study, template_trial=template))

    def complete(self, entry: Entry, values: Sequence[float], facts: dict[str, Any]) -> Entry:
        """End a trial with its objectives."""
        self._storage.set_trial_user_attr(entry.id, "facts", facts)
        self._storage.set_trial_state_values(entry.id, TrialState.COMPLETE, list(values))
        return self._fetch(entry.id)

    def fail(self, entry: Entry, cause: str, transient: bool = False) -> Entry:
        """End a trial that gave no result; the cause is kept, and whether it may be tried again."""
        self._storage.set_trial_user_attr(entry.id, "cause", cause)
        self._storage.set_trial_user_attr(entry.id, "transient", transient)
        self._storage.set_trial_state_values(entry.id, TrialState.FAIL)
        return self._fetch(entry.id)

    def abandoned(self) -> list[Entry]:
        """Running trials whose process is gone; this process takes over their leases."""
        left = []
        for trial in self._storage.get_all_trials(self._study, deepcopy=False):
            if trial.state == TrialState.RUNNING and not _alive(trial.user_attrs.get("lease", {})):
                self._storage.set_trial_user_attr(trial._trial_id, "lease", _lease())
                left.append(self._entry(trial))
        return left

    def note(self, name: str, value: Any) -> None:
        """Keep a fact of the whole run; plain JSON."""
        self._storage.set_study_user_attr(self._study, name, value)

    def noted(self, name: str) -> Any:
        """A fact that was kept, or None."""
        return self._storage.get_study_user_attrs(self._study).get(name)

    def _fetch(self, trial_id: int) -> Entry:
        return self._entry(self._storage.get_trial(trial_id))

    def _entry(self, trial: FrozenTrial) -> Entry:
        return Entry(
            number=trial.number,
            id=trial._trial_id,
            architecture=Architecture(self._family, trial.params),
            state=STATES[trial.state],
            values=tuple(trial.values or ()),
            facts=trial.user_attrs.get("facts", {}),
            cause=trial.user_attrs.get("cause", ""),
            transient=trial.user_attrs.get("transient", False),
        )

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
            datetime_complete=now if state == TrialState.COMPLETE else None,
            params=dict(architecture.values),
            distributions=self._distributions,
            user_attrs={"key": architecture.key, **attributes},
            system_attrs={},
            intermediate_values={},
            trial_id=-1,
        )


def open_storage(url: str, folder: Path) -> BaseStorage:
    """The database of a URL, or the journal file of a run folder when the URL is empty."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if not url:
        return JournalStorage(JournalFileBackend(str(folder / "journal.log")))
    try:
        return RDBStorage(url)
    except Exception as error:  # the many errors of SQLAlchemy and its drivers, all of them the user's to mend
        raise RunError(f"cannot open the storage {url!r}: {error}") from error


def _lease() -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": _started(os.getpid())}


def _alive(lease: dict[str, Any]) -> bool:
    """Whether the holder of a lease still runs; on another host nobody can tell, so it is taken to."""
    if lease.get("host") != socket.gethostname():
        return bool(lease)
    return lease.get("started") == _started(int(lease.get("pid", -1)))


def _started(pid: int) -> str:
    """When a process started, in clock ticks, so that a reused process number is told apart; "" when gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
