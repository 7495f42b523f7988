"""The one training loop, from a flash of seconds to a full run of days.

A run is a list of steps fixed by text, recipe, tokens and seed. Everything that a step depends on is in its
checkpoint (weights, optimiser moments, step), one safetensors file that is replaced atomically, so a run that
was killed ends with the very weights of one that was not. accelerate places it on the device and shares each
batch between processes; checkpoints are this package's own, never `Accelerator.load_state`, which unpickles.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, Unpack

from accelerate import Accelerator

from distilsearch.architecture import Architecture
from distilsearch.errors import InputError, Interrupted, TrialError
from distilsearch.lowering import parameter_count
from distilsearch.progress import Progress, silent

from .adapt import adapt
from .data import Text
from .job import Training
from .objective import Objective
from .precision import resolve_precision
from .processes import accelerator_for, agreed
from .recipes import Recipe
from .runs import Run
from .student import Student, build_student
from .targets import CACHE_LIMIT, Targets, batch_rows
from .teacher import Teacher
from .trial import TRUNK as TRUNK

CHECKPOINT_SECONDS = 60.0
SIDE_BY_SIDE_BYTES = 4 << 30  # of weights, gradients and moments of students that are trained together
CHECKPOINT = "checkpoint.safetensors"  # the last one, replaced as the run goes on


def nothing() -> None:
    """Between two steps, do nothing."""


class Conditions(TypedDict, total=False):
    """Where a training runs and what it keeps; nothing that a student is known by.

    `accumulate`: parts that each batch is computed in, one after the other, where memory is short. `trackers`:
    "tensorboard", "wandb" ...: where accelerate logs the losses, beside the folder. `device`: "cpu", or "auto" for the
    best one that is there. `logs`: where trackers write; beside the first checkpoint if not given. `since`: checkpoints
    of other runs; of those on the way of this one, such as the trunk of a shorter run, the farthest is continued, and
    the student is the same as without it. `between`: called before every step; it may take its time, and where it
    raises `Interrupted` the checkpoints are saved first.
    """

    cache_limit: int
    checkpoint_seconds: float
    accumulate: int
    trackers: Sequence[str]
    logs: Path | None
    device: str
    since: Sequence[Path]
    between: Callable[[], None]


USUAL: Conditions = {
    "cache_limit": CACHE_LIMIT,
    "checkpoint_seconds": CHECKPOINT_SECONDS,
    "accumulate": 1,
    "trackers": (),
    "logs": None,
    "device": "cpu",
    "since": (),
    "between": nothing,
}


@dataclass(frozen=True, eq=False)
class Course:
    """What students learn from, and for how long: loaded values, with the precision resolved."""

    teacher: Teacher
    text: Text
    recipe: Recipe
    tokens: int
    seed: int
    precision: str

    @classmethod
    def resolved(
        cls, teacher: Teacher, text: Text, recipe: Recipe, tokens: int, seed: int, precision: str, device: str
    ) -> "Course":
        """A course whose precision, where it is "auto", is the faster one on a training device."""
        if tokens < 1:
            raise InputError(f"the budget must be at least one token, got {tokens}")
        return cls(teacher, text, recipe, tokens, seed, _resolved(precision, accelerator_for(device)))

    @property
    def training(self) -> Training:
        """What the students are known by, but for their architectures."""
        return Training.of(self.teacher, self.text, self.recipe, self.tokens, self.seed, self.precision)

    @property
    def step_tokens(self) -> int:
        """Tokens of one step."""
        return batch_rows(self.text, self.recipe) * self.text.block

    @property
    def steps(self) -> int:
        """Whole steps nearest to the tokens."""
        return max(1, round(self.tokens / self.step_tokens))


def distill_student(
    teacher: Teacher,
    architecture: Architecture,
    text: Text,
    recipe: Recipe,
    budget_tokens: int,
    seed: int = 0,
    precision: str = "auto",
    folder: Path | None = None,
    progress: Progress = silent,
    **conditions: Unpack[Conditions],
) -> Student:
    """Train the student of an architecture on `budget_tokens` tokens; with a `folder`, resume what is there.

    The folder keeps the run's trunk: called again with a larger budget, training goes on from it.

    Raises:
        TrialError: the training diverges, with the step and what became of the losses.
    """
    device = conditions.get("device", USUAL["device"])
    course = Course.resolved(teacher, text, recipe, budget_tokens, seed, precision, device)
    (student,) = train(course, [architecture], [folder], progress, conditions)
    if isinstance(student, TrialError):
        raise student
    return student


def distill_students(
    teacher: Teacher,
    architectures: Sequence[Architecture],
    text: Text,
    recipe: Recipe,
    budget_tokens: int,
    seed: int = 0,
    precision: str = "auto",
    folders: Sequence[Path] = (),
    progress: Progress = silent,
    **conditions: Unpack[Conditions],
) -> list[Student | TrialError]:
    """Train several students side by side: each batch, and each pass of a live teacher, serves all of them.

    In memory at once: 16 bytes a parameter of every student (weights, gradients, two moments), the activations of
    one student, and one batch of targets; `memory_bytes` gives the first. Each student equals the one that
    `distill_student` makes of it, in its own folder where `folders` are given. One that diverges yields its error and
    leaves the others alone.
    """
    if folders and len(folders) != len(architectures):
        raise InputError(f"expected a folder for each of {len(architectures)} students; got {len(folders)}")
    device = conditions.get("device", USUAL["device"])
    course = Course.resolved(teacher, text, recipe, budget_tokens, seed, precision, device)
    return train(course, architectures, folders or [None] * len(architectures), progress, conditions)


def train(
    course: Course,
    architectures: Sequence[Architecture],
    folders: Sequence[Path | None],
    progress: Progress,
    conditions: Conditions,
) -> list[Student | TrialError]:
    """Students of a course, side by side, each with a folder or none for its checkpoints."""
    if not architectures:
        return []
    asked: Conditions = {**USUAL, **conditions}
    accelerator = accelerator_for(asked["device"], asked["trackers"], asked["logs"] or folders[0])
    targets = Targets(course.teacher, course.text, course.recipe, course.precision, asked["cache_limit"], course.seed)
    runs = [begin(course, a, accelerator, asked["accumulate"], targets) for a in architectures]
    together = _SideBySide(runs, folders, asked["checkpoint_seconds"])
    together.restore(asked["since"])
    together.to_end(course.tokens, asked["between"], progress)
    for tracker in accelerator.trackers:  # `end_training` would end the process group too, and with it later runs
        tracker.finish()
    return together.students()


class _SideBySide:
    """Runs of one course and of as many steps; those that diverge are left behind."""

    def __init__(self, runs: Sequence[Run], folders: Sequence[Path | None], checkpoint_seconds: float) -> None:
        self._runs = list(zip(runs, folders, strict=True))
        self._checkpoint_seconds = checkpoint_seconds
        self._failed: dict[int, TrialError] = {}  # by the run's place
        for run in runs if len(runs) > 1 else ():
            run.label = f"{run.objective.architecture.key}/"

    def restore(self, since: Iterable[Path]) -> None:
        """Continue each run from the farthest checkpoint on its way."""
        since = list(since)
        for run, folder in self._runs:
            own = [folder / CHECKPOINT, folder / TRUNK] if folder else []
            run.restore([*own, *since])
            if folder:
                run.save_trunk(folder / TRUNK)

    def to_end(self, tokens: int, between: Callable[[], None], progress: Progress) -> None:
        """All steps that are left, with checkpoints as time goes by."""
        one, saved = self._runs[0][0], time.monotonic()
        first = min(run.step for run, _ in self._runs)
        progress("distil", min(first * one.step_tokens, tokens), tokens)
        for step in range(first, one.steps):
            try:
                between()
            except Interrupted:
                self._save()
                raise
            self._advance(step)
            if len(self._failed) == len(self._runs):
                break
            progress("distil", min((step + 1) * one.step_tokens, tokens), tokens)
            for run, folder in self._going():
                if folder and run.step == step + 1:
                    run.save_trunk(folder / TRUNK)
            if time.monotonic() - saved > self._checkpoint_seconds:
                self._save()
                saved = time.monotonic()

    def students(self) -> list[Student | TrialError]:
        """What has become of each."""
        return [self._failed.get(place) or run.finish() for place, (run, _) in enumerate(self._runs)]

    def _going(self) -> list[tuple[Run, Path | None]]:
        return [pair for place, pair in enumerate(self._runs) if place not in self._failed]

    def _save(self) -> None:
        for run, folder in self._going():
            if folder:
                run.save(folder / CHECKPOINT)

    def _advance(self, step: int) -> None:
        """One step of every run that is at it; the time of the batch is shared among them."""
        at_it = {
            place: run for place, (run, _) in enumerate(self._runs) if run.step == step and place not in self._failed
        }
        if not at_it:
            return
        started = time.monotonic()
        parts = self._runs[0][0].parts(step)
        shared = (time.monotonic() - started) / len(at_it)
        for place, run in at_it.items():
            started = time.monotonic()
            try:
                run.advance(parts)
            except TrialError as error:
                self._failed[place] = error
            run.seconds += shared + time.monotonic() - started


def start(
    teacher: Teacher,
    architecture: Architecture,
    text: Text,
    recipe: Recipe,
    budget_tokens: int,
    seed: int = 0,
    precision: str = "auto",
    accelerator: Accelerator | None = None,
    accumulate: int = 1,
    targets: Targets | None = None,
) -> Run:
    """`begin` for those who take the steps of one student themselves."""
    accelerator = accelerator or accelerator_for("cpu")
    course = Course(teacher, text, recipe, budget_tokens, seed, _resolved(precision, accelerator))
    return begin(course, architecture, accelerator, accumulate, targets)


def begin(
    course: Course,
    architecture: Architecture,
    accelerator: Accelerator,
    accumulate: int = 1,
    targets: Targets | None = None,
) -> Run:
    """A student cut from its teacher, with everything its first step needs, and both on the accelerator's device."""
    teacher, text, recipe = course.teacher, course.text, course.recipe
    _check_whole(recipe, accelerator, accumulate)
    targets = targets or Targets(teacher, text, recipe, course.precision, seed=course.seed)
    model, basis = build_student(teacher, architecture, text, course.seed)
    if recipe.embeddings == "adapt" and _adaptable(teacher, architecture):
        adapt(model, teacher.model("cpu"), basis)
    objective = Objective(teacher, architecture, recipe, model, basis, course.precision)
    teacher.model(accelerator.device)  # students are cut on the CPU; targets and logits are asked for beside them
    keys = [course.training.way(architecture), _former_key(course, architecture)]
    return Run(objective, targets, course.steps, course.step_tokens, keys, accelerator, accumulate)


