"""The one training loop, from a flash of seconds to a full run of days.

A run is a list of steps fixed by text, recipe, tokens and seed. Everything that a step depends on is in its
checkpoint (weights, optimiser moments, step), one safetensors file that is replaced atomically, so a run that
was killed ends with the very weights of one that was not. accelerate places it on the device and shares each
batch between processes; checkpoints are this package's own, never `Accelerator.load_state`, which unpickles.
"""

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict, Unpack

from accelerate import Accelerator

from distilsearch.architecture import Architecture
from distilsearch.errors import InputError, TrialError
from distilsearch.families import family
from distilsearch.lowering import parameter_count
from distilsearch.progress import Progress, silent

from .adapt import adapt
from .data import Text
from .losses import LOSSES
from .objective import Objective
from .precision import resolve_precision
from .processes import accelerator_for
from .recipes import Recipe
from .runs import Run
from .student import Student, build_student
from .targets import CACHE_LIMIT, Targets
from .teacher import Teacher

CHECKPOINT_SECONDS = 60.0
SIDE_BY_SIDE_BYTES = 4 << 30  # of weights, gradients and moments of students that are trained together
CHECKPOINT = "checkpoint.safetensors"  # the last one, replaced as the run goes on
TRUNK = "trunk.safetensors"  # where the learning rate began to fall: from here a longer run goes on


class Conditions(TypedDict, total=False):
    """Where a training runs and what it keeps; nothing that a student is known by.

    `accumulate`: parts that each batch is computed in, one after the other, where memory is short. `trackers`:
    "tensorboard", "wandb" ...: where accelerate logs the losses, beside the folder. `device`: "cpu", or "auto" for the
    best one that is there. `since`: checkpoints of other runs; of those on the way of this one, such as the trunk of a
    shorter run, the farthest is continued, and the student is the same as without it.
    """

    cache_limit: int
    checkpoint_seconds: float
    accumulate: int
    trackers: Sequence[str]
    device: str
    since: Sequence[Path]


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
    job = (teacher, text, recipe, budget_tokens, seed, precision)
    (student,) = _distil(*job, [architecture], [folder], progress, **conditions)
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
    job = (teacher, text, recipe, budget_tokens, seed, precision)
    return _distil(*job, architectures, folders or [None] * len(architectures), progress, **conditions)


def _distil(
    teacher: Teacher,
    text: Text,
    recipe: Recipe,
    budget_tokens: int,
    seed: int,
    precision: str,
    architectures: Sequence[Architecture],
    folders: Sequence[Path | None],
    progress: Progress,
    cache_limit: int = CACHE_LIMIT,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    accumulate: int = 1,
    trackers: Sequence[str] = (),
    device: str = "cpu",
    since: Sequence[Path] = (),
) -> list[Student | TrialError]:
    if budget_tokens < 1:
        raise InputError(f"the budget must be at least one token, got {budget_tokens}")
    if not architectures:
        return []
    accelerator = accelerator_for(device, trackers, folders[0])
    precision = resolve_precision(precision, accelerator.device.type)
    targets = Targets(teacher, text, recipe, precision, cache_limit, seed)
    runs = [
        start(teacher, a, text, recipe, budget_tokens, seed, precision, accelerator, accumulate, targets)
        for a in architectures
    ]
    for run, folder in zip(runs, folders, strict=True):
        own = [folder / CHECKPOINT, folder / TRUNK] if folder else []
        run.restore([*own, *since])
        if folder:
            run.save_trunk(folder / TRUNK)
        if len(runs) > 1:
            run.label = f"{run.objective.architecture.key}/"
    failed: dict[int, TrialError] = {}
    saved = time.monotonic()
    first = min(run.step for run in runs)
    progress("distil", min(first * runs[0].step_tokens, budget_tokens), budget_tokens)
    for step in range(first, runs[0].steps):
        _step(runs, step, failed)
        if len(failed) == len(runs):
            break
        progress("distil", min((step + 1) * runs[0].step_tokens, budget_tokens), budget_tokens)
        due = time.monotonic() - saved > checkpoint_seconds
        for place, (run, folder) in enumerate(zip(runs, folders, strict=True)):
            if folder and place not in failed:
                if run.step == step + 1:
                    run.save_trunk(folder / TRUNK)
                if due:
                    run.save(folder / CHECKPOINT)
        saved = time.monotonic() if due else saved
    for tracker in accelerator.trackers:  # `end_training` would end the process group too, and with it later runs
        tracker.finish()
    return [failed[place] if place in failed else run.finish() for place, run in enumerate(runs)]


def _step(runs: Sequence[Run], step: int, failed: dict[int, TrialError]) -> None:
    """One step of every student that is at it; the time of the batch is shared among them."""
    at_it = {place: run for place, run in enumerate(runs) if run.step == step and place not in failed}
    if not at_it:
        return
    started = time.monotonic()
    parts = runs[0].parts(step)
    shared = (time.monotonic() - started) / len(at_it)
    for place, run in at_it.items():
        started = time.monotonic()
        try:
            run.advance(parts)
        except TrialError as error:
            failed[place] = error
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
    """A student cut from its teacher, with everything its first step needs, and both on the accelerator's device."""
    accelerator = accelerator or accelerator_for("cpu")
    _check_whole(recipe, accelerator, accumulate)
    precision = resolve_precision(precision, accelerator.device.type)
    targets = targets or Targets(teacher, text, recipe, precision, seed=seed)
    model, basis = build_student(teacher, architecture, text, seed)
    if recipe.embeddings == "adapt" and _adaptable(teacher, architecture):
        adapt(model, teacher.model("cpu"), basis)
    key = training_key(teacher, architecture, text, recipe, seed, precision)
    step_tokens = targets.rows * text.block
    steps = max(1, round(budget_tokens / step_tokens))
    objective = Objective(teacher, architecture, recipe, model, basis, precision)
    teacher.model(accelerator.device)  # students are cut on the CPU; targets and logits are asked for beside them
    return Run(objective, targets, steps, step_tokens, key, accelerator, accumulate)


def training_key(
    teacher: Teacher, architecture: Architecture, text: Text, recipe: Recipe, seed: int, precision: str
) -> str:
    """A sha256 of all that a training depends on but its length."""
    content = [architecture.to_json(), recipe.key, seed, precision, teacher.weights_sha256, text.sha256]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _check_whole(recipe: Recipe, accelerator: Accelerator, accumulate: int) -> None:
    """Refuse to share a batch whose sequences are compared with each other."""
    whole = [name for name, weight in recipe.weights if weight and LOSSES[name].whole]
    if whole and accelerator.num_processes * accumulate > 1:
        raise InputError(
            f"the loss {whole[0]!r} compares all sequences of a batch, so none can be shared by "
            f"{accelerator.num_processes} processes x {accumulate} accumulation steps; train in one process without "
            "accumulation (and with smaller batch_tokens where memory is short), or with a recipe without this loss"
        )


def _adaptable(teacher: Teacher, architecture: Architecture) -> bool:
    """Whether a map over the teacher's table can stand for the student's."""
    return family(architecture.family).words_mapped(architecture, teacher.facts)


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
