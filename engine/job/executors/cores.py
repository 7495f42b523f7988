"""A lock per core (and GPU), held by all runs of this machine: trainers share cores, a meter is alone with its own.

Latency means something only while the cores it needs are otherwise idle. Each core has two files that are locked with
flock, so that the system frees them when their holder dies:

| file | who holds it |
| --- | --- |
| `turnstile-N` | a meter from when it asks until it has measured: nobody goes in behind it |
| `core-N` | trainers, together, while they compute; a meter, alone |

Between two steps a trainer looks at the turnstiles of its cores. Where one is taken it lets go of everything and comes
back when it can pass. Meters take turnstiles, then cores, in one order; trainers never wait with a lock in their hands:
so nobody waits in a circle, and no meter is starved. All waiting is by asking again, so that it can be interrupted.

Which cores a process computes on is read from its affinity: a trainer that is pinned to one core shares that one. A
meter of few threads holds as many cores and is not pinned to them, which would change what counts the cores of the
device: the scheduler keeps it on the idle one (one thread beside a trainer on the other core: p10 3.29 ms free, 3.32
pinned).
"""

import contextlib
import fcntl
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from distilsearch.home import ensure_folder
from distilsearch.progress import Between, Progress

if TYPE_CHECKING:
    from ..jobs import Needs

ASK_SECONDS = 0.01  # between two attempts
TELL_SECONDS = 5.0  # between two words that a job waits
WAITING = "waiting: another job measures this machine"
OWN = "waiting while this run itself measures"
WORKER = "distilsearch.engine.job.executors.worker"
SIGNED_BYTES, SHOWN = 4_096, 160  # of who measures: read, and shown

Waiting = Callable[[], None]


def cores_folder() -> Path:
    """Where the locks of this machine and user are."""
    return ensure_folder(Path(tempfile.gettempdir()) / f"distilsearch-cores-{os.getuid()}")


