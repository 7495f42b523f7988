"""The search loop with a trainer and a meter that answer by architecture: planned, told, recalled, continued."""

import json
import math
import random
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distilsearch.architecture import Architecture
from distilsearch.distill.job import Training
from distilsearch.distill.recipes import EMBEDDING
from distilsearch.distill.store.trial import Trial
from distilsearch.engine.adapters.results_csv import Failure
from distilsearch.engine.engine import Engine
from distilsearch.engine.job.executors.persistent import MOST_ATTEMPTS, Persistent
from distilsearch.engine.job.jobs import Measure
from distilsearch.engine.job.journal import sealed
from distilsearch.engine.job.ledger import Ledger, open_storage
from distilsearch.engine.job.machines import Latency
from distilsearch.engine.job.proposing import propose
from distilsearch.engine.job.recall import replay
from distilsearch.engine.job.runfile.sections import TargetSection
from distilsearch.engine.job.search import Search
from distilsearch.engine.job.served import ServedSpace
from distilsearch.engine.objectives import Expensive, Known
from distilsearch.engine.record import Tell
from distilsearch.errors import DiskFullError, TrialError
from distilsearch.families import family
from distilsearch.operators import Serving

GENES = {"layers": [1, 2, 3, 4], "width": [128, 192, 256], "heads": [4], "ffn": [256, 512], "inherit": ["even"]}
SPACE = family("bert").space(GENES)
SERVING = Serving(threads=1)
SERVED = ServedSpace(SPACE, SPACE, {}, (SERVING,))


def milliseconds(architecture: Architecture) -> float:
    """Students take as long as they have layers."""
    return float(architecture["layers"]) + architecture["width"] / 1000


class Machine:
    """A serving machine whose predictions are off by a factor that it learns from what it measures."""

    objective = "latency_ms"

    def __init__(self) -> None:
        self.measured: dict[str, float] = {}
        self.slowness: dict[str, float] = {}
        self.seen: list[str] = []

    @property
    def learnt(self) -> dict:
        return {"seen": list(self.seen)}

    def relearn(self, learnt) -> None:
        self.seen = list(learnt["seen"])

    def latency(self, architecture) -> Latency:
        ms = milliseconds(architecture) * (1 + 0.5 / (1 + len(self.seen)))
        return Latency(ms, 0.9 * ms, 1.1 * ms, self.measured.get(architecture.key))

    def complete(self, architecture) -> bool:
        return architecture.key in self.measured

    def jobs(self, members):
        return [(tuple(members), Measure(tuple(members), "cpu", SERVING))] if members else []

    def take(self, architectures, measurements) -> None:
        self.measured |= {a.key: one for a, one in zip(architectures, measurements, strict=True)}

    def recall(self, architecture, measured_ms):
        if measured_ms is not None:
            self.measured[architecture.key] = measured_ms
        return measured_ms

    def learn(self, architecture) -> None:
        self.seen.append(architecture.key)


