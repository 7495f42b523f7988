"""How fast students train here: a few steps of real trainings, timed and thrown away.

What stays is of use: the teacher's targets of the first batches, in the cache that trainings read. What the teacher
takes is told apart from a student's step, whether trainings find its targets or ask it: students side by side share it.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from distilsearch.architecture import Architecture
from distilsearch.progress import Between, nothing

from .compute.processes import accelerator_for
from .course import Course
from .heldout.sparing import FEW
from .recipes import Recipe
from .targets.batch import Batch
from .targets.targets import CACHE_LIMIT, Targets, ask_teacher
from .training import begin, targets_of

SECONDS = 1.0  # of steps of each student, at least


@dataclass(frozen=True)
class Rehearsal:
    """What one student's training takes here, in seconds.

    Attributes:
        start: beside its steps and its looks: cutting it from the teacher.
        step: a step, the teacher's targets read from the cache, or at hand where none are kept.
        targets: what a batch takes longer when the teacher is asked: the first time, or each time if none are kept.
        step_tokens: tokens of a step.
        most_cached: tokens of the longest training whose targets are kept; None: of any.
        scoring: scoring the student on a probe, as it was cut and as it is handed back.
        look: a pass over all held-out blocks, as its loss takes one; how many a training takes says `sparing.looked`.
        heldout, block: of these blocks, and tokens of one.
    """

    start: float
    step: float
    targets: float
    step_tokens: int
    most_cached: int | None = None
    scoring: float = 0.0
    look: float = 0.0
    heldout: int = 0
    block: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, by field."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(**data)


def rehearse(
    course: Course,
    architectures: Sequence[Architecture],
    device: str = "cpu",
    cache_limit: int = CACHE_LIMIT,
    between: Between = nothing,
    seconds: float = SECONDS,
    probe: int = 0,
) -> list[Rehearsal]:
    """Take steps of the training of each architecture, through every view of the recipe as often; one after another.

    Args:
        course: its length does not matter, but must be far longer than what is rehearsed.
        seconds: of steps, at least.
        probe: blocks that students will be scored on, as they were cut and as they are handed back.
    """
    recipe = course.recipe
    targets = targets_of(replace(course, tokens=len(recipe.views) * course.step_tokens), cache_limit)
    batches = [targets.batch(step) for step in _cycle(recipe)]
    asked = read = 0.0
    if targets.names:
        asked = _mean_seconds(
            lambda step: ask_teacher(course.teacher, batches[step], targets.names, recipe.layer, course.precision),
            recipe,
        )
    if targets.cached:
        read = _mean_seconds(targets.batch, recipe)
    beside = Rehearsal(0.0, read, max(0.0, asked - read), course.step_tokens, targets.most_cached)
    shown = [[batch] for batch in batches]
    return [_rehearsed(course, one, device, targets, shown, beside, between, seconds, probe) for one in architectures]


def _rehearsed(
    course: Course,
    architecture: Architecture,
    device: str,
    targets: Targets,
    batches: Sequence[list[Batch]],
    beside: Rehearsal,
    between: Between,
    seconds: float,
    probe: int,
) -> Rehearsal:
    """`beside`: what a step takes beside the student's own."""
    started = time.perf_counter()
    run = begin(course, architecture, accelerator_for(device), targets=targets)
    start = time.perf_counter() - started
    run.advance(batches[0])  # the first step is slower than all others
    heldout, few = len(course.text.heldout), min(FEW, len(course.text.heldout))
    run.heldout(few)  # so is the first loss, which asks the teacher
    started = time.perf_counter()
    run.heldout(few)
    look = (time.perf_counter() - started) * heldout / few
    scored = start + look * probe / heldout  # writing and loading it takes about as long as cutting it
    scoring = 2 * scored if probe else 0.0
    started, steps = time.perf_counter(), 0
    while steps == 0 or time.perf_counter() - started < seconds:
        for parts in batches:
            between()
            run.advance(parts)
            steps += 1
    step = beside.step + (time.perf_counter() - started) / steps
    block = course.text.block
    return replace(beside, start=start, step=step, scoring=scoring, look=look, heldout=heldout, block=block)


def _cycle(recipe: Recipe) -> range:
    """Steps that show every view once."""
    return range(len(recipe.views))


def _mean_seconds(work: Callable[[int], object], recipe: Recipe) -> float:
    """Seconds of some work on a step, the mean over all views."""
    started = time.perf_counter()
    for step in _cycle(recipe):
        work(step)
    return (time.perf_counter() - started) / len(recipe.views)
