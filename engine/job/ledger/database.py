"""A study in a database: several searches on several hosts may drive it at once, and its connections break.

Every write of the ledger is one transaction that has locked the row of the study first. So of two who want the same
trial one gets it, and a connection that breaks leaves all of a write or nothing of it. Optuna's own methods run inside:
their session is bound to the connection of the transaction, and what they commit are savepoints of it. Where the
confirmation of a commit was lost, nobody knows whether it came through: what is written again looks first.
"""

import contextlib
import importlib.util
import logging
import random
import threading
import time
from collections.abc import Callable, Container, Iterator
from typing import Any, TypeVar

import optuna
import sqlalchemy
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import event, exc
from sqlalchemy.engine import Connection, ExceptionContext, make_url
from sqlalchemy.orm import Session

from distilsearch import hiding
from distilsearch.errors import DiskFullError, RunError
from distilsearch.progress import Progress, silent

from .alone import Connected

T = TypeVar("T")

PATIENCE_SECONDS = 120.0  # for a database that does not answer
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.1, 5.0
OPENING_GROWTH, MOST_OPENING_WAIT_SECONDS = 1.3, 5.0  # 15 tries in about 15 seconds; those at once draw their waits
IDLE, LOCK = "60s", "30s"  # what a client that has vanished may hold a study for, and what others wait for it at a time
DRIVERS = ("psycopg", "psycopg2")  # of PostgreSQL, as they are looked for where the URL names none
POSTGRESQL = ("postgresql", "postgres")
POOL = "distilsearch"  # whose own log is silenced: it prints a traceback where a broken connection is put back
PASSING = ("locked", "already exists", "the database system is", "terminating connection", "closed the connection")
FULL = ("53100", "database or disk is full")


class UnansweredError(Exception):
    """A database did not answer, or not in time: the same may be asked again."""


class Database(RDBStorage, Connected):
    """Optuna's storage in a database, patient: what it is asked is asked again while nobody answers, for two minutes.

    Args:
        url: as SQLAlchemy takes it, with its driver.
        progress: is told what is waited for.

    Attributes:
        outages: how often it has been gone, and has come back.
    """

    def __init__(
        self,
        url: str,
        progress: Progress = silent,
        patience: float = PATIENCE_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.outages = 0
        self._progress, self._patience, self._sleep, self._clock = progress, patience, sleep, clock
        self._inside = threading.local()
        try:
            super().__init__(url, _engine_options(url))
        finally:
            if hasattr(self, "engine"):
                self.engine.dispose()  # the connections so far are not listened to
        self._shown = hiding.hidden(url)
        event.listen(self.engine, "handle_error", self._on_error)
        if self.engine.name == "sqlite":
            event.listen(self.engine, "connect", _by_hand)
            event.listen(self.engine, "begin", _begin)
        self._writing = self.engine.execution_options(distilsearch_writes=True)
        self._cached = optuna.storages.get_storage(self)  # trials that have ended are read once

    def close(self) -> None:
        """Give its connections back; it can be used again."""
        self.remove_session()
        self.engine.dispose()

    def alone(self, study: int | None, work: Callable[[], T]) -> T:
        """What `work` gives, done in one transaction while nobody else writes to the study; it may be done again.

        Raises:
            RunError: nobody has answered for as long as patience lasts.
        """

        def locked() -> T:
            with self._transaction() as connection:
                if study is not None:
                    _lock(connection, study)
                return work()

        return self._patiently(locked)

    # Optuna's side: what a ledger reads

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Every trial, in the order of their numbers."""
        return self._patiently(lambda: self._cached.get_all_trials(study_id, deepcopy, states))

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """One trial, as it is now."""
        return self._patiently(lambda: RDBStorage.get_trial(self, trial_id))

    def get_study_id_from_name(self, study_name: str) -> int:
        """The id of a study; a `KeyError` where there is none."""
        return self._patiently(lambda: RDBStorage.get_study_id_from_name(self, study_name))

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """The facts of a whole study."""
        return self._patiently(lambda: RDBStorage.get_study_user_attrs(self, study_id))

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Optuna's own facts of a study."""
        return self._patiently(lambda: RDBStorage.get_study_system_attrs(self, study_id))

    # Patience

    def _patiently(self, work: Callable[[], T]) -> T:
        if getattr(self._inside, "now", False):  # the whole of the transaction is done again, not a part of it
            return work()
        since, wait, waiting = None, FIRST_WAIT_SECONDS, ""
        while True:
            try:
                result = work()
            except UnansweredError as error:
                since = self._clock() if since is None else since
                if self._clock() - since > self._patience:
                    raise self._given_up(error) from None
                waiting = f"waiting for the database {self._shown}: {error}"
                self._progress(waiting, 0, 1)
                self._sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT_SECONDS)
            else:
                if waiting:
                    self.outages += 1
                    self._progress(waiting, 1, 1)
                return result

    def _given_up(self, error: Exception) -> RunError:
        lasted, self._patience = self._patience, 0.0  # what follows, such as giving back leases, need not wait again
        return RunError(
            f"the database {self._shown} has not answered for {lasted:.0f} seconds ({error}); all that was written"
            " counts, and what was in training goes on from its checkpoint: call again when the database is back"
        )

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._writing.begin() as connection:
            session = Session(bind=connection, join_transaction_mode="create_savepoint")
            self.scoped_session.registry.set(session)
            self._inside.now = True
            try:
                yield connection
            finally:
                self._inside.now = False
                self.scoped_session.remove()

    def _on_error(self, context: ExceptionContext) -> None:
        """Tell what will pass from what will not, before Optuna makes one error of both and waits for either."""
        if context.is_pre_ping:
            return
        said = _words(context.original_exception, self.url)
        state = str(getattr(context.original_exception, "sqlstate", None) or "")
        if state == FULL[0] or FULL[1] in said:
            raise DiskFullError(f"the disk of the database {self._shown} is full; make room, and call again") from None
        if self.engine.name == "sqlite":
            passing = "locked" in said or "busy" in said
        else:
            passing = isinstance(context.sqlalchemy_exception, exc.OperationalError | exc.InterfaceError)
        if passing or context.is_disconnect:
            raise UnansweredError(said) from None
        if isinstance(context.sqlalchemy_exception, exc.OperationalError):
            raise RunError(f"the database {self._shown} refused what was asked of it: {said}") from None