class Source:
    """Trials that are made at once; longer training is worth `worth` for each factor of e, some never come back."""

    def __init__(self, worth: float = 0.0, broken=lambda genes, tokens: False) -> None:
        self.worth, self.broken = worth, broken
        self.asked: list[tuple[tuple, int]] = []

    def trial(self, architecture, tokens):
        self.asked.append((tuple(architecture.values.values()), tokens))

        def run():
            if self.broken(architecture.values, tokens):
                return [TrialError("it diverged")]
            genes = architecture.values
            loss = 1 / genes["layers"] + 20 / genes["width"] + self.worth * math.log(1000 / tokens)
            training = Training("t", "t", "x", "r", tokens, 0, "float32")
            curve = ((tokens // 4, 2 * loss), (tokens, loss))
            return [Trial("none", architecture, training, loss, 10, tokens + 7, 1.0, curve)]

        return run


class AtOnce:
    """An executor that has done everything when it returns; after so many trainings it is killed."""

    workers = 1

    def __init__(self, killed_after: float = math.inf) -> None:
        self.left, self.measured = killed_after, 0

    def submit(self, job, progress=None):
        future: Future = Future()
        if isinstance(job, Measure):
            self.measured += 1
            future.set_result([milliseconds(a) for a in job.architectures])
        elif self.left <= 0:
            raise KeyboardInterrupt
        else:
            self.left -= 1
            future.set_result(job())
        return future


class Deadly(AtOnce):
    """Each so-manieth training, or each measurement of some models, is lost with its worker."""

    def __init__(self, each: float, models=lambda models: False) -> None:
        super().__init__()
        self.each, self.models, self.count = each, models, 0

    def submit(self, job, progress=None):
        if isinstance(job, Measure):
            return lost() if self.models(job.architectures) else super().submit(job, progress)
        self.count += 1
        future = super().submit(job, progress)
        return lost() if self.count % self.each == 0 else future


def lost() -> Future:
    future: Future = Future()
    future.set_exception(TrialError("the child was killed by SIGKILL; the end of log 1:\nwords", transient=True))
    return future


class Several:
    """An executor of some threads that end in any order."""

    def __init__(self, workers: int, seed: int) -> None:
        self.workers = workers
        self._pool = ThreadPoolExecutor(2 * workers)
        self._random, self._lock = random.Random(seed), threading.Lock()

    def submit(self, job, progress=None):
        with self._lock:
            delay = self._random.random() / 200

        def run():
            time.sleep(delay)
            return [milliseconds(a) for a in job.architectures] if isinstance(job, Measure) else job()

        return self._pool.submit(run)


def new_engine(machine, initial: int = 4, served: ServedSpace = SERVED) -> Engine:
    cost = Known("latency_ms", lambda codes: [machine.latency(a).predicted for a in served.space.decode(codes)])
    loss = Expensive("loss", ignores=served.names)
    return Engine(served.space, [loss, cost], reference={"latency_ms": 5.0}, initial=initial)


def new_search(folder, source, executor=None, longer=(), initial: int = 4, served: ServedSpace = SERVED) -> Search:
    machine = Machine()
    folder.mkdir(exist_ok=True)
    ledger = Ledger(open_storage("", folder), "run", ["loss", "latency_ms"], served.space)
    shared = EMBEDDING.shared
    return Search(
        new_engine(machine, initial, served),
        ledger,
        [machine],
        Persistent(executor or AtOnce()),
        source,
        served,
        (100, *longer),
        shared,
        lambda *_: None,
    )


def die(search: Search) -> None:
    """Leave the leases of a search behind as a killed process would."""
    storage = open_storage("", search.ledger._storage._backend.path.parent)
    for entry in search.ledger.entries():
        if entry.state == "running":
            storage.set_trial_user_attr(entry.id, "lease", entry.lease | {"started": "0"})


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


# Continuing is the same run


def mortal(search: Search, writes: float, torn: bool) -> None:
    """Let the process of a search die at its so-manieth write into the journal: before it, or in the midst of it."""
    backend = search.ledger._storage._backend
    write, left = backend.append_logs, writes

    def append(logs) -> None:
        nonlocal left
        left -= 1
        if left >= 0:
            return write(logs)
        if torn:
            with backend.path.open("ab") as file:
                file.write(sealed(logs[0])[:40])
        raise KeyboardInterrupt

    backend.append_logs = append


def outcome(search: Search) -> list[tuple]:
    """What a search has come to, trial by trial."""
    latencies = [e.facts["latencies"]["latency_ms"] for e in search.ledger.entries()]
    asks = [e.facts.get("plan", {}).get("counter") for e in search.ledger.entries()]
    trials = [(e.architecture, e.facts["asked"], e.state, e.values) for e in search.ledger.entries()]
    return list(zip(trials, latencies, asks, strict=True))


KILLS = st.one_of(
    st.builds(lambda after: (after, math.inf, False), st.integers(0, 4)),  # as the so-manieth training is submitted
    st.builds(lambda writes, torn: (math.inf, writes, torn), st.integers(0, 14), st.booleans()),
)


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kills=st.lists(KILLS, min_size=1, max_size=3), longer=st.sampled_from([(), (200, 400)]))
def test_a_run_that_was_killed_proposes_what_it_would_have_proposed(tmp_path_factory, kills, longer) -> None:
    whole = new_search(tmp_path_factory.mktemp("whole"), Source(0.5), longer=longer)
    whole.explore(7)
    folder, asked = tmp_path_factory.mktemp("killed"), []
    for after, writes, torn in [*kills, (math.inf, math.inf, False)]:
        search = new_search(folder, Source(0.5), AtOnce(after), longer)
        mortal(search, writes, torn)
        try:
            search.explore(7)
        except KeyboardInterrupt:
            die(search)
        asked += search.source.asked
    assert list(dict.fromkeys(asked)) == whole.source.asked
    assert outcome(search) == outcome(whole)


def test_what_is_known_of_a_student_served_otherwise_is_entered_after_a_kill_too(tmp_path) -> None:
    served = ServedSpace.extend(SPACE, [TargetSection(serving={"dtype": ["float32", "bfloat16"], "threads": 1})])
    whole = new_search(tmp_path / "whole", Source(), served=served)
    whole.explore(2)
    for writes in range(8):  # four of each trial
        folder = tmp_path / str(writes)
        search = new_search(folder, Source(), served=served)
        mortal(search, writes, torn=False)
        with pytest.raises(KeyboardInterrupt):
            search.explore(2)
        die(search)
        again = new_search(folder, Source(), served=served)
        again.explore(2)
        assert sorted(map(str, outcome(again))) == sorted(map(str, outcome(whole))), writes


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
    deep = []
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


def test_what_winners_taught_the_intervals_is_remembered(tmp_path) -> None:
    search = new_search(tmp_path, Source())
    search.explore(6)
    again = new_search(tmp_path, Source())
    assert again.machines[0].seen == search.machines[0].seen != []
    assert again.engine.reference == search.engine.reference
    assert again.engine.counter == search.engine.counter


@pytest.mark.parametrize("workers", [2, 4])
def test_with_several_workers_every_ask_can_be_asked_again(tmp_path, workers) -> None:
    search = new_search(tmp_path, Source(0.5), Several(workers, seed=workers), longer=(200,))
    search.machines[0].learn = lambda architecture: None  # predictions that stay, so that old asks can be asked again
    search.explore(14)
    machine = Machine()
    replayed = list(
        replay(
            search.ledger,
            lambda: new_engine(machine),
            [machine],
            SERVED,
            100,
            lambda engine: propose(engine, (100, 200), EMBEDDING.shared),
        )
    )
    assert len(replayed) == 14
    assert any(entry.facts["plan"]["pending"] for entry, _ in replayed)
    for entry, proposal in replayed:
        assert proposal == (entry.architecture, entry.facts["asked"])


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
