"""The ledger of a run: trials in an Optuna study, in a journal of its folder or a database, and the leases on them."""

from .alone import Connected
from .entries import Entry
from .kinds import is_asked, is_imported
from .ledger import BEAT_SECONDS, DEAD_SECONDS, JOURNAL, Ledger, open_storage
from .studies import study_facts

__all__ = [
    "BEAT_SECONDS",
    "DEAD_SECONDS",
    "JOURNAL",
    "Connected",
    "Entry",
    "Ledger",
    "is_asked",
    "is_imported",
    "open_storage",
    "study_facts",
]
