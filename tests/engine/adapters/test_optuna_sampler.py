"""The engine inside Optuna studies: workers, constraints, failures, other people's trials."""

import threading
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.storages import InMemoryStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend

from distilsearch.engine.adapters.optuna_sampler import DistilSampler
from distilsearch.engine.engine import Engine
from distilsearch.engine.objectives import Expensive, Known, Objective
from distilsearch.errors import InputError
from distilsearch.space import Constraint, Parameter, SearchSpace

optuna.logging.set_verbosity(optuna.logging.WARNING)
BOTH = ["minimize", "minimize"]


def space() -> SearchSpace:
    return SearchSpace(
        "generic",
        [
            Parameter("depth", (1, 2, 3, 4)),
            Parameter("width", (8, 16, 32)),
            Parameter("kind", ("a", "b"), ordered=False),
        ],
        [Constraint(("depth", "width"), lambda depth, width: depth * width < 128, "too large")],
    )  # fmt: skip


def objectives() -> list[Objective]:
    return [Expensive("loss"), Known("cost", lambda codes: 1.0 + codes[:, 0] + 2.0 * codes[:, 1])]


def sampler(**more: object) -> DistilSampler:
    return DistilSampler(space(), objectives(), initial=4, **more)  # type: ignore[arg-type]


def outcome(trial: optuna.Trial, made: DistilSampler) -> tuple[float, float]:
    student = made.suggest(trial)
    cost = objectives()[1].values(made.space.encode([student]))[0]  # type: ignore[union-attr]
    return 1.0 / float(student["depth"]) + 8.0 / float(student["width"]) + (student["kind"] == "a") * 0.1, float(cost)


def keys(study: optuna.Study) -> list[str]:
    return [str(sorted(t.params.items())) for t in study.trials]


def test_trials_are_members_and_differ() -> None:
    made = sampler()
    study = optuna.create_study(directions=BOTH, sampler=made)
    study.optimize(lambda trial: outcome(trial, made), n_trials=10)
    assert len(set(keys(study))) == 10
    assert all(t.params["depth"] * t.params["width"] < 128 for t in study.trials)


def test_the_same_study_gives_the_same_trials() -> None:
    runs = []
    for _ in range(2):
        made = sampler(seed=3)
        study = optuna.create_study(directions=BOTH, sampler=made)
        study.optimize(lambda trial, made=made: outcome(trial, made), n_trials=7)
        runs.append(keys(study))
    assert runs[0] == runs[1]


@pytest.mark.parametrize("kind", ["memory", "journal"])
def test_workers_on_one_storage_share_and_never_repeat(kind: str, tmp_path: Path) -> None:
    file = str(tmp_path / "journal.log")
    storage = InMemoryStorage() if kind == "memory" else JournalStorage(JournalFileBackend(file))
    optuna.create_study(study_name="s", storage=storage, directions=BOTH)

    def work() -> None:
        made = sampler()
        study = optuna.load_study(study_name="s", storage=storage, sampler=made)
        study.optimize(lambda trial: outcome(trial, made), n_trials=3)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = keys(optuna.load_study(study_name="s", storage=storage))
    assert len(found) == len(set(found)) == 9


def test_failed_pruned_and_foreign_trials_are_learnt_from() -> None:
    made = sampler()
    study = optuna.create_study(directions=BOTH, sampler=made)
    study.enqueue_trial({"depth": 1, "width": 8, "kind": "a"})
    foreign = {"depth": optuna.distributions.IntDistribution(0, 99)}
    study.add_trial(optuna.create_trial(params={"depth": 50}, distributions=foreign, values=[0.0, 0.0]))

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        values = outcome(trial, made)
        if trial.params["depth"] == 2:
            raise MemoryError
        return values

    with pytest.warns(UserWarning, match="trials without a value of 'width', 'kind' are not learnt from"):
        study.optimize(objective, n_trials=9, catch=(MemoryError,))
    mine = [t for t in study.trials if "width" in t.params]
    assert mine[0].params == {"depth": 1, "width": 8, "kind": "a"}
    assert len({str(t.params) for t in mine}) == 9


def test_one_learnt_objective_may_stand_alone() -> None:
    made = sampler()
    study = optuna.create_study(direction="minimize", sampler=made)
    study.optimize(lambda trial: outcome(trial, made)[0], n_trials=6)
    assert len(set(keys(study))) == 6


def test_an_exhausted_space_ends_the_study() -> None:
    tiny = SearchSpace("generic", [Parameter("x", (1, 2, 3))])
    made = DistilSampler(tiny, [Expensive("loss")], initial=2)
    study = optuna.create_study(sampler=made)
    with pytest.warns(UserWarning, match="every architecture of the space has been tried"):
        study.optimize(lambda trial: float(np.square(float(made.suggest(trial)["x"]))), n_trials=9)
    assert [t.params["x"] for t in study.trials[3:]] == [1]  # one more, of the front, and no further
    with pytest.warns(UserWarning, match="every architecture"):
        assert made.suggest(study.ask())["x"] == 1


def test_an_infinite_value_is_a_failure() -> None:
    made = sampler()
    study = optuna.create_study(directions=BOTH, sampler=made)
    study.optimize(lambda t: (float("inf") if t.number == 1 else 0.1, outcome(t, made)[1]), n_trials=7)
    assert len(set(keys(study))) == 7


def test_what_was_enqueued_is_completed_and_not_proposed() -> None:
    made = sampler()
    study = optuna.create_study(directions=BOTH, sampler=made)
    first = Engine(space(), objectives(), initial=4)
    first.expect([], counter=3)
    (foreseen,) = first.ask()
    for width in (32, 32, 32):
        study.enqueue_trial({"width": width})
    study.enqueue_trial(dict(foreseen.values))
    study.optimize(lambda trial: outcome(trial, made), n_trials=8)
    done = [t.params for t in study.trials]
    assert [p["width"] for p in done[:3]] == [32, 32, 32]
    assert all(p["depth"] * p["width"] < 128 for p in done)
    assert len({str(sorted(p.items())) for p in done}) == 8


def test_wrong_directions_are_refused() -> None:
    made = sampler()
    study = optuna.create_study(directions=["minimize", "maximize"], sampler=made)
    with pytest.raises(InputError, match="directions"):
        study.optimize(lambda trial: outcome(trial, made), n_trials=1)
