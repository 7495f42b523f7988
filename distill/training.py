"""The one training loop, from a flash of seconds to a full run of days.

A run is a list of steps fixed by text, recipe, tokens and seed. Everything that a step depends on is in its
checkpoint (weights, optimiser moments, step), one safetensors file that is replaced atomically, so a run that
was killed ends with the very weights of one that was not. accelerate places it on the device and shares each
batch between processes; checkpoints are this package's own, never `Accelerator.load_state`, which unpickles.
"""

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

from accelerate import Accelerator
from torch import Tensor

from distilsearch.architecture import Architecture
from distilsearch.errors import InputError, TrialError
from distilsearch.families import family
from distilsearch.families.cuts import spellings
from distilsearch.lowering import parameter_count
from distilsearch.progress import Between, Progress, nothing, silent

from .compute.processes import accelerator_for
from .course import Course, agreed_precision
from .heldout.heldout import heldout_key, heldout_loss
from .losses import LOSSES
from .quality import Bought
from .recipes import Recipe
from .side_by_side import SideBySide
from .steps.adapt import adapt
from .steps.runs import Run
from .students.student import Student, build_student
from .supernets.supers import cut_from, opened
from .targets.objective import Objective
from .targets.targets import CACHE_LIMIT, Targets
from .teachers.teacher import Teacher
from .texts.data import Text

CHECKPOINT_SECONDS = 60.0
SIDE_BY_SIDE_BYTES = 4 << 30  # of weights, gradients and moments of students that are trained together


class Conditions(TypedDict, total=False):
    """Where a training runs and what it keeps; nothing of it is part of a student's key.

    `accumulate`: parts that each batch is computed in, one after the other, where memory is short. `trackers`:
    "tensorboard", "wandb" ...: where accelerate logs the losses, beside the folder. `device`: "cpu", or "auto" for the
    best one that is there. `logs`: where trackers write; beside the first checkpoint if not given. `since`: checkpoints
    of other runs; of those on the way of this one, such as the trunk of a shorter run, the farthest is continued, and
    the student is the same as without it. `probe`: a text whose held-out blocks students are scored on before the first
    step and after the last; none of it is learnt, and nothing depends on it. `between`: called before every step; it
    may take its time, and where it raises `Interrupted` the checkpoints are saved first.
    """

    cache_limit: int
    checkpoint_seconds: float
    accumulate: int
    trackers: Sequence[str]
    logs: Path | None
    device: str
    since: Sequence[Path]
    probe: Text | None
    between: Between


USUAL: Conditions = {
    "cache_limit": CACHE_LIMIT,
    "checkpoint_seconds": CHECKPOINT_SECONDS,
    "accumulate": 1,
    "trackers": (),
    "logs": None,
    "device": "cpu",
    "since": (),
    "probe": None,
    "between": nothing,
}


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

    In memory at once: 20 bytes a parameter of every student (weights, gradients, two moments, where they started), the
    activations of one student, and one batch of targets; `memory_bytes` gives the first. Each student equals the one
    that `distill_student` makes of it, in its own folder where `folders` are given. One that diverges yields its error
    and leaves the others alone.
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
    targets = targets_of(course, asked["cache_limit"])
    runs = [begin(course, a, accelerator, asked["accumulate"], targets) for a in architectures]
    before = [_on_probe(run, asked["probe"]) for run in runs]  # all are as they were cut, whatever is gone on from
    together = SideBySide(runs, folders, asked["checkpoint_seconds"])
    together.restore(asked["since"])
    for run in runs:
        if run.since is not None:
            done = f"{run.step * run.step_tokens:,} of {run.steps * run.step_tokens:,} tokens"
            progress(f"{run.objective.architecture.key} goes on after {done}, from {run.since}", 0, 0)
    together.to_end(course.tokens, asked["between"], progress)
    for tracker in accelerator.trackers:  # `end_training` would end the process group too, and with it later runs
        tracker.finish()
    ended = zip(together.students(), before, strict=True)
    return [_probed(student, course.teacher, asked["probe"], loss) for student, loss in ended]


