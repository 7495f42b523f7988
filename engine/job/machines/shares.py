"""Limits that a run file gives as a share of the teacher's latency, in ms.

The teacher is measured for them, before the search begins, where it can be measured from here and the machine is calm
meanwhile; else its prediction counts. What came out is noted in the ledger: a limit stays where it is, whatever the
teacher is measured at later.
"""

from collections.abc import Sequence

from distilsearch.architecture import Architecture
from distilsearch.progress import Progress

from ...report.doubts import CALM
from ..executors import Executor
from ..ledger import Ledger
from .machines import Profiled

NOTE = "shares"


def set_shares(
    ledger: Ledger, machines: Sequence[Profiled], teacher: Architecture, executor: Executor, progress: Progress
) -> None:
    """Set `limit_ms` of each machine whose limit is a share of the teacher's latency there."""
    noted = dict(ledger.noted(NOTE) or {})
    for machine in machines:
        section = machine.declared.section
        if section.latency_share is None:
            continue
        there = noted.get(machine.objective, {})
        if there.get("limit") != section.latency:  # not noted yet, or of a file that was refused and has been mended
            teacher_ms = _teacher_ms(machine, teacher, executor, progress)
            there = {"limit": section.latency, "teacher_ms": teacher_ms, "ms": section.latency_share * teacher_ms}
            ledger.note(NOTE, noted := noted | {machine.objective: there})
        machine.limit_ms = float(there["ms"])


def _teacher_ms(machine: Profiled, teacher: Architecture, executor: Executor, progress: Progress) -> float:
    for group, job in machine.jobs([teacher]) if machine.local else ():
        machine.take(group, executor.submit(job, progress).result())
    latency, slowness = machine.latency(teacher), machine.slowness.get(teacher.key, 1.0)
    return latency.best if slowness <= CALM else latency.predicted
