"""What jobs do, on the machine that runs them: heavy imports are here, and what stays loaded between jobs.

A trial of half a minute must not pay for its teacher and text again.
"""

from functools import lru_cache
from typing import TYPE_CHECKING

from distilsearch.errors import TrialError
from distilsearch.profiling.clock import Measured
from distilsearch.progress import Between, Progress

from .trials import Context, Record

if TYPE_CHECKING:
    from distilsearch.distill.data import Text
    from distilsearch.distill.teacher import Teacher

    from .jobs import Distil, Measure, Profile, TeacherLoss


def distilled(job: "Distil", progress: Progress, between: Between) -> list[Record | TrialError]:
    """Students of a `Distil`, trained or found."""
    from . import trials

    teacher, text = loaded(job.depot, job.training.teacher, job.training.text)
    context, device = Context(**job.training.to_json()), job.device.partition(":")[0]
    return trials.distil(teacher, text, job.architectures, job.recipe, context, device, job.cache_limit, progress)


def measured(job: "Measure", progress: Progress) -> list[Measured]:
    """Models of a `Measure`, timed one after another in rounds."""
    from distilsearch import profiling

    return profiling.measure(job.architectures, job.device, job.serving, progress=progress)


def profiled(job: "Profile", progress: Progress, between: Between) -> tuple[str, str]:
    """The table that covers the space of a `Profile`; what has been timed when it is interrupted is kept."""
    from distilsearch import profiling
    from distilsearch.families import TeacherFacts, family

    def report(what: str, done: float, total: float) -> None:
        between()
        progress(what, done, total)

    facts = TeacherFacts(**job.facts) if job.facts else None
    space = family(job.family).space(job.genes, facts)
    table = profiling.profile(space, job.device, job.serving, progress=report)
    return profiling.fingerprint(table.meta.device), profiling.fingerprint(table.meta.stack)


def teacher_loss(job: "TeacherLoss") -> float:
    """The held-out loss of the teacher itself."""
    from distilsearch.distill.heldout import heldout_loss
    from distilsearch.families import family

    teacher, text = loaded(job.depot, job.teacher, job.text)
    own = family(teacher.facts.family).architecture(teacher.facts)
    return float(heldout_loss(teacher, text, teacher.model(), own))


@lru_cache(maxsize=1)
def loaded(depot: str, teacher: str, text: str) -> tuple["Teacher", "Text"]:
    """Teacher and text by key; the last pair stays loaded."""
    from distilsearch.distill.depot import Depot

    source = Depot(depot)
    return source.teacher(teacher), source.text(text)
