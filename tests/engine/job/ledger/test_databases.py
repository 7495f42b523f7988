"""Studies in databases: several who drive one at once, connections that break, and what is said when none is left."""

import contextlib
import multiprocessing
import os
import random
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest

from distilsearch.distill.job import Training
from distilsearch.distill.store.trial import Trial
from distilsearch.engine.engine import Engine
from distilsearch.engine.job.executors.persistent import Persistent
from distilsearch.engine.job.ledger import DEAD_SECONDS, Ledger, open_storage
from distilsearch.engine.job.ledger.database import Database, UnansweredError, open_database, with_driver
from distilsearch.engine.job.ledger.leases import gone
from distilsearch.engine.job.loop.search import Search
from distilsearch.engine.job.serving.served import ServedSpace
from distilsearch.engine.objectives import Expensive
from distilsearch.errors import RunError
from distilsearch.families import family
from distilsearch.operators import Serving

GENES = {"layers": list(range(1, 9)), "width": [128, 192, 256, 320], "heads": [2, 4], "inherit": ["even"]}
SPACE = family("bert").space(GENES | {"ffn": [256 * n for n in range(1, 9)]})
SERVED = ServedSpace(SPACE, SPACE, {}, (Serving(threads=1),))
STUDENTS = SPACE.decode(np.unique(SPACE.sample(64, np.random.default_rng(0)), axis=0)[:8])
WORKERS, TRIALS, CUT = 4, 200, 0.5
TERMINATE = """
    SELECT pg_terminate_backend(pid) FROM (
        SELECT pid FROM pg_stat_activity WHERE application_name = 'distilsearch' ORDER BY random() LIMIT 1) AS one
"""


class Source:
    """Trials that are made at once, and counted."""

    def __init__(self) -> None:
        self.trained: list[str] = []

    def trial(self, architecture, tokens):
        def run():
            self.trained.append(architecture.key)
            loss = 1 / architecture["layers"] + 20 / architecture["width"]
            training = Training("t", "t", "x", "r", tokens, 0, "float32")
            return [Trial("none", architecture, training, loss, 10, tokens, 1.0, ((tokens, loss),))]

        return run


class AtOnce:
    """An executor that has done everything when it returns."""

    workers = 1

    def submit(self, job, progress=None):
        future: Future = Future()
        future.set_result(job())
        return future


def ledger_of(url: str, folder) -> Ledger:
    return Ledger(open_storage(url, folder), "run", ["loss"], SPACE)


def drive(url: str, folder, trials: int, source: Source, ready) -> list[int]:
    """Work on a study until it has so many trials: the numbers of those that were told, in order."""
    engine = Engine(SPACE, [Expensive("loss")], initial=1, strategy="random")
    ledger = ledger_of(url, folder)
    parts = [ledger, [], Persistent(AtOnce()), source, SERVED, (100,)]
    search = Search(engine, *parts, lambda start, end: 0, lambda *_: None)
    ready.wait()
    try:
        search.explore(trials)
    finally:
        ledger.close()
    return search._told


def check_study(url: str, folder, trials: int) -> None:
    """Every trial is there, complete, and another one than all others."""
    ledger = ledger_of(url, folder)
    entries = ledger.entries()
    assert [entry.state for entry in entries] == ["complete"] * trials
    assert [entry.number for entry in entries] == list(range(trials))
    assert len({entry.architecture for entry in entries}) == trials
    ledger.close()


class Cutting(Source):
    """Trials during which connections of the study are broken, and once the whole server."""

    def __init__(self, server) -> None:
        super().__init__()
        self.server, self.cuts, self.noise, self.count = server, 0, random.Random(0), 0
        self.lock = threading.Lock()

    def trial(self, architecture, tokens):
        run = super().trial(architecture, tokens)

        def disturbed():
            with self.lock:
                self.count += 1
                if self.count == TRIALS // 2:
                    self.server.control("restart", "--mode=immediate")
                elif self.noise.random() < CUT:
                    self.cuts += self.cut(self.noise.uniform(0.0, 0.05))
            return run()

        return disturbed

    def cut(self, delay: float) -> int:
        """Break the connection of any worker, whatever it is doing then; how many were."""
        from psycopg import connect

        time.sleep(delay)
        with connect(self.server.url, autocommit=True) as connection:
            return connection.execute(TERMINATE).rowcount


@pytest.mark.slow
def test_four_workers_share_a_study_while_connections_are_cut(server, tmp_path) -> None:
    source, ready = Cutting(server), threading.Barrier(WORKERS)
    with ThreadPoolExecutor(WORKERS) as pool:
        drivers = [pool.submit(drive, server.url, tmp_path, TRIALS, source, ready) for _ in range(WORKERS)]
        told = [driver.result() for driver in drivers]
    assert source.cuts >= TRIALS * CUT / 2
    check_study(server.url, tmp_path, TRIALS)
    assert len(source.trained) == len(set(source.trained)) == TRIALS
    assert [sorted(numbers) for numbers in told] == [list(range(TRIALS))] * WORKERS


def _in_a_process(url, folder, trials, ready, out) -> None:
    source = Source()
    out.put((drive(url, folder, trials, source, ready), source.trained))


def test_two_processes_share_a_study_in_a_file(tmp_path) -> None:
    url, forking, trials = f"sqlite:///{tmp_path}/study.db", multiprocessing.get_context("fork"), 12
    out, ready = forking.SimpleQueue(), forking.Barrier(2)
    processes = [forking.Process(target=_in_a_process, args=(url, tmp_path, trials, ready, out)) for _ in range(2)]
    for process in processes:
        process.start()
    outcomes = [out.get() for _ in processes]
    for process in processes:
        process.join()
    check_study(url, tmp_path, trials)
    assert sum(len(trained) for _, trained in outcomes) == trials
    assert [sorted(told) for told, _ in outcomes] == [list(range(trials))] * 2


