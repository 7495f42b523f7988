"""The ledger of a run: trials in an Optuna study, in a journal of its folder or a database, and the leases on them."""

from .kinds import is_asked, is_imported
from .ledger import BEAT_SECONDS, DEAD_SECONDS, JOURNAL, Entry, Ledger, open_storage

__all__ = [
    "BEAT_SECONDS",
    "DEAD_SECONDS",
    "JOURNAL",
    "Entry",
    "Ledger",
    "is_asked",
    "is_imported",
    "open_storage",
]
