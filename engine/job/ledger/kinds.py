"""What a trial of a ledger is by its source: one that was asked for, another tool's, or a student served otherwise."""

from .entries import Entry


def is_imported(entry: Entry) -> bool:
    """Whether another tool gave the result; such trials do not count among those asked for."""
    return entry.facts.get("source") == "imported"


def is_asked(entry: Entry) -> bool:
    """Whether it is a trial of its own: neither another tool's, nor a student served otherwise."""
    return entry.facts.get("source") not in ("imported", "served")
