"""The teacher's own loss: what the losses of its students are held against."""

from dataclasses import asdict
from typing import Any

from distilsearch.distill.quality import Held
from distilsearch.progress import Progress

from ..executors import Executor
from ..jobs import TeacherLoss
from ..ledger import Ledger
from ..preparing.prepare import Prepared
from ..work.making import Making

NOTE = "teacher_loss"


def teacher_held(prepared: Prepared, making: Making, ledger: Ledger, executor: Executor, progress: Progress) -> Held:
    """The loss of the teacher: nothing against itself for an embedding teacher; asked of a worker once else."""
    if prepared.teacher.kind == "embedding":
        return Held(0.0)
    noted: float | dict[str, Any] | None = ledger.noted(NOTE)
    if noted is None:
        job = TeacherLoss(
            teacher=making.training.teacher,
            text=making.training.text,
            depot=making.depot,
            threads=making.threads,
            plugins=making.plugins,
            quality=prepared.run.quality,
        )
        noted = asdict(executor.submit(job, progress).result())
        ledger.note(NOTE, noted)
    return Held(**noted) if isinstance(noted, dict) else Held(noted)  # a mere number before there were parts
