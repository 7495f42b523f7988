"""Rank fidelity of a run's own space: how well short trainings order its students, kept beside the run's result."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

from distilsearch.distill.course import Course
from distilsearch.distill.fidelity import fidelity, spread, summary
from distilsearch.distill.quality import quality_name
from distilsearch.distill.recipes import recipe as named_recipe
from distilsearch.distill.store.archive import Archive
from distilsearch.distill.training import USUAL, Conditions
from distilsearch.home import ensure_folder, write_atomically
from distilsearch.places import FIDELITY as MEASURED
from distilsearch.places import RANKS, own_file, own_folder
from distilsearch.progress import Progress, silent

from ..outcome.remeasure import note_fidelity
from ..outcome.winners import material, precision_of, run_of
from ..plans.heldout import settled_heldout
from ..runfile.config import Run
from .quickstart import quickstart_run

FIDELITY = "fidelity"  # in a run's folder


def rank_fidelity(
    what: Path | None = None,
    folder: Path | None = None,
    budgets: Sequence[int] = (),
    students: int = 12,
    fresh: int = 0,
    recipe: str = "",
    also: Sequence[str] = (),
    progress: Progress = silent,
    **conditions: Unpack[Conditions],
) -> dict[str, Any]:
    """Distil a spread of a run's space at several budgets, in the archive, and compare the orders; plain JSON.

    Args:
        what: a run file, or the folder of a run, whose result then carries what is found; none: the quickstart.
        folder: where fidelity.json goes; the folder of a run has a place of its own for it.
        budgets: tokens; by default the run's flash and final length.
        also: recipes that are tried at the shortest budget alone.
    """
    finished = what if what is not None and what.is_dir() else None
    run = run_of(finished) if finished else Run.read(what) if what else quickstart_run(trials=18)
    place = folder or (finished / FIDELITY if finished else None)
    for each in [one for one in (place, finished / FIDELITY if finished else None) if one is not None]:
        own_file(own_folder(each, MEASURED) / "fidelity.json", RANKS)  # before hours are spent
    if place is not None:
        ensure_folder(place)
    others = [named_recipe(name) for name in also]
    teacher, text, chosen = material(run).opened(progress)
    run, text = settled_heldout(run, teacher, text, progress)  # of a file as its search would settle it
    chosen = named_recipe(recipe) if recipe else chosen
    run = run.fitted(teacher.facts)
    budgets = sorted({*(budgets or (run.train.flash_tokens, run.train.final_tokens))})
    members = spread(run.students(teacher.facts), students, run.seed, fresh)
    device = conditions.get("device", USUAL["device"])
    own = (precision_of(run, finished), device, run.train.share, run.quality)
    course = Course.resolved(teacher, text, chosen, budgets[0], run.seed, *own)
    rows, left_out = fidelity(course, members, budgets, Archive(), progress, others, **conditions)
    facts = summary(rows, budgets[-1], left_out) | {"quality": quality_name(teacher.kind, run.quality)}
    if place is not None:
        write_atomically(place / "fidelity.json", json.dumps(facts, indent=1))
    if finished:
        write_atomically(finished / FIDELITY / "fidelity.json", json.dumps(facts, indent=1))
        note_fidelity(finished, facts)
    return facts
