"""What jobs do, on the machine that runs them: heavy imports are here, and what stays loaded between jobs.

A trial of half a minute must not pay for its teacher and text again.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from distilsearch.errors import TrialError
from distilsearch.hiding import hidden
from distilsearch.profiling.clock import Measured
from distilsearch.progress import Between, Progress

if TYPE_CHECKING:
    from distilsearch.distill.job import Training
    from distilsearch.distill.quality import Held
    from distilsearch.distill.rehearsal import Rehearsal
    from distilsearch.distill.store.archive import Archive
    from distilsearch.distill.store.trial import Trial
    from distilsearch.distill.teachers.teacher import Teacher
    from distilsearch.distill.texts.data import Text

    from ..jobs import Distil, Measure, Profile, Rehearse, TeacherLoss
    from ..serving.losses import Losses, ServedLoss
    from .evaluating import Evaluate, Scored


def distilled(job: "Distil", progress: Progress, between: Between) -> list["Trial | TrialError"]:
    """Students of a `Distil`, found in this machine's archive or trained into it, and into the depot."""
    teacher, text = learnt_from(job.depot, job.training)
    trials = archive_of(job.depot).distil(
        teacher,
        text,
        job.architectures,
        job.recipe,
        job.training,
        progress=progress,
        device=visible(job.device),
        cache_limit=job.cache_limit,
        between=between,
    )
    left(trials, job.depot)
    return trials


def rehearsed(job: "Rehearse", between: Between) -> list["Rehearsal"]:
    """Some steps of the trainings of a `Rehearse`, timed."""
    from distilsearch.distill.course import Course
    from distilsearch.distill.rehearsal import rehearse

    course = Course.of(*learnt_from(job.depot, job.training), job.recipe, job.training)
    return rehearse(course, job.architectures, visible(job.device), job.cache_limit, between, probe=job.probe)


def left(trials: Sequence["Trial | TrialError"], depot: str) -> None:
    """Send trials to the depot that are not there yet: also those that this machine had before there was one."""
    from distilsearch.distill.store.depot import Depot

    shared = Depot(depot)
    for trial in trials:
        if depot and not isinstance(trial, TrialError) and not shared.has_trial(trial.key):
            shared.push_trial(trial.key, trial.folder)


def fetched(trial: "Trial", depot: str) -> "Trial | TrialError":
    """A trial that another machine may have trained, brought into this machine's archive."""
    if not depot:
        return trial
    here = archive_of(depot).find(trial.key)
    return here or TrialError(f"the trial {trial.key} is not in the depot {hidden(depot)}", transient=True)


def visible(device: str) -> str:
    """A device as this worker sees it: of a machine's GPUs it may have been given one alone."""
    if not device.startswith("cuda:"):
        return device
    import torch

    return "cuda" if torch.cuda.device_count() == 1 else device


def archive_of(depot: str) -> "Archive":
    """The archive of this machine, with a depot behind it where one is named."""
    from distilsearch.distill.store.archive import Archive
    from distilsearch.distill.store.depot import Depot

    return Archive(depot=Depot(depot) if depot else None)


def measured(job: "Measure", progress: Progress) -> list[Measured]:
    """Models of a `Measure`, timed one after another in rounds."""
    from distilsearch import profiling

    from . import tables

    folder = profiling.table_folder(profiling.open_device(job.device), runtime=job.serving.runtime)
    tables.receive(job.depot, folder.parent.name, folder.name)
    models = profiling.measure(job.architectures, job.device, job.serving, progress=progress)
    tables.send(job.depot, folder)
    return models


def profiled(job: "Profile", progress: Progress, between: Between) -> tuple[str, str]:
    """The table that covers the space of a `Profile`; what has been timed when it is interrupted is kept."""
    from distilsearch import profiling
    from distilsearch.families import TeacherFacts

    from ..source import DISTILLED, students_of
    from . import tables

    def report(what: str, done: float, total: float) -> None:
        between()
        progress(what, done, total)

    folder = profiling.table_folder(profiling.open_device(job.device), runtime=job.serving.runtime)
    tables.receive(job.depot, folder.parent.name, folder.name)
    facts = TeacherFacts(**job.facts) if job.facts else None
    source, genes = dict(job.source or {"name": DISTILLED}), {gene: tuple(c) for gene, c in job.genes.items()}
    space = students_of(source.pop("name"), source, job.family, genes, facts)
    profiling.profile(space, job.device, job.serving, budget_seconds=job.budget_seconds, progress=report)
    tables.send(job.depot, folder)
    return folder.parent.name, folder.name


