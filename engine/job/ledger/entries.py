"""A trial of an Optuna study as an entry of the ledger, and what a new one of the study is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from distilsearch import strict
from distilsearch.architecture import Architecture
from distilsearch.errors import InputError, RunError
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


@dataclass(frozen=True)
class Form:
    """What all trials of a study have in common: their family, their genes as parameters, how many objectives."""

    family: str
    genes: Mapping[str, BaseDistribution]
    objectives: int

    @classmethod
    def of(cls, space: SearchSpace, objectives: int) -> Self:
        """Every gene of the space is a categorical parameter."""
        return cls(space.family, {p.name: CategoricalDistribution(p.choices) for p in space.parameters}, objectives)

    def read(self, trial: FrozenTrial) -> Entry:
        """A trial; a `RunError` where its attributes are not what this product writes."""
        said = trial.user_attrs
        try:
            values = tuple(strict.number(value, "a value") for value in trial.values or ())
            if trial.state == TrialState.COMPLETE and len(values) != self.objectives:
                raise ValueError(f"a complete trial should have {self.objectives} values; got {len(values)}")
            return Entry(
                number=trial.number,
                id=trial._trial_id,
                architecture=Architecture(self.family, trial.params),
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

    def filled(
        self, state: TrialState, architecture: Architecture, attributes: dict[str, Any], values: list[float] | None
    ) -> FrozenTrial:
        """A trial that is to be created whole, as it begins now."""
        now = datetime.now()
        return FrozenTrial(
            number=-1,
            state=state,
            value=None,
            values=values,
            datetime_start=now,
            datetime_complete=now if state.is_finished() else None,
            params=dict(architecture.values),
            distributions=dict(self.genes),
            user_attrs={"key": architecture.key, **attributes},
            system_attrs={},
            intermediate_values={},
            trial_id=-1,
        )
