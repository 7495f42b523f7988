"""What a run leaves to probes of the training machine: asked once, noted, and used again whenever it is continued.

So a load that comes and goes changes neither the names of trainings nor how they are run.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from distilsearch.progress import Progress

from ..executors import Executor, Options
from ..executors.workers import choose_workers
from ..jobs import Probe
from ..ledger import Ledger
from ..runfile.sections import TrainSection

NOTE = "resolved"


@dataclass(frozen=True)
class Resolved:
    """How students of a run are trained: `precision` "float32" or "bf16", so many `workers` of so many `threads`.

    `said` is what the probe found, in words; empty where nothing was left to it.
    """

    precision: str
    workers: int
    threads: int
    said: str = ""


def resolve(train: TrainSection, ledger: Ledger, probe: Callable[[TrainSection], Resolved]) -> Resolved:
    """What an earlier call of the run has noted, else what `probe` finds; what the run file states always holds."""
    noted: dict[str, Any] | None = ledger.noted(NOTE)
    if noted is None:
        resolved = probe(train)
        ledger.note(NOTE, asdict(resolved))
        return resolved
    stated = {"threads": train.threads, "workers": None if train.workers == "auto" else train.workers}
    return Resolved(**noted | {name: value for name, value in stated.items() if value is not None})


def probed(folder: Path, patience_seconds: float, progress: Progress, train: TrainSection) -> Resolved:
    """What this machine answers: precision, workers and threads, where the run file leaves them open."""
    workers = None if train.workers == "auto" else train.workers
    options = Options(folder, threads=train.threads, device=train.device, patience_seconds=patience_seconds)
    choice = choose_workers(options, train.precision, workers, progress=progress)
    return Resolved(choice.precision, choice.workers, choice.threads, choice.reason)


def asked(executor: Executor, train: TrainSection) -> Resolved:
    """What a worker of another executor answers: the precision, where the run file leaves it open."""
    threads = train.threads or 1
    if train.precision != "auto":
        return Resolved(train.precision, executor.workers, threads)
    answer = executor.submit(Probe(train.device, threads, 0.0, train.precision)).result()
    return Resolved(answer["precision"], executor.workers, threads)
