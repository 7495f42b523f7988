"""The plan of a run of some minutes: made once, of trainings that are rehearsed, and noted.

What the same question came to on this machine is remembered in the home, so that asking again trains nothing.
"""

import contextlib
import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distilsearch import strict
from distilsearch.architecture import Architecture
from distilsearch.distill.job import Training
from distilsearch.distill.store.archive import Archive
from distilsearch.errors import InputError
from distilsearch.families import TeacherFacts
from distilsearch.families.cuts import within
from distilsearch.growth import grown
from distilsearch.home import home, write_atomically
from distilsearch.progress import Progress
from distilsearch.space import SearchSpace

from ..executors import Executor
from ..jobs import Job
from ..ledger import Ledger
from ..runfile.config import Run
from ..runfile.sections import ExportSection
from ..source import Making
from .budget import LOADING, RESERVE, Plan, Speed, size, trials_seconds
from .phases import PLAN, forgotten

DRAWS = 256  # students that stand for the space


def speed_of(
    space: SearchSpace,
    making: Making,
    measuring: Callable[[Architecture], Sequence[Job]],
    executor: Executor,
    seed: int,
    progress: Progress,
    probe: int = 0,
) -> Speed:
    """Rehearse a small and a large student on every worker at once, so that each feels the others; then measure them.

    Args:
        measuring: the jobs that measure a student, as they do in each trial.
        probe: blocks of the probe that students are scored on.
    """
    ordered = sorted(drawn(space, seed), key=size)
    few = ordered[len(ordered) // 10], ordered[-1 - len(ordered) // 10]
    progress("rehearsing trainings", 0, 1)
    jobs = [executor.submit(making.rehearse(few, probe)) for _ in range(executor.workers)]
    rehearsals = [one for job in jobs for one in job.result()]
    pause = 0.0
    for student in few:  # the last one's counts: the first job opens the meter, and this one is the larger student
        started = time.monotonic()
        for job in measuring(student):
            executor.submit(job).result()
        pause = time.monotonic() - started
    progress("rehearsing trainings", 1, 1)
    return Speed.fitted([size(one) for one in few] * len(jobs), rehearsals, executor.workers, pause)


def drawn(space: SearchSpace, seed: int) -> list[Architecture]:
    """Students that stand for a space."""
    return space.decode(space.sample(DRAWS, np.random.default_rng(seed)))


def plan_of(
    run: Run,
    ledger: Ledger,
    spent: Callable[[], float],
    speed: Callable[[], Speed],
    space: SearchSpace,
    folder: Path,
) -> Plan:
    """The plan that the run was begun with; a new one where there is none.

    Args:
        spent: tells the seconds that have gone; asked once trainings have been rehearsed, which takes its time as well.

    Raises:
        InputError: the minutes are too few.
    """
    noted = ledger.noted(PLAN)
    if noted is not None:
        return Plan.from_json(noted)
    sizes = np.array([size(one) for one in drawn(space, run.seed)])
    rehearsed = speed()
    try:
        plan = Plan.made(run.minutes, spent(), rehearsed, sizes, run.train.flash_tokens)
    except InputError:
        forgotten(ledger, folder)
        raise
    ledger.note(PLAN, plan.to_json())
    return plan


def check_left(run: Run, ledger: Ledger, spent: float, folder: Path, place: Callable[[], Path]) -> None:
    """Refuse minutes of which nothing is left for trials that are still to be planned, before more is begun for them.

    Args:
        spent: seconds that have gone.
        place: where the home would keep what the run's question came to; see `question`.

    Raises:
        InputError: the minutes are too few.
    """
    if not run.minutes or ledger.noted(PLAN) is not None or trials_seconds(run.minutes, spent) > 0:
        return
    if remembered(place()) is not None:
        return  # there is nothing to train
    forgotten(ledger, folder)
    enough = math.ceil((spent + LOADING) / 60 / (1 - RESERVE)) + 1
    raise InputError(
        f"{run.minutes:g} minutes are too few here: {spent / 60:.1f} have gone before the first trial, and no time is"
        f" left for any; give at least minutes = {enough} (what was timed is kept)"
    )


def trained(archive: Archive, training: Training, students: SearchSpace, facts: TeacherFacts) -> int:
    """How many students of a space have been trained so, by any run."""
    every = archive.matching(training)
    return len({student for trial in every if (student := within(students, trial.architecture, facts))})


@dataclass(frozen=True)
class Settled:
    """What a question came to: the length and number of its trials, and that of the finish (0: there was none)."""

    flash_tokens: int
    trials: int
    final_tokens: int


def question(run: Run, training: Mapping[str, Any], space: SearchSpace) -> Path:
    """Where the home keeps what a question of some minutes came to, whichever run asked it."""
    asked = run.model_dump(mode="json")
    for beside in ("name", "plugins", "executor", "storage", "trials", "text_heldout"):  # the training has the text
        asked.pop(beside)
    for beside in ("device", "workers", "threads", "flash_tokens", "final_tokens", "share"):  # the training says that
        asked["train"].pop(beside)
    asked |= {"evaluate": [], "export": ExportSection().model_dump(mode="json")}  # of what it comes to
    asked["target"] = [grown(target, {"request_lengths": None}) for target in asked["target"]]  # of later versions
    content = [asked, dict(training) | {"tokens": 0}, [[p.name, list(p.choices)] for p in space.parameters]]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return home() / "plans" / f"{digest[:32]}.json"


def remembered(path: Path) -> Settled | None:
    """What is kept there; none where nothing can be read."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        content = strict.read_json(path)
        return Settled(*(int(content[name]) for name in ("flash_tokens", "trials", "final_tokens")))
    return None


def remember(path: Path, settled: Settled) -> None:
    """Keep it."""
    write_atomically(path, json.dumps({"schema": 1} | asdict(settled)))
