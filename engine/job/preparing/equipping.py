"""From a checked run to what its trainings share, put where workers find it; and what of it the home is to keep."""

from collections.abc import Iterable
from pathlib import Path

from distilsearch.distill.store.depot import Depot
from distilsearch.home import register_run

from ..source import equipped
from ..work.making import Making
from .prepare import Prepared
from .resolve import Resolved


def making_of(prepared: Prepared, resolved: Resolved) -> Making:
    """What all trainings share; teacher and text are left in the depot."""
    run, teacher = prepared.run, prepared.teacher
    depot = Depot(run.executor.depot)
    depot.put_teacher(teacher)
    for text in filter(None, (prepared.text, prepared.probe.text)):
        depot.put_text(text)
    making = Making(
        training=prepared.training(run.train.flash_tokens, resolved.precision),
        recipe=prepared.recipe,
        depot=run.executor.depot,
        device=run.train.device,
        threads=resolved.threads,
        cache_limit=int(run.storage.cache_limit_gb * 1e9),
        plugins=run.plugins,
    )
    return equipped(run.source.name, run.source.options, making, run.space.family, run.space.genes, teacher)


def register(folder: Path, making: Making, lengths: Iterable[int]) -> None:
    """Note in the home which trainings a run shows, so that their students are kept: trials and finals.

    With them are kept the super-networks that they start from, and those that were trained for their scores.
    """
    trials = [t.at(tokens) for tokens in sorted(lengths) if tokens or making.started for t in making.trainings]
    trials += [making.training.starting(one.key).at(0) for one in making.supers]
    trainings = dict.fromkeys(one for training in trials for one in (training, training.whole))
    register_run(folder, [training.to_json() for training in trainings])
