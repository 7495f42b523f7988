"""The search loop with a trainer and a meter that answer by architecture: planned, told, recalled, shared."""

import json
import threading

import pytest

from distilsearch.distill.job import Training
from distilsearch.distill.store.trial import Trial
from distilsearch.engine.adapters.results_csv import Failure
from distilsearch.engine.record import Tell
from distilsearch.errors import TrialError

from .searching import SPACE, AtOnce, Several, Source, milliseconds, new_search


def test_every_trial_is_a_new_student_unless_longer_ones_are_allowed(tmp_path) -> None:
    source = Source(0.5)
    new_search(tmp_path, source).explore(8)
    assert {tokens for _, tokens in source.asked} == {100}
    assert len({genes for genes, _ in source.asked}) == 8


def test_students_are_trained_for_longer_where_it_pays(tmp_path) -> None:
    source = Source(0.5)
    search = new_search(tmp_path, source, longer=(200, 400))
    search.explore(14)
    assert len(source.asked) == len(set(source.asked)) == 14
    lengths = [tokens for _, tokens in source.asked]
    assert lengths[:4] == [100] * 4
    assert max(lengths) > 100
    assert len({e.architecture for e in search.ledger.entries()}) < 14
    again = new_search(tmp_path, Source(0.5), longer=(200, 400))
    assert again.engine.front() == search.engine.front()


def test_what_failed_in_longer_training_is_not_trained_on(tmp_path) -> None:
    source = Source(0.5, broken=lambda genes, tokens: tokens > 100)
    with pytest.raises(TrialError, match="in a row failed"):
        new_search(tmp_path, source, longer=(200,)).explore(20)
    assert len(source.asked) == len(set(source.asked))


def test_where_all_trials_fail_the_first_cause_is_quoted(tmp_path, tmp_path_factory) -> None:
    source = Source(0.5, broken=lambda genes, tokens: True)
    with pytest.raises(TrialError, match="all 2 trials failed; the first one: it diverged; mend that"):
        new_search(tmp_path, source).explore(2)
    with pytest.raises(TrialError, match=r"no trial was made: .*widen it"):
        new_search(tmp_path_factory.mktemp("none"), Source()).explore(0)


def test_it_ends_when_little_more_is_expected(tmp_path) -> None:
    source = Source()
    new_search(tmp_path, source).explore(24, stop_below=0.02)
    assert 4 <= len(source.asked) < 24


def test_what_another_run_has_trained_is_a_start(tmp_path) -> None:
    (first, second) = SPACE.decode(SPACE.grid(100)[:2])
    training = Training("t", "t", "x", "r", 100, 0, "float32")
    trials = [Trial("k", a, training, 0.5, 10, 107, 1.0, ((100, 0.5),)) for a in (first, second)]
    for _ in range(2):
        search = new_search(tmp_path, Source())
        search.enter_known(trials)
        assert [(e.architecture, e.facts["source"]) for e in search.ledger.entries()] == [
            (first, "known"),
            (second, "known"),
        ]


def test_imported_results_are_a_start_and_do_not_count(tmp_path) -> None:
    (member,) = SPACE.decode(SPACE.grid(100)[:1])
    result, source = Tell(member, {"loss": 0.5, "latency_ms": 2.5}, 0.1, None), Source()
    search = new_search(tmp_path, source)
    search.enter_imported([result])
    assert [o.values for o in search.engine.outcomes()] == [{"loss": 0.5, "latency_ms": 2.5}]
    search.explore(3)
    assert len(source.asked) == 3
    assert tuple(member.values.values()) not in {genes for genes, _ in source.asked}
    again = new_search(tmp_path, source)
    again.enter_imported([result])
    assert len(again.ledger.entries()) == 4


def test_imported_failures_are_never_proposed_and_do_not_count(tmp_path) -> None:
    (fine, broken) = SPACE.decode(SPACE.grid(100)[:2])
    source = Source()
    for _ in range(2):
        search = new_search(tmp_path, source)
        search.enter_imported([Tell(fine, {"loss": 0.5})], [Failure(broken, "line 2: loss is nan")])
        assert [(e.state, e.cause) for e in search.ledger.entries()][1:2] == [("failed", "line 2: loss is nan")]
    search.explore(3)
    assert len(source.asked) == 3
    assert tuple(broken.values.values()) not in {genes for genes, _ in source.asked}


def test_a_replicate_imported_later_counts_once(tmp_path) -> None:
    (member,) = SPACE.decode(SPACE.grid(100)[:1])
    for losses in ([0.5], [0.5, 0.7], [0.5, 0.7]):
        search = new_search(tmp_path, Source())
        search.enter_imported([Tell(member, {"loss": loss}, None, None) for loss in losses])
        (outcome,) = search.engine.outcomes()
        assert outcome.values["loss"] == pytest.approx(sum(losses) / len(losses))


def test_proposals_in_hand_are_measured_in_one_go(tmp_path) -> None:
    executor = AtOnce()
    executor.workers = 4
    new_search(tmp_path, Source(), executor).explore(4)
    assert executor.measured == 1


def test_two_drivers_of_one_run_hear_of_each_others_trials(tmp_path) -> None:
    sources = [Source(), Source()]
    searches = [new_search(tmp_path, source, Several(1, seed)) for seed, source in enumerate(sources)]
    threads = [threading.Thread(target=search.explore, args=(10,)) for search in searches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=600)
    entries = searches[0].ledger.entries()
    assert all(e.state == "complete" for e in entries)
    assert 10 <= len(entries) <= 11  # both may open the last one at once
    told = [{outcome.architecture for outcome in search.engine.outcomes()} for search in searches]
    everything = {entry.architecture for entry in entries}
    assert all(len(everything - heard) <= 1 for heard in told)  # the other one's last, when both opened it at once


def test_the_ledger_holds_what_was_predicted_before_the_student_was_measured(tmp_path) -> None:
    search = new_search(tmp_path, Source())
    search.explore(5)
    for number, entry in enumerate(search.ledger.entries()):
        noted = entry.facts["latencies"]["latency_ms"]
        assert noted["predicted"] == pytest.approx(milliseconds(entry.architecture) * (1 + 0.5 / (1 + number)))
        assert noted["measured"] == milliseconds(entry.architecture) == entry.values[1]
    json.dumps([e.facts for e in search.ledger.entries()], allow_nan=False)