class _Locks:
    """Turnstiles and cores by name, as open files; nothing is held at first."""

    def __init__(self, names: Sequence[str], folder: Path | None = None) -> None:
        self.names = sorted(names)
        place = cores_folder() if folder is None else ensure_folder(folder)
        self._open = {
            f"{kind}-{name}": os.open(place / f"{kind}-{name}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            for name in self.names
            for kind in ("turnstile", "core")
        }

    def attempt(self, kind: str, name: str, how: int) -> bool:
        """Take a lock, or be told that others hold it."""
        try:
            fcntl.flock(self._open[f"{kind}-{name}"], how | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def sign(self) -> None:
        """Say in the turnstiles who has taken them."""
        content = json.dumps({"pid": os.getpid(), "run": _run_of(os.getpid())}).encode()
        for name in self.names:
            with contextlib.suppress(OSError):  # a full disk holds up nobody who measures
                os.ftruncate(self._open[f"turnstile-{name}"], 0)
                os.pwrite(self._open[f"turnstile-{name}"], content, 0)

    def measuring(self) -> str:
        """Who has taken one of the turnstiles, in words: `OWN` or `WAITING`, with his command where he has said it."""
        for name in self.names:
            if self.attempt("turnstile", name, fcntl.LOCK_SH):
                self.free("turnstile", name)
                continue
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                signed = json.loads(os.pread(self._open[f"turnstile-{name}"], SIGNED_BYTES, 0))
                if _driver_of(pid := int(signed["pid"])) == _driver_of(os.getpid()) is not None:
                    return OWN
                return f"{WAITING} (process {pid}, {signed['run']!s:.{SHOWN}})"
        return WAITING

    def free(self, kind: str, name: str) -> None:
        """Let go of a lock."""
        fcntl.flock(self._open[f"{kind}-{name}"], fcntl.LOCK_UN)

    def free_all(self) -> None:
        """Let go of all cores, then of all turnstiles."""
        for kind in ("core", "turnstile"):
            for name in self.names:
                self.free(kind, name)

    def close(self) -> None:
        """Let go of everything, for good."""
        for file in self._open.values():
            os.close(file)
        self._open = {}


def _run_of(pid: int) -> str:
    """What a process works for: the command of its driver, where it is a worker, or its own; and the folder."""
    with contextlib.suppress(OSError, IndexError):
        words = _command(_driver_of(pid) or pid)
        return f"{' '.join([Path(words[0]).name, *words[1:]])} in {Path.cwd()}"
    return "whose command cannot be read"


def _driver_of(pid: int) -> int | None:
    """The process that a worker works for; None of any other process, and of one that has gone."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        words = _command(pid)
        return int(words[-1]) if WORKER in words else None
    return None


def _command(pid: int) -> list[str]:
    content = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    return [word for word in content.split("\0") if word]


def who_measures(names: Sequence[str], folder: Path | None = None) -> str:
    """That others measure on one of some cores at this moment, and who, as far as is known; in words."""
    locks = _Locks(names, folder)
    try:
        return locks.measuring()
    finally:
        locks.close()


class Shared:
    """Cores that a trainer computes on, together with others; a context manager.

    Args:
        names: of cores.
        waiting: called while it waits; may raise.
        folder: of the locks; the machine's own where not given.

    Attributes:
        paused_seconds: how long it has waited for meters.
    """

    def __init__(self, names: Sequence[str], waiting: Waiting, folder: Path | None = None) -> None:
        self._locks = _Locks(names, folder)
        self._waiting = waiting
        self._holds = False
        self.paused_seconds = 0.0

    def __enter__(self) -> "Shared":
        try:
            self._take(self._waiting)
        except BaseException:
            self._locks.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._locks.close()

    def let_pass(self, waiting: Waiting | None = None) -> None:
        """Let a meter that waits have its turn; called between steps. What `waiting` raises leaves nothing held."""
        if not (self._holds and all(self._passable(name) for name in self._locks.names)):
            self._take(waiting or self._waiting)

    def _take(self, waiting: Waiting) -> None:
        started = time.monotonic()
        self._holds = False
        self._locks.free_all()
        try:
            while not all(self._enter(name) for name in self._locks.names):
                self._locks.free_all()
                waiting()
                time.sleep(ASK_SECONDS)
            self._holds = True
        finally:
            self.paused_seconds += time.monotonic() - started

    def _passable(self, name: str) -> bool:
        if not self._locks.attempt("turnstile", name, fcntl.LOCK_SH):
            return False
        self._locks.free("turnstile", name)
        return True

    def _enter(self, name: str) -> bool:
        if not self._locks.attempt("turnstile", name, fcntl.LOCK_SH):
            return False
        entered = self._locks.attempt("core", name, fcntl.LOCK_SH)
        self._locks.free("turnstile", name)
        return entered


@contextlib.contextmanager
def alone(names: Sequence[str], waiting: Waiting, folder: Path | None = None) -> Iterator[None]:
    """Hold cores alone: whoever computes on them pauses before his next step.

    Args:
        names: of cores.
        waiting: called while it waits; may raise.
        folder: of the locks; the machine's own where not given.
    """
    locks = _Locks(names, folder)
    try:
        for kind in ("turnstile", "core"):
            for name in locks.names:
                while not locks.attempt(kind, name, fcntl.LOCK_EX):
                    waiting()
                    time.sleep(ASK_SECONDS)
            if kind == "turnstile":
                locks.sign()
        yield
    finally:
        locks.close()


def least_busy(names: Sequence[str], count: int, folder: Path | None = None) -> list[str]:
    """So many cores, those first that nobody holds at this moment."""
    locks = _Locks(names, folder)
    try:
        idle = {name for name in names if locks.attempt("core", name, fcntl.LOCK_EX)}
    finally:
        locks.close()
    return sorted(names, key=lambda name: name not in idle)[:count]


class Hold:
    """What a job holds while it runs, and the two callbacks it is to use meanwhile."""

    def __init__(
        self, progress: Progress, between: Between, shared: Shared | None, waiting: Waiting, over: Callable[[], None]
    ) -> None:
        self._report, self._go_on, self._shared, self._waiting, self._over = progress, between, shared, waiting, over

    @property
    def paused_seconds(self) -> float:
        """How long the job has waited for others that measured."""
        return self._shared.paused_seconds if self._shared else 0.0

    def progress(self, what: str, done: float, total: float) -> None:
        """Tell how far it is, and let meters pass; it is never the place to be interrupted at."""
        if self._shared:
            self._shared.let_pass(self._waiting)
            self._over()
        self._report(what, done, total)

    def between(self) -> None:
        """Between two steps: let meters pass, then what the caller wants."""
        if self._shared:
            self._shared.let_pass()
            self._over()
        self._go_on()


@contextlib.contextmanager
def held_for(needs: "Needs", progress: Progress, between: Between) -> Iterator[Hold]:
    """Hold what a job needs of this machine while it runs: shared with others, or alone."""
    told, words = time.monotonic(), ""

    def tell() -> None:
        nonlocal told, words
        if time.monotonic() - told > TELL_SECONDS:
            told = time.monotonic()
            words = words or who_measures([*cores, *gpu])
            progress(words, 0, 1)

    def over() -> None:
        nonlocal words
        if words:
            progress(words, 1, 1)
            words = ""

    def waiting() -> None:
        between()
        tell()

    cores, gpu = [str(core) for core in sorted(os.sched_getaffinity(0))], _gpu(needs.device)
    if needs.exclusive:
        count = 1 if gpu else needs.threads or len(cores)
        with alone([*least_busy(cores, count), *gpu], waiting):
            over()
            yield Hold(progress, between, None, tell, over)
    else:
        with Shared([*cores, *gpu], waiting) as shared:
            over()
            yield Hold(progress, between, shared, tell, over)


def _gpu(device: str) -> list[str]:
    """The lock of a GPU, by the name that all processes of the machine know it by; none where there is no GPU."""
    kind, _, index = device.partition(":")
    if kind == "auto":
        import torch

        kind = "cuda" if torch.cuda.is_available() else "cpu"
    if kind != "cuda":
        return []
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    number = int(index or 0)
    return [f"cuda-{visible[number] if number < len(visible) else number}"]
