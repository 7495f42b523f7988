"""Latency tables on their way between the machine that measures and the driver: rounds, through the depot.

Rounds are named by their content, so that sending and fetching are unions: what either side knows already stays, and
a transfer that breaks off is repeated.
"""

import re
from pathlib import Path

from distilsearch.errors import TableError
from distilsearch.profiling.tables.store import store_folder
from distilsearch.profiling.tables.transfer import pull, push

TABLES = "tables"
FINGERPRINT = re.compile("[0-9a-f]+")


def send(depot: str, folder: Path) -> None:
    """Send the rounds of one table that are not in the depot yet; nothing to do where the depot is the home ("")."""
    if depot:
        push(_url(depot), folder.parents[1], only=(folder.parent.name, folder.name))


def receive(depot: str, device: str, stack: str, store: Path | None = None) -> Path:
    """Fetch the rounds of a table that this machine lacks; returns the table's folder, which may not exist.

    Args:
        depot: its URL; "" fetches nothing, for the table is here.
        device: fingerprint of the device, all its digits; `stack` likewise.
        store: where tables are kept; the home's own where none is given.

    Raises:
        TableError: a damaged file, which is not taken over.
    """
    if not all(FINGERPRINT.fullmatch(one) for one in (device, stack)):
        raise TableError(f"expected the fingerprints of a device and a stack; got {device!r} and {stack!r}")
    if depot:
        pull(_url(depot), store, only=(device, stack), absent_ok=True)
    return store_folder(store) / device / stack


def _url(depot: str) -> str:
    return f"{depot.rstrip('/')}/{TABLES}"
