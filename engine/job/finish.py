"""After the trials: teacher and front are measured side by side, and the chosen students are distilled fully."""

import math
from collections.abc import Sequence

from distilsearch.architecture import Architecture
from distilsearch.distill.training import in_groups
from distilsearch.distill.trial import Trial
from distilsearch.errors import TrialError
from distilsearch.progress import Progress

from .choice import at_speeds, chosen, front
from .config import Run
from .executors import Executor
from .ledger import Entry, Ledger
from .machines import Profiled
from .recall import planned_tokens
from .served import student_of
from .source import Making

ATTEMPTS = 2  # at measuring the front
CALM = 1.5  # slowness of the sentinel up to which one is enough


def measure_front(
    ledger: Ledger, machines: Sequence[Profiled], teacher: Architecture, executor: Executor, progress: Progress
) -> None:
    """Measure teacher and front side by side, once for a set of trials; the ledger keeps what came out.

    A measurement may open the front to students not measured yet, so this goes on until none is left.
    """
    complete = sum(entry.state == "complete" for entry in ledger.entries())
    if ledger.noted("measured_after") == complete:
        return
    for machine in machines:
        lacking = [teacher]
        while lacking and machine.local:
            members = [entry.architecture for entry in front(ledger.entries(), machines)]
            models = list(dict.fromkeys([*lacking, *members]))
            _measure(machine, models, executor, progress)
            members = [entry.architecture for entry in front(ledger.entries(), machines)]
            lacking = [member for member in members if not machine.complete(member) and member not in models]
    ledger.note("measured", {machine.objective: machine.measured for machine in machines})
    ledger.note("slowness", {machine.objective: machine.slowness for machine in machines})
    ledger.note("measured_after", complete)


def _measure(machine: Profiled, models: Sequence[Architecture], executor: Executor, progress: Progress) -> None:
    """Measure models side by side; a second time where the machine was disturbed, and the calmer session counts."""
    sessions = []
    for _ in range(ATTEMPTS):
        session = [(group, executor.submit(job, progress).result()) for group, job in machine.jobs(models)]
        slowness = max((one.sentinel_ratio for _, rows in session for one in rows if one.usable), default=math.inf)
        sessions.append((slowness, session))
        if slowness <= CALM:
            break
    for group, measurements in min(sessions, key=lambda each: each[0])[1]:
        machine.take(group, measurements)


def to_finish(members: Sequence[Entry], machines: Sequence[Profiled], run: Run, teacher: Architecture) -> list[Entry]:
    """The members of the front that are distilled fully, fastest first: as `finish` says, and always the chosen one.

    Those that were trained for so long already are left out.
    """
    train = run.train
    if train.finish == "none" or train.final_tokens <= train.flash_tokens:
        return []
    best = chosen(members, machines, run.choice, run.loss_at_most)
    wanted = [best] if best else []
    if train.finish == "budgets":
        wanted += at_speeds(members, machines, teacher).values()
    numbers = {entry.number for entry in (members if train.finish == "front" else wanted)}
    shorter = [entry for entry in members if planned_tokens(entry, train.flash_tokens) < train.final_tokens]
    return [entry for entry in shorter if entry.number in numbers]


def finish(
    entries: Sequence[Entry], tokens: int, making: Making, executor: Executor, progress: Progress
) -> dict[str, Trial]:
    """Distil students fully, side by side as memory allows; by the key of their architecture.

    Raises:
        TrialError: one failed; all others are kept.
    """
    trials: dict[str, Trial] = {}
    failures: list[TrialError] = []
    for group in in_groups(list(dict.fromkeys(student_of(entry.architecture) for entry in entries))):
        answers = executor.submit(making.distil(group, tokens), progress).result()
        for architecture, answer in zip(group, answers, strict=True):
            if isinstance(answer, TrialError):
                failures.append(answer)
            else:
                trials[architecture.key] = answer
    if failures:
        raise failures[0]
    return trials
