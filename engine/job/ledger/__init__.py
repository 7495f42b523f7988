"""The ledger of a run: trials in an Optuna study, in a journal of its folder or a database, and the leases on them."""

from .ledger import BEAT_SECONDS, DEAD_SECONDS, JOURNAL, Entry, Ledger, open_storage

__all__ = ["BEAT_SECONDS", "DEAD_SECONDS", "JOURNAL", "Entry", "Ledger", "open_storage"]