def open_database(url: str, progress: Progress = silent) -> Database:
    """The database of a URL, whose tables are made where there are none.

    Raises:
        RunError: it cannot be opened, or its driver is not installed; the message has no secrets.
    """
    try:
        return _opened(with_driver(hiding.opened(url)), progress)
    except RunError:
        raise
    except Exception as error:  # the many errors of SQLAlchemy and its drivers, all of them the user's to mend
        hint = f"; its password is not kept in run.toml: give it in {hiding.PASSWORD}" if hiding.MASK in url else ""
        said = _words(error.__cause__ or error, url)
        raise RunError(f"cannot open the storage {hiding.hidden(url)!r}: {said}{hint}") from None


def with_driver(url: str) -> str:
    """A URL of PostgreSQL with the driver that is installed, where it names none: psycopg, else psycopg2.

    >>> with_driver("sqlite:///runs/study.db")
    'sqlite:///runs/study.db'
    >>> with_driver("postgresql+asyncpg://host/db")
    'postgresql+asyncpg://host/db'
    """
    scheme, colon, rest = url.partition("://")
    if scheme not in POSTGRESQL:
        return url
    driver = next((name for name in DRIVERS if importlib.util.find_spec(name) is not None), None)
    if driver is None:
        raise RunError(
            f"cannot open the storage {hiding.hidden(url)!r}: no driver of PostgreSQL is installed; install one by"
            " pip install 'distilsearch[postgresql]'"
        )
    return f"postgresql+{driver}{colon}{rest}"


def _opened(url: str, progress: Progress) -> Database:
    """Tables that somebody else is making at this moment, and a connection that broke, are there at the next try."""
    wait = FIRST_WAIT_SECONDS
    while True:
        try:
            return Database(url, progress)
        except (exc.DBAPIError, optuna.exceptions.StorageInternalError, AssertionError) as error:
            cause = error.__cause__ if isinstance(error.__cause__, exc.DBAPIError) else error
            if wait > MOST_OPENING_WAIT_SECONDS or not _passing(cause):
                raise
        time.sleep(wait * random.random())
        wait *= OPENING_GROWTH


def _passing(error: BaseException) -> bool:
    """Whether opening is worth another try: not where there is no such host, database, user or folder."""
    if isinstance(error, exc.OperationalError | exc.InterfaceError):
        return error.connection_invalidated or any(words in str(error.orig) for words in PASSING)
    return True


def _engine_options(url: str) -> dict[str, Any]:
    """Connections are tried before they are used; nothing is left in the server that a pooler would mix up."""
    parsed = make_url(url)
    connect: dict[str, Any] = {}
    if parsed.get_backend_name() == "sqlite":
        connect = {"timeout": 30.0}
    elif parsed.get_backend_name() == "postgresql" and parsed.get_driver_name() in DRIVERS:
        connect = {"connect_timeout": 10, "application_name": "distilsearch"}
        connect |= {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
        connect = {name: value for name, value in connect.items() if name not in parsed.query}
        if parsed.get_driver_name() == "psycopg":
            connect["prepare_threshold"] = None
    logging.getLogger(f"sqlalchemy.pool.impl.QueuePool.{POOL}").setLevel(logging.CRITICAL)  # what breaks is said here
    return {"pool_pre_ping": True, "pool_logging_name": POOL, "connect_args": connect}


def _lock(connection: Connection, study: int) -> None:
    """Wait until nobody else writes to a study. Who has vanished meanwhile holds it for a minute, not for hours."""
    if connection.dialect.name == "postgresql":
        settings = {"idle_in_transaction_session_timeout": IDLE, "lock_timeout": LOCK}
        connection.execute(
            sqlalchemy.select(*(sqlalchemy.func.set_config(name, value, True) for name, value in settings.items()))
        )
    studies = sqlalchemy.table("studies", sqlalchemy.column("study_id"))
    row = sqlalchemy.select(studies.c.study_id).where(studies.c.study_id == study)
    connection.execute(row.with_for_update())


def _by_hand(connection: Any, record: Any) -> None:
    """Python's SQLite begins transactions late, and savepoints outside of them: see `_begin`."""
    connection.isolation_level = None


def _begin(connection: Connection) -> None:
    """Whoever means to write says so at once: two who had read before they write would block each other."""
    writes = connection.get_execution_options().get("distilsearch_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _words(error: object, url: str) -> str:
    """The first line of what a driver says, without the secrets of a URL, and without what was to be written."""
    said = getattr(error, "orig", None) or error
    lines = [line.strip() for line in hiding.hidden_in(said, url).splitlines() if line.strip()]
    return lines[0] if lines else type(said).__name__
