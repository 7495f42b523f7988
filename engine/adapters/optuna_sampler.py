"""The engine as an Optuna sampler: an ordinary study, any storage, any number of workers.

A sampler holds no state of its own: at every trial the engine is told the whole study anew, so that processes which
share a storage search together. What a worker is about to try is written into its trial first and then looked for in
all others: of two that chose the same at the same moment, the later writer finds the earlier one and asks again.

>>> import optuna
>>> from distilsearch.engine.objectives import Expensive, Known
>>> from distilsearch.space import Parameter, SearchSpace
>>> optuna.logging.set_verbosity(optuna.logging.WARNING)
>>> space = SearchSpace("generic", [Parameter("depth", (1, 2, 3)), Parameter("width", (8, 16, 32))])
>>> cost = Known("cost", lambda codes: 1.0 + codes[:, 0] + 2.0 * codes[:, 1])
>>> sampler = DistilSampler(space, [Expensive("loss"), cost], initial=4)
>>> study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
>>> def objective(trial):
...     student = sampler.suggest(trial)
...     return 1.0 / student["depth"] + 1.0 / student["width"], 1.0 + student["depth"]
>>> study.optimize(objective, n_trials=5)
>>> len({str(t.params) for t in study.trials})
5
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study, StudyDirection
from optuna.study._constrained_optimization import _CONSTRAINTS_KEY
from optuna.trial import FrozenTrial, Trial, TrialState

from distilsearch.architecture import Architecture
from distilsearch.errors import InputError
from distilsearch.space import Parameter, SearchSpace

from ..engine import Engine
from ..objectives import Expensive, Objective, check_objectives
from ..strategies import Strategy
from ..view import Features

PROPOSAL = "distilsearch:proposal"
UNDER_WAY = (TrialState.RUNNING, TrialState.WAITING)  # WAITING: somebody enqueued it
DRAWS = 4_096
Constraints = Callable[[FrozenTrial], Sequence[float]]


class DistilSampler(BaseSampler):
    """Exact expected hypervolume improvement with known costs, inside an Optuna study.

    Args:
        space: what may be tried; `distributions` is the same in Optuna's words.
        objectives: those of the study, in its order; known ones may be left out of what trials return.
        seed, initial, reference, strategy, features: as for `Engine`.
        constraints_func: trial -> numbers of which none may be positive, as in Optuna's own samplers; trials that break
            one are avoided with their neighbourhood. A limit on a known objective is better told as its `at_most`.

    Raises:
        InputError: the objectives make no sense.
    """

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        seed: int = 0,
        initial: int | None = None,
        reference: Mapping[str, float] | None = None,
        *,
        constraints_func: Constraints | None = None,
        strategy: str | Strategy = "ehvi",
        features: Features | None = None,
    ) -> None:
        self.space = space
        self.objectives = check_objectives(objectives)
        self.distributions = {p.name: distribution(p) for p in space.parameters}
        self._seed = seed
        self._options: dict[str, Any] = {"initial": initial, "reference": reference, "strategy": strategy}
        self._features = features
        self._constraints = constraints_func
        self._others = RandomSampler(seed)

    def suggest(self, trial: Trial) -> Architecture:
        """The architecture of a trial: asks it for every gene of the space."""
        values = {name: trial._suggest(name, d) for name, d in self.distributions.items()}
        return self._canonical(values)

    # What Optuna calls

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All genes."""
        return dict(self.distributions)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The next proposal. Where the space is exhausted a study that optimises ends; this trial repeats something."""
        self._check(study)
        fixed = trial.system_attrs.get("fixed_params", {})
        fixed = {name: fixed[name] for name in self.space.names if name in fixed}
        if fixed:  # a trial somebody enqueued, perhaps in part
            return self._completed(study, trial, fixed)
        rank = 0
        while True:
            engine = self._engine(study, trial)
            proposals = engine.ask(1 + rank)
            if not proposals:
                with suppress(RuntimeError):  # of `ask` and `tell`, where nothing runs that could end
                    study.stop()
                told = engine.front() or engine.outcomes()
                return dict(told[0].architecture.values) if told else {}
            self._claim(study, trial, proposals[-1])
            if proposals[-1] not in self._claims(study, trial, None):
                return {name: proposals[-1][name] for name in self.space.names}
            self._claim(study, trial, None)
            rank = self._rank(study, trial)  # so that two that ask again at the same moment choose differently

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Parameters that are no genes are drawn at random."""
        return self._others.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Keeps the values of the constraints where Optuna itself looks for them."""
        if self._constraints is not None and state == TrialState.COMPLETE:
            for i, value in enumerate(self._constraints(trial)):
                key = f"{_CONSTRAINTS_KEY}:{i}"
                study._storage.set_trial_system_attr(trial._trial_id, key, float(value))

    def reseed_rng(self) -> None:
        """Nothing to do for the genes: proposals depend on the study and the trial's number alone."""
        self._others.reseed_rng()

    # Inside

    def _engine(self, study: Study, trial: FrozenTrial) -> Engine:
        """An engine that was told the study; the proposals of running trials are pending."""
        engine = Engine(self.space, self.objectives, self._seed, features=self._features, **self._options)
        for done in study._storage.get_all_trials(study._study_id, deepcopy=False):
            architecture = self._architecture(done)
            if architecture is None or not done.state.is_finished():
                continue
            feasible = all(value <= 0.0 for value in done.constraints.values())
            if done.state == TrialState.COMPLETE and feasible and np.isfinite(done.values).all():
                if done.system_attrs.get(PROPOSAL):
                    engine.expect([architecture])
                engine.tell(architecture, self._told(done))
            else:
                engine.fail(architecture, f"trial {done.number} ended as {done.state.name.lower()}")
        engine.expect(self._claims(study, trial, UNDER_WAY), counter=trial.number)
        return engine

    def _completed(self, study: Study, trial: FrozenTrial, fixed: Mapping[str, Any]) -> dict[str, Any]:
        """The other genes of an architecture of which some were enqueued: a valid one, free if there is one."""
        choices = {p.name: p.choices for p in self.space.parameters}
        if set(choices) <= set(fixed) or any(value not in choices[name] for name, value in fixed.items()):
            return {}  # nothing is open, or Optuna itself deals with a value that is no choice
        rng = np.random.default_rng([self._seed, trial.number])
        codes = self.space.sample(DRAWS, rng)
        for name, value in fixed.items():
            column = self.space.column(name)
            codes[:, column] = self.space.parameters[column].choices.index(value)
        codes = self.space.canonical(codes)[self.space.valid(codes)]
        taken = set(self._claims(study, trial, None))
        members = self.space.decode(codes[: len(taken) + 64])
        chosen = next((a for a in members if a not in taken), members[0] if members else None)
        return {} if chosen is None else {n: chosen[n] for n in self.space.names if n not in fixed}

    def _claim(self, study: Study, trial: FrozenTrial, architecture: Architecture | None) -> None:
        text = None if architecture is None else json.dumps(architecture.to_json())
        study._storage.set_trial_system_attr(trial._trial_id, PROPOSAL, text)

    def _claims(self, study: Study, trial: FrozenTrial, states: tuple[TrialState, ...] | None) -> list[Architecture]:
        """What the other trials in these states are trying or have tried."""
        trials = study._storage.get_all_trials(study._study_id, deepcopy=False, states=states)
        return [a for t in trials if t.number != trial.number and (a := self._architecture(t)) is not None]

    def _rank(self, study: Study, trial: FrozenTrial) -> int:
        """How many running trials have smaller numbers."""
        trials = study._storage.get_all_trials(study._study_id, deepcopy=False, states=(TrialState.RUNNING,))
        return sum(t.number < trial.number for t in trials)

    def _architecture(self, trial: FrozenTrial) -> Architecture | None:
        """What a trial tries or has tried; None where that is not known yet, or is not of this space."""
        fixed = trial.system_attrs.get("fixed_params", {})
        values = trial.params if trial.state.is_finished() else trial.params | fixed
        claim = trial.system_attrs.get(PROPOSAL)
        if not set(self.space.names) <= set(values):
            return Architecture.from_json(json.loads(claim)) if claim and not trial.state.is_finished() else None
        try:
            architecture = self._canonical({name: values[name] for name in self.space.names})
        except InputError:
            return None
        return architecture if self.space.contains(architecture) else None

    def _canonical(self, values: Mapping[str, Any]) -> Architecture:
        return self.space.decode(self.space.encode([Architecture(self.space.family, values)]))[0]

    def _returned(self, study_objectives: int) -> list[Objective]:
        """The objectives that trials return values of."""
        learnt: list[Objective] = [o for o in self.objectives if isinstance(o, Expensive)]
        return learnt if study_objectives == len(learnt) else list(self.objectives)

    def _told(self, trial: FrozenTrial) -> dict[str, float]:
        names = [o.name for o in self._returned(len(trial.values))]
        return dict(zip(names, map(float, trial.values), strict=True))

    def _check(self, study: Study) -> None:
        returned = self._returned(len(study.directions))
        wanted = [StudyDirection.MINIMIZE if o.goal == "min" else StudyDirection.MAXIMIZE for o in returned]
        if study.directions != wanted:
            plain = [d.name.lower() for d in study.directions]
            raise InputError(
                f"the study's directions are {plain}; the sampler's objectives are"
                f" {[(o.name, o.goal) for o in self.objectives]}; known ones may be left out all together"
            )


def distribution(parameter: Parameter) -> BaseDistribution:
    """A gene in Optuna's words: evenly spaced integers as such, anything else as categories."""
    choices = parameter.choices
    whole = all(isinstance(c, int) and not isinstance(c, bool) for c in choices)
    if parameter.ordered and whole and len(choices) > 1:
        steps = set(np.diff(np.array(choices, dtype=np.int64)).tolist())
        if len(steps) == 1 and min(steps) > 0:
            return IntDistribution(int(choices[0]), int(choices[-1]), step=int(min(steps)))
    return CategoricalDistribution(choices)