@pytest.fixture(autouse=True)
def _closed(monkeypatch):
    """Databases are closed at the end, whoever has opened them."""
    opened, make = [], Database.__init__

    def remembered(self, *args, **options) -> None:
        make(self, *args, **options)
        opened.append(self)

    monkeypatch.setattr(Database, "__init__", remembered)
    yield
    for database in opened:
        database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/study.db"
    from psycopg import connect

    name = f"study_{os.getpid()}_{time.monotonic_ns()}"
    running = request.getfixturevalue("server")
    with connect(running.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return running.url.removesuffix("postgres") + name


def test_of_two_who_want_one_trial_one_gets_it(url, tmp_path) -> None:
    ledgers = [ledger_of(url, tmp_path) for _ in range(WORKERS)]
    ready = threading.Barrier(WORKERS)

    def want(ledger: Ledger):
        ready.wait()
        return ledger.open(STUDENTS[0], {}, lambda entries: not entries)

    with ThreadPoolExecutor(WORKERS) as pool:
        got = list(pool.map(want, ledgers))
    assert sum(entry is not None for entry in got) == 1
    assert len(ledgers[0].entries()) == 1


def test_a_trial_that_was_left_is_taken_up_by_one(url, tmp_path) -> None:
    first, *others = (ledger_of(url, tmp_path) for _ in range(WORKERS))
    entry = first.open(STUDENTS[0])
    first._storage.set_trial_user_attr(entry.id, "lease", entry.lease | {"started": "0"})  # its process has ended
    with ThreadPoolExecutor(WORKERS) as pool:
        taken = list(pool.map(Ledger.abandoned, others))
    assert sorted(len(entries) for entries in taken) == [0, 0, 1]
    assert first.complete(entry, [1.0], {}) is None
    (winner,) = [ledger for ledger, entries in zip(others, taken, strict=True) if entries]
    assert winner.complete(entry, [2.0], {}) is not None
    assert [e.values for e in first.entries()] == [(2.0,)]


class Unconfirmed(Database):
    """A database whose connection breaks when all is written, and before that is said."""

    lost = 0

    @contextlib.contextmanager
    def _transaction(self):
        with super()._transaction() as connection:
            yield connection
        if self.lost:
            self.lost -= 1
            raise UnansweredError("cut")


def test_what_came_through_unconfirmed_is_not_written_twice(url, tmp_path) -> None:
    open_database(url).close()
    database = Unconfirmed(with_driver(url), sleep=lambda seconds: None)
    database.lost = 1
    ledger = Ledger(database, "run", ["loss"], SPACE)
    for act in (
        lambda: ledger.add(STUDENTS[0], [1.0], {}, lambda entries: not entries),
        lambda: ledger.add_failed(STUDENTS[1], "diverged", {}),
        lambda: ledger.complete(ledger.open(STUDENTS[2]), [2.0], {"tokens": 3}),
        lambda: ledger.fail(ledger.open(STUDENTS[3]), "killed", transient=True),
    ):
        database.lost = 1
        assert act() is not None
    assert [entry.state for entry in ledger.entries()] == ["complete", "failed", "complete", "failed"]
    assert database.lost == 0


class Clock:
    """Seconds that pass by sleeping."""

    now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_database_that_stays_away_ends_the_search_with_its_name(server, tmp_path) -> None:
    clock, said = Clock(), []
    database = Database(with_driver(server.url), lambda what, *_: said.append(what), sleep=clock.sleep, clock=clock)
    ledger = Ledger(database, "away", ["loss"], SPACE)
    ledger.open(STUDENTS[0])
    server.control("stop", "--mode=fast")
    try:
        with pytest.raises(RunError, match="has not answered for 120 seconds") as caught:
            ledger.entries()
        waited = clock.now
        ledger.close()
        assert clock.now - waited < 1  # who has waited once need not wait at every door
    finally:
        server.control("start")
    assert "waiting for the database" in said[0]
    assert not any("w@rd" in text or "w%40rd" in text for text in [str(caught.value), *said])


def test_a_lease_that_nobody_could_renew_is_not_dead(server, tmp_path) -> None:
    first, clock = ledger_of(server.url, tmp_path), Clock()
    database = Database(with_driver(server.url))
    second = Ledger(database, "run", ["loss"], SPACE, clock)
    entry = first.open(STUDENTS[5])
    first._storage.set_trial_user_attr(entry.id, "lease", entry.lease | {"host": "another"})
    assert second.abandoned() == []
    clock.now += DEAD_SECONDS + 1
    database.outages += 1
    assert second.abandoned() == []
    clock.now += DEAD_SECONDS + 1
    assert [one.architecture for one in second.abandoned()] == [STUDENTS[5]]


def test_a_wrong_password_is_said_at_once_and_not_quoted(server, tmp_path) -> None:
    wrong = server.url.replace("w%40rd%3A9", "s%40cret%3A1")
    with pytest.raises(RunError, match=r"cannot open the storage .*password authentication failed") as caught:
        open_storage(wrong, tmp_path)
    assert "cret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_hosts_of_one_name_are_told_apart(tmp_path) -> None:
    lease = ledger_of(f"sqlite:///{tmp_path}/study.db", tmp_path).open(STUDENTS[0]).lease
    assert not gone(lease)
    assert gone(lease | {"started": "0"})
    assert not gone(lease | {"started": "0", "place": "another boot"})


def test_what_to_install_is_said_where_there_is_no_driver(monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RunError, match=r"pip install 'distilsearch\[postgresql\]'"):
        open_database("postgresql://me:word@host/db")
