"""All faults, by name: those that befall a process, and those of files."""

import os
import signal
from functools import partial

from . import actions
from .actions import plain, small_disk, writable
from .files import KINDS, FileFault
from .harness import Fault
from .pairs import GONE, PairFault

STOPPED = r"stopped|ended by SIGTERM"
FULL = r"the disk of .* is full"
AGAIN = r"trying again \(2 of 4\)"
DATABASE = "study.db"

PROCESSES: tuple[Fault, ...] = (
    Fault("driver killed", lambda world, draw: plain(actions.kill())),
    Fault("driver ended (SIGTERM)", lambda world, draw: plain(actions.kill(signal.SIGTERM)), STOPPED),
    Fault("two drivers", lambda world, draw: plain(lambda: None), "waiting for process", second=True),
    Fault(
        "trainer killed", lambda world, draw: plain(actions.kill()), f"SIGKILL.*{AGAIN}", True, "trainer", True
    ),
    Fault("meter killed", lambda world, draw: plain(actions.kill()), f"SIGKILL.*{AGAIN}", True, "meter", True),
    Fault(
        "trainer hangs", lambda world, draw: plain(actions.kill(signal.SIGSTOP)), f"said nothing for.*{AGAIN}", True,
        "trainer", True, patience=15.0,
    ),
    Fault(
        "out of memory", lambda world, draw: plain(actions.no_memory), f"MemoryError.*{AGAIN}", True, "trainer", True
    ),
    Fault(
        "loss diverges", lambda world, draw: plain(actions.diverge), failed=1, cause="the training diverged at step"
    ),
    Fault(
        "training device lost",
        lambda world, draw: plain(actions.lose_trainer(world), lambda: (world.root / "gone").unlink(missing_ok=True)),
        "the device is lost", True, "trainer", True,
    ),
    Fault(
        "serving device lost", lambda world, draw: plain(actions.lose_meter), "the device 'cpu' is gone", True, "meter",
        True,
    ),
    Fault("disk of the run full", lambda world, draw: small_disk(world.run), FULL),
    Fault("disk of the trials full", lambda world, draw: small_disk(world.home / "trials"), FULL),
    Fault("disk of the cache full", lambda world, draw: small_disk(world.home / "targets"), FULL),
    Fault("home read-only", lambda world, draw: writable(world.home), r"[Rr]ead-only|cannot (be written|write|lock)"),
    Fault("clock jumps", lambda world, draw: plain(partial(actions.jump, draw.uniform(-48, 48)))),
    Fault(
        "database locked",
        lambda world, draw: plain(
            actions.lock_database(world.root / DATABASE, draw.uniform(1.0, 6.0)),
            lambda: actions.release(world.root / DATABASE),
        ),
        "locked", database=True,
    ),
    Fault(
        "database gone",
        lambda world, draw: plain(
            lambda: actions.take_away(world.root / DATABASE), lambda: actions.give_back(world.root / DATABASE)
        ),
        "database|storage|table", database=True,
    ),
)  # fmt: skip
NEED_ROOT = {"disk of the run full", "disk of the trials full", "disk of the cache full", "home read-only"}
FILES: tuple[FileFault, ...] = tuple(FileFault(f"file: {kind}", kind) for kind in KINDS)
PAIRS = (PairFault("joined process killed", "joined"), PairFault("driver of a joined run killed", "driver", GONE))
FAULTS: dict[str, Fault | FileFault | PairFault] = {fault.name: fault for fault in (*PROCESSES, *PAIRS, *FILES)}


def possible(name: str) -> bool:
    """Whether this process may do what a fault needs."""
    return name not in NEED_ROOT or os.geteuid() == 0
