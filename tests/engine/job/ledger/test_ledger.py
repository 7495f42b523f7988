"""The contract of every storage a ledger can stand on."""

import multiprocessing
import os

import numpy as np
import optuna
import pytest

from distilsearch.engine.job.ledger import BEAT_SECONDS, DEAD_SECONDS, Ledger, open_storage
from distilsearch.errors import RunError
from distilsearch.families import family

OBJECTIVES = ["loss", "latency_ms"]
SPACE = family("bert").space({"layers": [1, 2]})
STUDENTS = SPACE.decode(np.unique(SPACE.sample(64, np.random.default_rng(0)), axis=0)[:4])


@pytest.fixture(params=["journal", "sqlite"])
def reopen(request, tmp_path):
    url = f"sqlite:///{tmp_path}/ledger.db" if request.param == "sqlite" else ""
    return lambda objectives=OBJECTIVES: Ledger(open_storage(url, tmp_path), "run", objectives, SPACE)


def test_trials_are_there_when_opened_again(reopen) -> None:
    ledger = reopen()
    ledger.complete(ledger.open(STUDENTS[0]), [0.1, 3.0], {"tokens": 5})
    ledger.fail(ledger.open(STUDENTS[1]), "out of memory")
    ledger.add(STUDENTS[2], [0.2, 2.0], {})
    entries = reopen().entries()
    assert [e.architecture for e in entries] == STUDENTS[:3]
    assert [e.state for e in entries] == ["complete", "failed", "complete"]
    assert entries[0].values == (0.1, 3.0)
    assert entries[0].facts == {"tokens": 5}
    assert entries[1].cause == "out of memory"


def test_a_trial_of_this_process_is_not_abandoned(reopen) -> None:
    ledger = reopen()
    ledger.open(STUDENTS[0])
    assert reopen().abandoned() == []


def test_a_trial_whose_process_is_gone_is_taken_over_once(reopen) -> None:
    child = multiprocessing.get_context("fork").Process(target=lambda: (reopen().open(STUDENTS[0]), os._exit(0)))
    reopen()
    child.start()
    child.join()
    ledger = reopen()
    (entry,) = ledger.abandoned()
    assert entry.architecture == STUDENTS[0]
    assert ledger.abandoned() == []
    ledger.complete(entry, [0.1, 1.0], {})
    assert [e.state for e in reopen().entries()] == ["complete"]


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _elsewhere(ledger: Ledger, entry) -> None:
    """Make a lease look as if another host held it."""
    lease = ledger._storage.get_trial(entry.id).user_attrs["lease"]
    ledger._storage.set_trial_user_attr(entry.id, "lease", lease | {"host": "another-host", "pid": 1, "started": "1"})


def test_a_lease_on_another_host_is_dead_once_its_counter_stands_still(tmp_path) -> None:
    clock = Clock()
    first, second = (Ledger(open_storage("", tmp_path), "run", OBJECTIVES, SPACE, clock) for _ in range(2))
    entry = first.open(STUDENTS[0])
    _elsewhere(first, entry)
    assert second.abandoned() == []
    clock.now += DEAD_SECONDS - 1
    assert second.abandoned() == []
    first.renew([entry])  # the holder lives, if slowly
    _elsewhere(first, entry)
    clock.now += DEAD_SECONDS - 1
    assert second.abandoned() == []
    clock.now += 2 * DEAD_SECONDS
    assert [e.architecture for e in second.abandoned()] == [STUDENTS[0]]
    assert second.abandoned() == []


def test_a_holder_that_comes_back_drops_its_result(tmp_path) -> None:
    clock = Clock()
    first, second = (Ledger(open_storage("", tmp_path), "run", OBJECTIVES, SPACE, clock) for _ in range(2))
    entry = first.open(STUDENTS[0], {"asked": 5})
    _elsewhere(first, entry)
    second.abandoned()
    clock.now += 2 * DEAD_SECONDS
    (taken,) = second.abandoned()
    assert first.complete(entry, [0.5, 1.0], {}) is None
    assert first.fail(entry, "killed") is None
    done = second.complete(taken, [0.25, 1.0], {"tokens": 7})
    assert done is not None
    assert done.facts == {"asked": 5, "tokens": 7}
    assert [e.values for e in first.entries()] == [(0.25, 1.0)]


def test_a_lease_is_renewed_at_most_once_in_a_while(tmp_path) -> None:
    clock = Clock()
    ledger = Ledger(open_storage("", tmp_path), "run", OBJECTIVES, SPACE, clock)
    entry, journal = ledger.open(STUDENTS[0]), tmp_path / "journal.log"
    sizes = [journal.stat().st_size]
    for _ in range(10):
        clock.now += BEAT_SECONDS / 5
        ledger.renew([entry])
        sizes.append(journal.stat().st_size)
    assert len(set(sizes)) == 3


def test_what_others_hold_is_told_apart(reopen) -> None:
    first, second = reopen(), reopen()
    first.open(STUDENTS[0])
    second.open(STUDENTS[1])
    assert [e.architecture for e in first.foreign()] == [STUDENTS[1]]
    assert [e.architecture for e in second.foreign()] == [STUDENTS[0]]


def test_a_study_whose_beginner_was_killed_before_he_had_named_its_objectives_goes_on(tmp_path) -> None:
    def reopen(objectives=OBJECTIVES):
        return Ledger(open_storage("", tmp_path), "run", objectives, SPACE)

    directions = [optuna.study.StudyDirection.MINIMIZE] * len(OBJECTIVES)
    open_storage("", tmp_path).create_new_study(directions, "run")
    assert reopen().entries() == []
    reopen().add(STUDENTS[0], [0.2, 2.0], {})
    assert [entry.values for entry in reopen().entries()] == [(0.2, 2.0)]
    with pytest.raises(RunError, match=r"has the objectives \['loss', 'latency_ms'\]"):
        reopen(["loss"])


def test_a_study_of_other_objectives_is_refused(reopen) -> None:
    reopen()
    with pytest.raises(RunError, match="has the objectives"):
        reopen(["loss"])


def test_a_journal_is_an_optuna_study(tmp_path) -> None:
    ledger = Ledger(open_storage("", tmp_path), "run", OBJECTIVES, SPACE)
    ledger.add(STUDENTS[0], [0.1, 3.0], {})
    study = optuna.load_study(study_name="run", storage=open_storage("", tmp_path))
    assert study.best_trials[0].values == [0.1, 3.0]
    assert study.metric_names == OBJECTIVES


def test_a_storage_that_cannot_be_opened_says_so(tmp_path) -> None:
    with pytest.raises(RunError, match="cannot open the storage"):
        open_storage(f"sqlite:///{tmp_path}/none/ledger.db", tmp_path)


def test_what_failed_by_accident_does_not_count(reopen) -> None:
    ledger = reopen()
    ledger.fail(ledger.open(STUDENTS[0]), "killed", transient=True)
    ledger.fail(ledger.open(STUDENTS[1]), "diverged")
    assert [e.ended for e in reopen().entries()] == [False, True]
