"""Who holds a trial that is under way, as a lease says it, and what can be known of whether he lives.

A process is known by its number and its start. Both mean something in one place alone: one boot of a machine, and one
space of process numbers in it. Hosts of one name, such as copies of a container, are told apart by that.
"""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial


def this_process() -> dict[str, Any]:
    """What a lease says of the process that holds it."""
    own = os.getpid()
    return {"host": socket.gethostname(), "place": _place(), "pid": own, "started": _started(own)}


def lease_of(trial: FrozenTrial) -> dict[str, Any]:
    """The lease of a trial; empty where it was given back."""
    lease = trial.user_attrs.get("lease")
    return lease if isinstance(lease, dict) else {}


def gone(lease: Mapping[str, Any]) -> bool:
    """Whether the process that holds a lease is known to have ended: only those of this place can be."""
    here = lease.get("host") == socket.gethostname() and lease.get("place", _place()) == _place()
    pid = lease.get("pid")
    return here and lease.get("started") != (_started(pid) if type(pid) is int else "")


def _place() -> str:
    """Where process numbers mean the same; "" where that cannot be known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process started, in clock ticks, so that a reused process number is told apart; "" when gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