def teacher_loss(job: "TeacherLoss") -> "Held":
    """The held-out loss of the teacher itself."""
    from distilsearch.distill.heldout.heldout import teacher_held_out

    return teacher_held_out(*loaded(job.depot, job.teacher, job.text), job.quality)


def served_losses(job: "ServedLoss", progress: Progress, between: Between) -> "Losses":
    """The losses of a `ServedLoss`; each is kept beside the student in this machine's archive."""
    from distilsearch.distill.evaluate.as_served import NAME, heldout_of, served_loss

    from ..serving.losses import Losses

    archive, served, causes = archive_of(job.depot), dict[str, float](), dict[str, str]()
    trial = archive.find(job.trial)
    if trial is None:
        raise TrialError(f"the trial {job.trial} is not in the archive of this machine, nor in a depot", transient=True)
    teacher, text = learnt_from(job.depot, job.training)
    for done, serving in enumerate(job.servings):
        between()
        progress(f"judging a student in {serving.artefact}", done, len(job.servings))
        score = partial(served_loss, serving=serving, teacher=teacher, text=text, quality=job.training.quality)
        try:
            kept = archive.evaluated(trial, NAME, heldout_of(job.training), serving.artefact, score)
            served[serving.artefact] = float(kept.values["loss"])
        except TrialError as error:
            causes[serving.artefact] = str(error)
    return Losses(trial.loss, served, causes)


def evaluated(job: "Evaluate", progress: Progress, between: Between) -> "Scored":
    """The scores of an `Evaluate`; those of a student are kept beside it in this machine's archive."""
    from distilsearch.distill.course import Course
    from distilsearch.distill.evaluate import open_evaluation
    from distilsearch.distill.evaluate.sending import data_of
    from distilsearch.distill.store.depot import Depot
    from distilsearch.distill.store.trial import STUDENT, UNTRAINED
    from distilsearch.distill.untrained import before_training

    from .evaluating import Scored

    teacher, text = learnt_from(job.depot, job.training)
    file = data_of(job.depot, job.data) if job.data else None
    on = Depot(job.depot).text(job.text) if job.text else text
    evaluation = open_evaluation(
        job.evaluation, file, teacher, on, job.prompt, between=between, progress=progress, **dict(job.options)
    )
    started = time.monotonic()
    if not job.trial:
        return Scored(evaluation(teacher), time.monotonic() - started)
    archive = archive_of(job.depot)
    trial = archive.find(job.trial)
    if trial is None:
        raise TrialError(f"the trial {job.trial} is not in the archive of this machine, nor in a depot", transient=True)
    if job.recipe is None:
        score = archive.evaluated(trial, evaluation.name, evaluation.heldout, STUDENT, evaluation)
    else:
        asked = before_training(Course.of(teacher, text, job.recipe, trial.training), trial, evaluation)
        score = archive.evaluated(trial, evaluation.name, evaluation.heldout, UNTRAINED, asked)
    return Scored(score.values, time.monotonic() - started)


def learnt_from(depot: str, training: "Training") -> tuple["Teacher", "Text"]:
    """Teacher and text of a training; the teacher is asked with the training's prompt."""
    teacher, text = loaded(depot, training.teacher, training.text)
    return (teacher if teacher.prompt == training.prompt else replace(teacher, prompt=training.prompt)), text


@lru_cache(maxsize=1)
def loaded(depot: str, teacher: str, text: str) -> tuple["Teacher", "Text"]:
    """Teacher and text by key; the last pair stays loaded."""
    from distilsearch.distill.store.depot import Depot

    source = Depot(depot)
    return source.teacher(teacher), source.text(text)