def _resolved(precision: str, accelerator: Accelerator) -> str:
    """The precision of all processes: what a probe finds in one may differ in another."""
    resolved: str = agreed(accelerator, resolve_precision(precision, accelerator.device.type))
    return resolved


def _former_key(course: Course, architecture: Architecture) -> str:
    """What version 0.1.0 knew checkpoints by: trunks that it left are gone on from."""
    teacher, recipe = course.teacher, course.recipe
    content = [architecture.to_json(), recipe.key, course.seed, course.precision]
    content += [teacher.weights_sha256, course.text.sha256]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _check_whole(recipe: Recipe, accelerator: Accelerator, accumulate: int) -> None:
    """Refuse to share a batch whose sequences are compared with each other."""
    if dict(recipe.weights).get("similarity") and accelerator.num_processes * accumulate > 1:
        raise InputError(
            f"the loss 'similarity' compares all sequences of a batch, so none can be shared by "
            f"{accelerator.num_processes} processes x {accumulate} accumulation steps; train in one process without "
            "accumulation (and with smaller batch_tokens where memory is short), or with a recipe without this loss"
        )


def _adaptable(teacher: Teacher, architecture: Architecture) -> bool:
    """Whether a map over the teacher's table can stand for the student's; elsewhere it is the output head too."""
    same = architecture.family == teacher.facts.family and "embedding" not in architecture.values
    return teacher.kind == "embedding" and same and architecture["inherit"] != "none"


def memory_bytes(architectures: Sequence[Architecture]) -> int:
    """Weights, gradients and moments of students that are trained side by side, in float32."""
    return 16 * sum(parameter_count(architecture) for architecture in architectures)


def in_groups(architectures: Sequence[Architecture], most_bytes: int = SIDE_BY_SIDE_BYTES) -> list[list[Architecture]]:
    """Students to be trained side by side, in their order, as many at a time as `most_bytes` hold; one at least."""
    groups: list[list[Architecture]] = []
    for architecture in architectures:
        if groups and memory_bytes([*groups[-1], architecture]) <= most_bytes:
            groups[-1].append(architecture)
        else:
            groups.append([architecture])
    return groups
