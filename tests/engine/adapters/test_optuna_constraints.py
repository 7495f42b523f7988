"""Constraints that only trials show: learnt like objectives, by whatever way a study tells them."""

from collections.abc import Callable

import optuna
import pytest
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from distilsearch.engine.adapters.optuna_sampler import DistilSampler
from distilsearch.engine.adapters.optuna_trials import constraints_of, finite_constraints
from distilsearch.engine.engine import Engine
from distilsearch.engine.objectives import Expensive
from distilsearch.errors import InputError
from distilsearch.space import Parameter, SearchSpace

optuna.logging.set_verbosity(optuna.logging.WARNING)
SPACE = SearchSpace("generic", [Parameter("x", tuple(range(12))), Parameter("y", tuple(range(12)))])


def excess(x: int, y: int) -> float:
    """Not positive on 5 of 144; of those (5, 7) has the least of the bowl."""
    return (x - 5) ** 2 + (y - 8) ** 2 - 1.5


def bowl(x: int, y: int) -> float:
    return 0.1 + 0.01 * ((x - 3) ** 2 + (y - 3) ** 2)


def searched(trials: int, objective: Callable[[optuna.Trial, DistilSampler], float], **more: object) -> optuna.Study:
    made = DistilSampler(SPACE, [Expensive("loss")], initial=5, **more)  # type: ignore[arg-type]
    study = optuna.create_study(sampler=made)
    study.optimize(lambda trial: objective(trial, made), n_trials=trials, catch=(MemoryError,))
    return study


def plain(trial: optuna.Trial, made: DistilSampler) -> float:
    made.suggest(trial)
    return bowl(trial.params["x"], trial.params["y"])


def of(trial: FrozenTrial) -> tuple[float]:
    return (excess(trial.params["x"], trial.params["y"]),)


def feasible(study: optuna.Study) -> list[FrozenTrial]:
    return [t for t in study.trials if "x" in t.params and of(t)[0] <= 0]


def test_a_rare_constraint_is_learnt_and_best_trials_keep_it() -> None:
    study = searched(12, plain, constraints_func=of, seed=1)
    assert not [t for t in feasible(study) if t.number < 5]
    assert study.best_trial.params == {"x": 5, "y": 7}


def test_it_does_what_an_engine_with_that_limit_does() -> None:
    study = searched(9, plain, constraints_func=of)
    engine = Engine(SPACE, [Expensive("loss")], initial=5, limits=[Expensive("constraint 0", at_most=0.0)])
    for trial in study.trials:
        (asked,) = engine.ask()
        assert dict(asked.values) == trial.params
        x, y = trial.params.values()
        engine.tell(asked, {"loss": bowl(x, y), "constraint 0": excess(x, y)})


def test_constraints_that_the_objective_sets_count_alike() -> None:
    def objective(trial: optuna.Trial, made: DistilSampler) -> float:
        value = plain(trial, made)
        trial.set_constraint("0", excess(trial.params["x"], trial.params["y"]))
        return value

    by_objective, by_function = searched(9, objective), searched(9, plain, constraints_func=of)
    assert [t.params for t in by_objective.trials] == [t.params for t in by_function.trials]


def test_pruned_failed_and_infinite_trials_teach_their_constraints() -> None:
    """A student too large is not trained: what it lacks is an objective, not the constraint."""

    def objective(trial: optuna.Trial, made: DistilSampler) -> float:
        value = plain(trial, made)
        over = excess(trial.params["x"], trial.params["y"])
        trial.set_constraint("size", over)
        if over > 0 and trial.number % 3 == 0:
            raise optuna.TrialPruned
        if over > 0 and trial.number % 3 == 1:
            raise MemoryError
        return value if over <= 0 else float("inf")

    study = searched(13, objective, seed=1)
    assert len({str(t.params) for t in study.trials}) == 13
    assert study.best_trial.params == {"x": 5, "y": 7}


def test_several_constraints_have_a_model_each() -> None:
    def two(trial: FrozenTrial) -> list[float]:
        return [5.0 - trial.params["x"], 4.0 - trial.params["y"]]

    study = searched(12, plain, constraints_func=two)
    late = [max(two(t)) <= 0 for t in study.trials[6:]]
    assert sum(late) >= 5  # 42 % of the space


def test_trials_of_before_there_were_constraints_teach_the_objective() -> None:
    made = DistilSampler(SPACE, [Expensive("loss")], initial=5)
    study = optuna.create_study(sampler=made)
    study.optimize(lambda trial: plain(trial, made), n_trials=4)
    study.sampler = DistilSampler(SPACE, [Expensive("loss")], initial=5, constraints_func=of)
    study.optimize(lambda trial: plain(trial, made), n_trials=5)
    assert len({str(t.params) for t in study.trials}) == 9


def test_infinite_values_count_as_the_farthest_finite_ones() -> None:
    rows = [{"a": 3.0, "b": float("-inf")}, {"a": float("inf")}, {"a": -2.0}, {"a": float("-inf")}]
    distributions: dict[str, BaseDistribution] = {"x": optuna.distributions.IntDistribution(0, 11)}
    trials = [
        optuna.create_trial(params={"x": 1}, distributions=distributions, value=0.0, constraints=row) for row in rows
    ]
    for number, trial in enumerate(trials):
        trial.number = number
    assert list(finite_constraints(trials).values()) == [{"a": 3.0, "b": -1.0}, {"a": 3.0}, {"a": -2.0}, {"a": -2.0}]


def test_constraints_of_older_studies_are_read() -> None:
    trial = optuna.create_trial(value=0.0, system_attrs={"constraints": [1.0, -2.0], "constraints:size": 3.0})
    assert constraints_of(trial) == {"0": 1.0, "1": -2.0, "size": 3.0}


def test_a_constraint_that_is_no_number_is_refused() -> None:
    with pytest.raises(InputError, match="a constraint of trial 0 is not a number"):
        searched(1, plain, constraints_func=lambda trial: (float("nan"),))


def test_constraints_of_pruned_trials_are_asked_for_as_by_other_samplers() -> None:
    def objective(trial: optuna.Trial, made: DistilSampler) -> float:
        made.suggest(trial)
        raise optuna.TrialPruned

    (trial,) = searched(1, objective, constraints_func=of).trials
    assert trial.state == TrialState.PRUNED
    assert constraints_of(trial) == {"0": of(trial)[0]}
