"""Trials that are lost, fail for reasons outside, or whose objectives do not suggest every gene."""

import datetime
import warnings

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import PartialFixedSampler
from optuna.trial import TrialState

from distilsearch.engine.adapters.optuna_sampler import DistilSampler
from distilsearch.engine.objectives import Expensive
from distilsearch.errors import InputError
from distilsearch.space import Constraint, Parameter, SearchSpace

optuna.logging.set_verbosity(optuna.logging.WARNING)
DEEP = Constraint(("depth",), lambda depth: depth > 1)


def branched() -> SearchSpace:
    """A gene that matters in deep students only, and one that matters where that one is large."""
    genes = [Parameter("depth", (1, 2, 3)), Parameter("second", (8, 16, 32)), Parameter("third", (1, 2)),
             Parameter("kind", ("a", "b"), ordered=False)]  # fmt: skip
    large = Constraint(("depth", "second"), lambda depth, second: depth > 1 and second > 8)
    return SearchSpace("generic", genes, active={"second": DEEP, "third": large})


def flat() -> SearchSpace:
    return SearchSpace("generic", [Parameter("depth", (1, 2, 3, 4, 5)), Parameter("width", (8, 16, 32, 64))])


def sampler(space: SearchSpace, **more: object) -> DistilSampler:
    return DistilSampler(space, [Expensive("loss")], initial=3, **more)  # type: ignore[arg-type]


def study_of(made: optuna.samplers.BaseSampler) -> optuna.Study:
    return optuna.create_study(sampler=made)


def suggested(trial: optuna.Trial) -> float:
    """As most objectives are written: a gene is asked for where it is used."""
    depth = trial.suggest_int("depth", 1, 3)
    second = trial.suggest_categorical("second", (8, 16, 32)) if depth > 1 else 8
    third = trial.suggest_int("third", 1, 2) if second > 8 else 1
    kind = trial.suggest_categorical("kind", ("a", "b"))
    return depth + second / 10 + third + (kind == "a")


def fixing(fixed: dict[str, int], made: DistilSampler) -> PartialFixedSampler:
    """Optuna's own, which says that it is experimental."""
    with pytest.warns(ExperimentalWarning):
        return PartialFixedSampler(fixed, made)


# Genes


def test_genes_that_are_suggested_where_they_matter_are_filled() -> None:
    study = study_of(sampler(branched()))
    size = int(branched().size)
    study.optimize(suggested, n_trials=size)
    assert len({str(sorted(t.params.items())) for t in study.trials}) == size == 22


def test_a_gene_with_one_choice_need_not_be_suggested() -> None:
    space = SearchSpace("generic", [Parameter("x", tuple(range(6))), Parameter("norm", ("rms",), ordered=False)])
    study = study_of(sampler(space))
    study.optimize(lambda trial: float(trial.suggest_int("x", 0, 5)), n_trials=6)
    assert sorted(t.params["x"] for t in study.trials) == list(range(6))


@pytest.mark.parametrize("left_out", ["depth", "kind"])
def test_a_gene_that_matters_and_is_never_suggested_is_named(left_out: str) -> None:
    made = sampler(branched())
    names = [n for n in made.distributions if n != left_out]

    def objective(trial: optuna.Trial) -> float:
        for name in names:
            trial._suggest(name, made.distributions[name])
        return 1.0

    with pytest.raises(InputError, match=f"trial 0 has no value of '{left_out}', though it matters there"):
        study_of(made).optimize(objective, n_trials=3)


def test_a_trial_that_ends_before_it_suggests_is_known_by_its_proposal() -> None:
    made = sampler(flat())
    study = study_of(made)

    def objective(trial: optuna.Trial) -> float:
        trial.suggest_int("depth", 1, 5)
        if trial.number in (1, 2):
            raise MemoryError
        made.suggest(trial)
        return 1.0

    study.optimize(objective, n_trials=6, catch=(MemoryError,))
    tried = [t.system_attrs["distilsearch:proposal"] for t in study.trials]
    assert len(set(tried)) == 6


def test_ranges_that_are_not_the_spaces_are_named() -> None:
    def objective(trial: optuna.Trial) -> float:
        return float(trial.suggest_int("depth", 7, 9)) + trial.suggest_categorical("width", (8, 16, 32, 64))

    with pytest.raises(InputError, match="which is no architecture of the sampler's space"):
        study_of(sampler(flat())).optimize(objective, n_trials=3)


def test_what_an_objective_narrows_is_not_proposed_for_ever() -> None:
    def objective(trial: optuna.Trial) -> float:
        return float(trial.suggest_int("depth", 1, 2)) + trial.suggest_categorical("width", (8, 16, 32, 64))

    study = study_of(sampler(flat()))
    study.optimize(objective, n_trials=8)
    proposals = [t.system_attrs["distilsearch:proposal"] for t in study.trials]
    assert len(set(proposals)) == 8


@pytest.mark.parametrize("fixed", [{"width": 16}, {"width": 16, "depth": 2}, {"second": 16}])
def test_fixed_genes_are_heeded(fixed: dict[str, int]) -> None:
    space = branched() if "second" in fixed else flat()
    made = sampler(space)
    study = study_of(fixing(fixed, made))
    ends = len(fixed) == 2
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "no architecture|every architecture" if ends else "^$")
        study.optimize(lambda trial: float(sum(len(str(v)) for v in made.suggest(trial).values.values())), n_trials=4)
    assert all(t.params[name] == value for t in study.trials for name, value in fixed.items())
    assert len({str(made._genes.of(t)) for t in study.trials}) == (1 if ends else 4)


