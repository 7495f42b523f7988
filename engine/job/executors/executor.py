"""Who runs jobs: the Protocol, and what any executor is opened with."""

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from distilsearch.progress import Progress, silent

if TYPE_CHECKING:
    from ..jobs import Job

PATIENCE_SECONDS = 900.0


@dataclass(frozen=True)
class Options:
    """How an executor is opened.

    Attributes:
        folder: of the run; logs go there.
        workers: how many trainings run at once.
        threads: of each training; None shares the cores out evenly.
        device: where students are trained: "cpu", "cuda" (one worker a GPU, in turn), "cuda:N".
        patience_seconds: silence after which a job counts as hung.
        more: what one executor alone knows of, such as an address.
    """

    folder: Path
    workers: int = 1
    threads: int | None = None
    device: str = "cpu"
    patience_seconds: float = PATIENCE_SECONDS
    more: Mapping[str, Any] = field(default_factory=dict)


class Executor(Protocol):
    """Runs jobs somewhere. A job that is lost with its worker fails alone, with a transient `TrialError`."""

    @property
    def workers(self) -> int:
        """How many trainings it runs at once."""

    def submit(self, job: "Job", progress: Progress = silent) -> "Future[Any]":
        """Run a job; the future holds its typed answer, or the `DistilSearchError` that it failed with.

        `progress` is called from threads of the executor.
        """

    def stop(self) -> None:
        """Let what runs finish its step and save, and end it; running and waiting jobs fail with `Interrupted`."""

    def close(self) -> None:
        """End everything now; what has not ended fails with `Interrupted`."""
