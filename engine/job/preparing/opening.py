"""What a run that has been checked works with, opened for as long as it works: its ledger and its executor."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from distilsearch.home import written_folders
from distilsearch.progress import Progress

from ..executors import Executor, Options, open_executor
from ..executors.persistent import Persistent
from ..ledger import Ledger, open_storage
from ..preflight import LOCAL
from ..presence.holding import Presence
from .prepare import Prepared
from .resolve import Resolved, asked, probed, resolve


@contextmanager
def opened_ledger(prepared: Prepared, progress: Progress, others: Callable[[], str] | None = None) -> Iterator[Ledger]:
    """The ledger of a run; what is under way when it is left may be taken up at once.

    Args:
        others: who else is at work on the run, in words; whoever has joined it where not given.
    """
    run, folder = prepared.run, prepared.folder
    names = ["loss", *(machine.objective for machine in prepared.machines)]
    presence = None if run.storage.url else Presence(folder)
    storage = open_storage(run.storage.url, folder, progress, others=others or Presence(folder).living)
    ledger = Ledger(storage, run.name, names, prepared.space, presence=presence)
    try:
        yield ledger
    finally:
        ledger.close()


@contextmanager
def opened_executor(
    prepared: Prepared, ledger: Ledger, given: Executor | None, progress: Progress, logs: Path | None = None
) -> Iterator[tuple[Executor, Resolved]]:
    """The executor of a run, stubborn, and how it trains; closed at the end, unless it was given: then it goes on.

    Args:
        logs: the folder of its logs; that of the run where not given.
    """
    section, train, folder = prepared.run.executor, prepared.run.train, prepared.folder
    places = [folder, *written_folders()]
    if given is not None:
        stubborn = Persistent(given, progress, places, given=True)
        yield stubborn, resolve(train, ledger, partial(asked, stubborn))
        return
    here = section.name == LOCAL
    patience = 60 * section.patience_minutes
    resolved = resolve(train, ledger, partial(probed, folder, patience, progress)) if here else None
    workers, threads = (resolved.workers, resolved.threads) if resolved else (int(train.workers), train.threads)
    more = {"address": section.address, "depot": section.depot}
    executor = open_executor(section.name, Options(logs or folder, workers, threads, train.device, patience, more))
    stubborn = Persistent(executor, progress, places)
    try:
        yield stubborn, resolved or resolve(train, ledger, partial(asked, stubborn))
    finally:
        executor.close()