def test_a_gene_fixed_at_no_choice_is_named() -> None:
    study = study_of(fixing({"width": 24}, made := sampler(flat())))
    with pytest.raises(InputError, match="'width' is fixed at 24, which is none of its choices"):
        study.optimize(lambda trial: float(len(made.suggest(trial).key)), n_trials=1)


def test_enqueued_genes_are_completed_where_some_are_silent() -> None:
    study = study_of(sampler(branched()))
    for queued in ({"depth": 1}, {"depth": 2, "second": 8}, {"kind": "b"}, {"depth": 3, "second": 16}):
        study.enqueue_trial(queued)
    study.optimize(suggested, n_trials=8)
    assert len({str(sorted(t.params.items())) for t in study.trials}) == 8


# Workers


def lost(study: optuna.Study, made: DistilSampler, count: int) -> None:
    """Trials that were asked for, and whose workers nobody saw again."""
    for _ in range(count):
        made.suggest(study.ask())


def test_a_study_that_ends_since_others_hold_what_is_left_says_so() -> None:
    made = sampler(flat())
    study = study_of(made)
    lost(study, made, 18)
    with pytest.warns(UserWarning, match=r"18 are held by trials that have not ended \(numbers 0, 1, .*lost_after"):
        study.optimize(lambda trial: float(made.suggest(trial)["depth"]), n_trials=9)
    assert len(study.trials) == 18 + 3


def test_what_lost_workers_hold_is_tried_again_after_a_while() -> None:
    made = sampler(flat(), lost_after=3600.0, retry=1)
    study = study_of(made)
    lost(study, made, 4)
    asked = [t.params for t in study.trials]
    made.suggest(study.ask())
    assert study.trials[-1].params not in asked  # they may still be at work
    for trial in study._storage._studies[0].trials[:4]:  # type: ignore[attr-defined]
        trial.datetime_start -= datetime.timedelta(hours=2)
    study.optimize(lambda trial: float(made.suggest(trial)["depth"]), n_trials=5)
    assert [t.params for t in study.trials[5:9]] == asked
    assert study.trials[9].params not in asked


@pytest.mark.parametrize("retry", [0, 1, 2])
def test_failed_trials_are_tried_again_as_often_as_allowed(retry: int) -> None:
    made = sampler(flat(), retry=retry)
    study = study_of(made)

    def objective(trial: optuna.Trial) -> float:
        student = made.suggest(trial)
        if trial.params == study.trials[0].params:
            raise ConnectionError
        return float(student["depth"])

    study.optimize(objective, n_trials=5, catch=(ConnectionError,))
    failures = [t.number for t in study.trials if t.state == TrialState.FAIL]
    assert failures == list(range(retry + 1))


def test_what_was_retried_with_success_is_told_and_not_failed() -> None:
    made = sampler(flat(), retry=2)
    study = study_of(made)

    def objective(trial: optuna.Trial) -> float:
        student = made.suggest(trial)
        if trial.number in (0, 2):
            raise ConnectionError
        return float(student["depth"])

    study.optimize(objective, n_trials=6, catch=(ConnectionError,))
    params = [str(t.params) for t in study.trials]
    assert params[0] == params[1]
    assert params[2] == params[3]
    assert len(set(params)) == 4
    study.ask()
    engine = made._engine(study.trials[-1], *made._read(study, study.trials[-1]), {})
    assert not engine.state()["failed"]


def test_a_trial_that_a_heartbeat_put_back_keeps_its_architecture() -> None:
    """As `RetryHeartbeatStaleTrialCallback` does: a waiting trial with the parameters of the one that was lost."""
    made = sampler(flat())
    study = study_of(made)
    first = study.ask()
    made.suggest(first)
    study.tell(first, state=TrialState.FAIL)
    stale = study.trials[0]
    study.add_trial(
        optuna.create_trial(state=TrialState.WAITING, params=stale.params, distributions=stale.distributions,
                            system_attrs={**stale.system_attrs, "failed_trial": 0, "retry_history": [0]})
    )  # fmt: skip
    study.optimize(lambda trial: float(made.suggest(trial)["depth"]), n_trials=3)
    assert study.trials[1].params == stale.params
    assert len({str(t.params) for t in study.trials}) == 3


def test_senseless_options_are_refused() -> None:
    with pytest.raises(InputError, match="expected retry >= 0"):
        sampler(flat(), retry=-1)
    with pytest.raises(InputError, match="lost_after > 0"):
        sampler(flat(), lost_after=0.0)


def test_distributions_of_other_studies_are_told_apart() -> None:
    study = study_of(made := sampler(flat()))
    foreign: dict[str, BaseDistribution] = {"depth": IntDistribution(1, 9), "width": CategoricalDistribution((8, 24))}
    study.add_trial(optuna.create_trial(params={"depth": 9, "width": 24}, distributions=foreign, value=0.0))
    study.optimize(lambda trial: float(made.suggest(trial)["depth"]), n_trials=4)
    assert len({str(t.params) for t in study.trials[1:]}) == 4
