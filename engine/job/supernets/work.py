"""What jobs about super-networks do, on the machine that runs them: heavy imports are here."""

from typing import TYPE_CHECKING

from distilsearch.errors import TrialError
from distilsearch.progress import Between, Progress

from ..work.work import learnt_from, visible

if TYPE_CHECKING:
    from distilsearch.distill.store.trial import Trial

    from .jobs import Score, TrainSuper


def trained(job: "TrainSuper", progress: Progress, between: Between) -> str:
    """The key of a super-network, found here or trained, and left in the depot."""
    from distilsearch.distill.store.depot import Depot
    from distilsearch.distill.supernets.subspaces import space_of
    from distilsearch.distill.supernets.supers import super_folder, train_once

    training, depot = job.training, Depot(job.depot)
    depot.pull_super(training.key, super_folder(training.key))
    teacher, text = learnt_from(job.depot, training.training)
    space = space_of([job.part], training.largest.family, job.genes, teacher.facts)
    key = train_once(
        teacher,
        text,
        space,
        job.recipe,
        training,
        device=visible(job.device),
        cache_limit=job.cache_limit,
        progress=lambda what, done, total: progress(f"super-network {job.part.name!r}: {what}", done, total),
        between=between,
    )
    depot.push_super(key, super_folder(key))
    return key


def scored(job: "Score", between: Between) -> list["Trial | TrialError"]:
    """Sub-networks evaluated; the super-network is fetched once where another machine has trained it."""
    from distilsearch.distill.supernets.supers import scores

    fetch_start(job.depot, job.training.start)
    return scores(*learnt_from(job.depot, job.training), job.training, job.architectures, between)


def fetch_start(depot: str, key: str) -> None:
    """Bring the super-network that trainings start from to this machine, where there is one and it is not here."""
    from distilsearch.distill.store.depot import Depot
    from distilsearch.distill.supernets.supers import super_folder

    if key:
        Depot(depot).pull_super(key, super_folder(key))
