"""Everything that can be wrong with a run is found here, before anything expensive starts."""

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from distilsearch.distill.data import Text, load_text
from distilsearch.distill.processes import TRAIN_DEVICES
from distilsearch.distill.recipes import Recipe, default_recipe
from distilsearch.distill.recipes import recipe as recipe_named
from distilsearch.distill.teacher import Teacher, load_teacher
from distilsearch.errors import InputError, RunError, unknown
from distilsearch.families import family
from distilsearch.home import ensure_folder, home, write_atomically
from distilsearch.space import SearchSpace

from .config import Run
from .presets import PRESETS
from .targets import Target, targets_of
from .trials import Context

SPARE_BYTES = 500 << 20


@dataclass(frozen=True)
class Prepared:
    """A run whose input has been checked: what it works with, and nothing done yet."""

    run: Run
    folder: Path
    teacher: Teacher
    text: Text
    space: SearchSpace
    recipe: Recipe
    targets: list[Target]

    @property
    def facts(self) -> dict[str, Any]:
        """The teacher's facts as plain JSON."""
        return asdict(self.teacher.facts)

    def context(self, tokens: int) -> Context:
        """What the quality of this run's students depends on, at a training length."""
        return Context(
            teacher=self.teacher.weights_sha256,
            tokenizer=self.teacher.tokenizer_sha256,
            text=self.text.sha256,
            recipe=self.recipe.key,
            tokens=tokens,
            seed=self.run.seed,
            precision=self.run.train.precision,
        )


def prepare(run: Run, folder: Path) -> Prepared:
    """Check a run and open what it names.

    Raises:
        InputError: what was asked for cannot be done; its leaves say whether by teacher, text, device or folder.
        TableError: a latency table that would be used is damaged or newer.
    """
    if run.preset not in PRESETS:
        raise unknown("preset", run.preset, PRESETS)
    family(run.space.family).space(run.space.genes)
    _check_folder(run, folder)
    if run.train.device not in TRAIN_DEVICES:
        raise unknown("training device", run.train.device, TRAIN_DEVICES)
    targets = targets_of(run)
    for target in targets:
        target.check()
    teacher = load_teacher(run.teacher)
    if teacher.facts.family != run.space.family:
        raise InputError(f"the teacher is a {teacher.facts.family} model, the space is of family {run.space.family!r}")
    space = family(run.space.family).space(run.space.genes, teacher.facts)
    for target in targets:
        family(run.space.family).sites(target.serving)
    recipe = default_recipe(teacher.kind) if run.train.recipe == "default" else recipe_named(run.train.recipe)
    text = load_text(run.text, teacher)
    _check_disk(run, folder, teacher)
    write_atomically(folder / "run.toml", run.to_toml())  # only now: what was refused may be mended
    return Prepared(run, folder, teacher, text, space, recipe, targets)


def _check_folder(run: Run, folder: Path) -> None:
    """Refuse a folder of another run, or one that cannot be written."""
    path = ensure_folder(folder) / "run.toml"
    if path.exists():
        run.check_same(Run.read(path))


def _check_disk(run: Run, folder: Path, teacher: Teacher) -> None:
    """Refuse to start on a disk that the students would fill."""
    weights = 4 * teacher.parameters
    needed = SPARE_BYTES + weights * (run.trials + 4)  # students are no larger than their teacher
    for place in (folder, home()):
        free = shutil.disk_usage(place).free
        if free < needed:
            raise RunError(
                f"the disk of {place} has {free / 1e9:.1f} GB free and the run may need {needed / 1e9:.1f} GB;"
                " free some, or name another folder (or DISTILSEARCH_HOME)"
            )
