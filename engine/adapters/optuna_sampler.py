"""The engine as an Optuna sampler: an ordinary study, any storage, any number of workers.

A sampler holds no state of its own: at every trial the engine is told the whole study anew, so that processes which
share a storage search together. What a worker is about to try is written into its trial first and then looked for in
all others: of two that chose the same at the same moment, the later writer finds the earlier one and asks again.

Constraints that only a trial shows, by `constraints_func` or `trial.set_constraint`, are learnt like objectives: each
has a model, and what breaks one teaches, too.

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
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler, PartialFixedSampler, RandomSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from distilsearch.architecture import Architecture
from distilsearch.errors import InputError
from distilsearch.space import Parameter, SearchSpace

from ..engine import Engine
from ..objectives import Codes, Expensive, Limit, Objective, check_objectives
from ..strategies import Strategy
from ..view import Features
from .optuna_trials import CONSTRAINTS, PROPOSAL, Genes, Reading, finite_constraints, nothing_free, read

DRAWS = 4_096
Constraints = Callable[[FrozenTrial], Sequence[float]]


class DistilSampler(BaseSampler):
    """Exact expected hypervolume improvement with known costs, inside an Optuna study.

    Args:
        space: what may be tried; `distributions` is the same in Optuna's words.
        objectives: those of the study, in its order; known ones may be left out of what trials return.
        seed, initial, reference, strategy, features: as for `Engine`.
        constraints_func: trial -> numbers of which none may be positive, as in Optuna's own samplers; each is learnt,
            as are those of `trial.set_constraint`. A limit on an objective is better told as its `at_most`.
        retry: how many times an architecture is tried again, before anything new, whose trial failed or was lost.
        lost_after: seconds after which a trial that is still running counts as lost with its worker. Without it what
            such a trial holds is never proposed again.

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
        retry: int = 0,
        lost_after: float | None = None,
    ) -> None:
        if retry < 0 or (lost_after is not None and not lost_after > 0):
            raise InputError(f"expected retry >= 0 and lost_after > 0 seconds; got {retry} and {lost_after}")
        self.space = space
        self.objectives = check_objectives(objectives)
        self.distributions = {p.name: distribution(p) for p in space.parameters}
        self._seed = seed
        self._options: dict[str, Any] = {"initial": initial, "reference": reference, "strategy": strategy}
        self._features = features
        self._constraints = constraints_func
        self._retry = retry
        self._lost_after = lost_after
        self._genes = Genes(space)
        self._others = RandomSampler(seed)

    def suggest(self, trial: Trial) -> Architecture:
        """The architecture of a trial: asks it for every gene of the space."""
        values = {name: trial._suggest(name, d) for name, d in self.distributions.items()}
        return self._genes.canonical(values)

    # What Optuna calls

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All genes."""
        return dict(self.distributions)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The next proposal. Where nothing is free a study that optimises ends; this trial repeats something.

        Genes that are not in `search_space` have been fixed, as by Optuna's `PartialFixedSampler`.
        """
        self._check(study)
        given = trial.system_attrs.get("fixed_params", {}) | trial.params
        given = {name: given[name] for name in self.space.names if name in given}
        if given:  # a trial somebody enqueued, perhaps in part
            return {n: v for n, v in self._completed(study, trial, given).items() if n in search_space}
        architecture = self._claimed(study, trial, self._fixed(study, search_space))
        return {} if architecture is None else {n: architecture[n] for n in self.space.names if n in search_space}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Parameters that are no genes are drawn at random."""
        return self._others.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Keeps the values of the constraints where Optuna itself looks for them."""
        if self._constraints is None or state not in (TrialState.COMPLETE, TrialState.PRUNED):
            return
        numbers = [float(value) for value in self._constraints(trial)]
        if any(map(math.isnan, numbers)):
            raise InputError(f"a constraint of trial {trial.number} is not a number: {numbers}; positive means broken")
        for i, value in enumerate(numbers):
            study._storage.set_trial_system_attr(trial._trial_id, f"{CONSTRAINTS}:{i}", value)

    def reseed_rng(self) -> None:
        """Nothing to do for the genes: proposals depend on the study and the trial's number alone."""
        self._others.reseed_rng()

    # Inside

    def _claimed(self, study: Study, trial: FrozenTrial, fixed: Mapping[str, Any]) -> Architecture | None:
        """The next architecture, written into its trial before anybody else takes it."""
        rank = 0
        while True:
            reading, trials = self._read(study, trial)
            engine = self._engine(trial, reading, trials, fixed)
            waiting = [a for a in reading.waiting if all(a[name] == value for name, value in fixed.items())]
            proposals = waiting[: 1 + rank] or engine.ask(1 + rank)
            if not proposals:
                return self._repeated(study, trial, engine, reading)
            self._claim(study, trial, proposals[-1])
            if proposals[-1] not in self._read(study, trial)[0].taken:
                return proposals[-1]
            self._claim(study, trial, None)
            rank = self._rank(study, trial)  # so that two that ask again at the same moment choose differently

    def _repeated(self, study: Study, trial: FrozenTrial, engine: Engine, reading: Reading) -> Architecture | None:
        """Something that was tried already, and the end of the study: it says why."""
        warnings.warn(nothing_free(reading, trial.number), stacklevel=2)
        with suppress(RuntimeError):  # of `ask` and `tell`, where nothing runs that could end
            study.stop()
        told = engine.front() or engine.outcomes()
        return told[0].architecture if told else None

    def _read(self, study: Study, trial: FrozenTrial) -> tuple[Reading, list[FrozenTrial]]:
        """What the other trials say."""
        trials = study._storage.get_all_trials(study._study_id, deepcopy=False)
        others = [t for t in trials if t.number != trial.number]
        return read(others, self._genes, self._retry, self._lost_after), others

    def _engine(
        self, trial: FrozenTrial, reading: Reading, trials: Sequence[FrozenTrial], fixed: Mapping[str, Any]
    ) -> Engine:
        """An engine that was told the study; what is under way is pending."""
        constraints = finite_constraints(trials)
        names = sorted({name for row in constraints.values() for name in row})
        limits = [Expensive(_limit(name), at_most=0.0) for name in names]
        more = [Limit(f"genes unlike {dict(fixed)}", partial(self._unlike, fixed), 0.0)] if fixed else []
        engine = Engine(
            self.space, self.objectives, self._seed, features=self._features, limits=[*limits, *more], **self._options
        )
        for architecture, done in reading.told:
            values = self._told(done) | {_limit(n): v for n, v in constraints[done.number].items()}
            if set(values) & {o.name for o in (*self.objectives, *limits) if isinstance(o, Expensive)}:
                if done.system_attrs.get(PROPOSAL):
                    engine.expect([architecture])
                engine.tell(architecture, values)
            if not self._told(done):
                reason = f"trial {done.number} ended as {done.state.name.lower()}"
                engine.fail(architecture, reason, transient=architecture in reading.again)
        for architecture in reading.refused:
            engine.fail(architecture, "the objective tried something else")
        engine.expect(list(reading.under_way.values()), counter=trial.number)
        return engine

    def _unlike(self, fixed: Mapping[str, Any], codes: Codes) -> Codes:
        """How many genes (n,) differ from the values they are fixed at; silent ones do not."""
        count = np.zeros(len(codes), dtype=np.int16)
        for name, value in fixed.items():
            column = self.space.column(name)
            wanted = codes.copy()
            wanted[:, column] = self.space.parameters[column].choices.index(value)
            count += (self.space.canonical(wanted) != codes).any(axis=1)
        return count

    def _fixed(self, study: Study, search_space: Mapping[str, Any]) -> dict[str, Any]:
        """The values of the genes that this sampler is not asked for: as somebody fixed them, or as they were last."""
        absent = [name for name in self.space.names if name not in search_space]
        values: dict[str, Any] = {}
        for trial in study._storage.get_all_trials(study._study_id, deepcopy=False) if absent else ():
            values |= {name: trial.params[name] for name in absent if name in trial.params}
        sampler: Any = study.sampler
        while isinstance(sampler, PartialFixedSampler):
            values |= sampler._fixed_params
            sampler = sampler._base_sampler
        fixed = {name: values[name] for name in absent if name in values}
        for name, value in fixed.items():
            choices = self.space.parameters[self.space.column(name)].choices
            if value not in choices:
                raise InputError(f"{name!r} is fixed at {value!r}, which is none of its choices {list(choices)}")
        return fixed

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
        taken = self._read(study, trial)[0].taken
        members = self.space.decode(codes[: len(taken) + 64])
        chosen = next((a for a in members if a not in taken), members[0] if members else None)
        return {} if chosen is None else {n: chosen[n] for n in self.space.names if n not in fixed}

    def _claim(self, study: Study, trial: FrozenTrial, architecture: Architecture | None) -> None:
        text = None if architecture is None else json.dumps(architecture.to_json())
        study._storage.set_trial_system_attr(trial._trial_id, PROPOSAL, text)

    def _rank(self, study: Study, trial: FrozenTrial) -> int:
        """How many running trials have smaller numbers."""
        trials = study._storage.get_all_trials(study._study_id, deepcopy=False, states=(TrialState.RUNNING,))
        return sum(t.number < trial.number for t in trials)

    def _returned(self, study_objectives: int) -> list[Objective]:
        """The objectives that trials return values of."""
        learnt: list[Objective] = [o for o in self.objectives if isinstance(o, Expensive)]
        return learnt if study_objectives == len(learnt) else list(self.objectives)

    def _told(self, trial: FrozenTrial) -> dict[str, float]:
        """The values a trial returned, where all of them are finite."""
        if trial.state != TrialState.COMPLETE or not np.isfinite(trial.values).all():
            return {}
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


def _limit(constraint: str) -> str:
    """The name of a constraint beside those of the objectives."""
    return f"constraint {constraint}"


def distribution(parameter: Parameter) -> BaseDistribution:
    """A gene in Optuna's words: evenly spaced integers as such, anything else as categories."""
    choices = parameter.choices
    whole = all(isinstance(c, int) and not isinstance(c, bool) for c in choices)
    if parameter.ordered and whole and len(choices) > 1:
        steps = set(np.diff(np.array(choices, dtype=np.int64)).tolist())
        if len(steps) == 1 and min(steps) > 0:
            return IntDistribution(int(choices[0]), int(choices[-1]), step=int(min(steps)))
    return CategoricalDistribution(choices)