def _on_probe(run: Run, probe: Text | None) -> float | None:
    """The loss of a student in training on a probe; none where there is none, or it is no number yet."""
    if probe is None:
        return None
    own = run.objective
    with contextlib.suppress(TrialError):
        return heldout_loss(run.targets.teacher, probe, run.model, own.architecture, ending=own.ending)
    return None


def _probed(
    student: Student | TrialError, teacher: Teacher, probe: Text | None, before: float | None
) -> Student | TrialError:
    """A trained student with what training bought it on a probe."""
    if probe is None or isinstance(student, TrialError):
        return student
    after = heldout_loss(teacher, probe, student.model, student.architecture, ending=student.cut)
    return replace(student, probe=Bought(heldout_key(teacher, probe), before, after))


def targets_of(course: Course, cache_limit: int = CACHE_LIMIT) -> Targets:
    """What a course is taught by."""
    own = (course.teacher, course.text, course.recipe, course.precision)
    return Targets(*own, cache_limit, course.seed, course.share, course.tokens)


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
    """A student before its first step, as `begin` makes it, for callers that take the steps themselves."""
    accelerator = accelerator or accelerator_for("cpu")
    course = Course(teacher, text, recipe, budget_tokens, seed, agreed_precision(precision, accelerator))
    return begin(course, architecture, accelerator, accumulate, targets)


def begin(
    course: Course,
    architecture: Architecture,
    accelerator: Accelerator,
    accumulate: int = 1,
    targets: Targets | None = None,
) -> Run:
    """A student cut from its teacher, with everything its first step needs, and both on the accelerator's device."""
    teacher, recipe = course.teacher, course.recipe
    _check_whole(recipe, accelerator, accumulate)
    targets = targets or targets_of(course)
    model, basis = _cut(course, architecture)
    objective = Objective(teacher, architecture, recipe, model, basis, course.precision)
    teacher.model(accelerator.device)  # students are cut on the CPU; targets and logits are asked for beside them
    spelt = dict.fromkeys([architecture, *spellings(architecture, teacher.facts)])
    keys = [course.training.way(spelling) for spelling in spelt]  # by another one a shorter training may be known
    if not (teacher.surroundings.identity or course.start) and course.share == 1.0:  # else it learnt otherwise then
        keys += [_former_key(course, spelling) for spelling in spelt]
    told = (course.quality, opened(course.start, teacher).origin if course.start else None)
    return Run(objective, targets, course.steps, course.step_tokens, keys, accelerator, accumulate, *told)


def _cut(course: Course, architecture: Architecture) -> tuple[Any, Tensor]:
    """A student as its training begins, and the basis (v, w) of its states: of the teacher, or of a super-network.

    What a super-network has learnt of words stays as it is, or is trained whole: no map over the teacher's table is it.
    """
    teacher, text, recipe = course.teacher, course.text, course.recipe
    if course.start:
        return cut_from(course.start, teacher, architecture)
    model, basis = build_student(teacher, architecture, text, course.seed)
    if recipe.embeddings == "adapt" and _adaptable(teacher, architecture):
        adapt(model, teacher.model("cpu"), basis)
    return model, basis


def _former_key(course: Course, architecture: Architecture) -> str:
    """What version 0.1.0 knew checkpoints by: trunks that it left are gone on from."""
    teacher, recipe = course.teacher, course.recipe
    content = [architecture.to_json(), recipe.key, course.seed, course.precision]
    content += [teacher.weights_sha256, course.text.sha256]
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
    """Weights, their start, gradients and moments of students that are trained side by side, in float32."""
    return 20 * sum(parameter_count(architecture) for architecture in architectures)


def in_groups(architectures: Sequence[Architecture], most_bytes: int = SIDE_BY_SIDE_BYTES) -> list[list[Architecture]]:
    """Students to be trained side by side, in their order, as many at a time as `most_bytes` hold; one at least."""
    groups: list[list[Architecture]] = []
    for architecture in architectures:
        if groups and memory_bytes([*groups[-1], architecture]) <= most_bytes:
            groups[-1].append(architecture)
        else:
            groups.append([architecture])
    return groups
