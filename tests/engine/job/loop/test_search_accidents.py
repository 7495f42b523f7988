"""What fails by accident costs a search no student that can be had: workers, meters and disks that give out."""

import math
from concurrent.futures import Future

import pytest

from distilsearch.engine.job.executors.persistent import MOST_ATTEMPTS
from distilsearch.engine.job.jobs import Measure
from distilsearch.errors import DiskFullError, TrialError

from .searching import AtOnce, Deadly, Source, new_search


def test_a_trial_whose_worker_is_killed_is_tried_again_and_changes_no_proposal(tmp_path_factory) -> None:
    whole, hurt = Source(0.5), Source(0.5)
    new_search(tmp_path_factory.mktemp("whole"), whole, longer=(200,)).explore(8)
    search = new_search(tmp_path_factory.mktemp("hurt"), hurt, Deadly(3), (200,))
    search.explore(8)
    assert list(dict.fromkeys(hurt.asked)) == whole.asked
    assert search.executor._executor.count == 8 + 3  # each third one was lost
    assert [e.state for e in search.ledger.entries()] == ["complete"] * 8


def test_a_student_that_kills_its_worker_again_and_again_is_given_up(tmp_path) -> None:
    search = new_search(tmp_path, Source(), Deadly(1))
    with pytest.raises(TrialError, match="in a row failed"):
        search.explore(8)
    assert [(e.state, e.transient) for e in search.ledger.entries()] == [("failed", True)] * 3
    assert search.executor._executor.count == 3 * MOST_ATTEMPTS


def test_what_was_lost_by_accident_is_tried_again_by_a_later_call_and_not_by_this_one(tmp_path) -> None:
    first = Source()
    with pytest.raises(TrialError, match=r"3 trials in a row failed for one cause; mend it .*SIGKILL"):
        new_search(tmp_path, first, Deadly(1)).explore(30)
    assert len(set(first.asked)) == len(first.asked) == 3
    search = new_search(tmp_path, Source())
    assert search.engine.state()["failed"] == []
    search.explore(3)
    assert sum(e.state == "complete" for e in search.ledger.entries()) == 3


def test_failures_of_different_causes_do_not_stop_a_search_so_soon(tmp_path) -> None:
    class Various(Source):
        def trial(self, architecture, tokens):
            self.asked.append((tuple(architecture.values.values()), tokens))
            return lambda: [TrialError(f"it broke in its {'abcdefgh'[len(self.asked)]} part")]

    with pytest.raises(TrialError, match="all 6 trials failed"):
        new_search(tmp_path, Various()).explore(6)


def test_a_student_whose_meter_dies_is_kept_and_the_cause_is_noted(tmp_path) -> None:
    executor = Deadly(math.inf, lambda models: any(m["layers"] == 4 for m in models))
    executor.workers = 3
    search = new_search(tmp_path, Source(), executor)
    search.explore(12)
    entries = search.ledger.entries()
    assert [e.state for e in entries] == ["complete"] * 12
    deep = [e for e in entries if e.architecture["layers"] == 4]
    assert deep
    for entry in entries:  # measured together with one that kills the meter, others are measured alone
        latency, unmeasured = entry.facts["latencies"]["latency_ms"], entry.facts.get("unmeasured")
        if entry in deep:
            assert (latency["measured"], entry.values[1]) == (None, latency["predicted"])
            assert unmeasured == {"latency_ms": "the child was killed by SIGKILL; the end of log 1"}
        else:
            assert latency["measured"] == entry.values[1]
            assert unmeasured is None


def test_where_every_meter_dies_the_search_stops_and_keeps_its_students(tmp_path) -> None:
    with pytest.raises(TrialError, match="in a row failed for one cause"):
        new_search(tmp_path, Source(), Deadly(math.inf, lambda models: True)).explore(9)
    search = new_search(tmp_path, Source())
    assert [e.state for e in search.ledger.entries()] == ["complete"] * 3
    search.explore(9)
    assert len(search.source.asked) == 6


def test_a_full_disk_is_nobodys_failure(tmp_path) -> None:
    class Full(AtOnce):
        def submit(self, job, progress=None):
            if isinstance(job, Measure) or self.left > 0:
                return super().submit(job, progress)
            future: Future = Future()
            future.set_exception(DiskFullError("the disk of /somewhere is full"))
            return future

    whole = Source()
    new_search(tmp_path / "whole", whole).explore(6)
    search = new_search(tmp_path / "full", Source(), Full(4))
    with pytest.raises(DiskFullError, match="/somewhere"):
        search.explore(6)
    assert [e.state for e in search.ledger.entries()] == ["complete"] * 4 + ["running"]
    search.ledger.close()
    again = new_search(tmp_path / "full", Source())
    again.explore(6)
    assert [*search.source.asked, *again.source.asked[1:]] == whole.asked
