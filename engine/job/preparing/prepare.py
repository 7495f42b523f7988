"""Everything that can be wrong with a run is found here, before anything expensive starts."""

import math
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from distilsearch.distill import FLASH_TOKENS
from distilsearch.distill.compute.asked import PRECISIONS
from distilsearch.distill.compute.processes import check_device
from distilsearch.distill.cuts.judging import best_cuts, judged_cuts
from distilsearch.distill.evaluate.as_served import check_judged
from distilsearch.distill.heldout.pairs import check_pairs
from distilsearch.distill.heldout.sparing import remark
from distilsearch.distill.job import Training
from distilsearch.distill.quality import check_quality
from distilsearch.distill.recipes import AUTO, Recipe, default_recipe, recipe_for
from distilsearch.distill.steps.runs import EVALUATIONS
from distilsearch.distill.store.archive import Archive
from distilsearch.distill.supernets.subspaces import said
from distilsearch.distill.targets.targets import learnt_blocks, shows_pairs
from distilsearch.distill.teachers.named import check_names
from distilsearch.distill.teachers.teacher import Teacher, load_teacher
from distilsearch.distill.texts.data import Text, load_text
from distilsearch.distill.texts.probe import BLOCKS, FEWER, Probe, load_probe
from distilsearch.errors import InputError, RunError, TeacherError
from distilsearch.families import family
from distilsearch.families.cuts import within
from distilsearch.home import ensure_folder, home, write_atomically
from distilsearch.lowering import check_length
from distilsearch.places import own_run
from distilsearch.progress import Progress, silent
from distilsearch.space import SearchSpace

from ...objectives import limited
from ..machines.limits import check_kept, limits_of
from ..machines.machines import Declared, declared_by
from ..outcome.scoring import Asked, opened, opened_one
from ..plans.budget import USUAL_MINUTES, usual_trials
from ..plans.heldout import settled_heldout
from ..plans.phases import CUTS_SHARE, JUDGING_SHARE, driver_name
from ..preflight import LOCAL, check_made, check_workers, suited
from ..runfile.config import Run
from ..runfile.continuing import continued, kept_run, kept_text
from ..runfile.presets import check_serves
from ..serving.lengths import with_lengths
from ..serving.served import ServedSpace
from ..source import equipped, scores
from ..work.making import Making
from .recall import imported
from .strategy import check_strategy

READING = "reading teacher and text"
SPARE_BYTES = 500 << 20
TRUNK_BYTES = 12  # a trained parameter: itself and two moments
CUT, SUPERS = 60, 3  # about as many members a front has, and super-networks a run


@dataclass(frozen=True)
class Prepared:
    """A run whose input has been checked: what it works with, and nothing done yet."""

    run: Run
    folder: Path
    teacher: Teacher
    text: Text
    served: ServedSpace
    recipe: Recipe
    machines: list[Declared]
    probe: Probe
    evaluations: tuple[Asked, ...] = ()
    proxy: Asked | None = None
    judging_seconds: float = 0.0  # that cuts were measured for, before anything was searched
    judging_short: str = ""  # what of it there was no time for

    @property
    def space(self) -> SearchSpace:
        """What is searched: students, and how they are served where the run leaves that open."""
        return self.served.space

    @property
    def facts(self) -> dict[str, Any]:
        """The teacher's facts as plain JSON."""
        return asdict(self.teacher.facts)

    @property
    def driver(self) -> str:
        """Who drives it, where others drive the same study; else ""."""
        return driver_name(self.run.storage.url, self.folder)

    def training(self, tokens: int, precision: str) -> Training:
        """How trials of this run train, at a length and a resolved precision; its finals are `whole`."""
        own = (tokens, self.run.seed, precision, self.run.train.share, self.run.quality)
        return Training.of(self.teacher, self.text, self.recipe, *own)


def prepare(run: Run, folder: Path, given: bool = False, progress: Progress = silent) -> Prepared:
    """Check a run and open what it names.

    Args:
        given: whether the caller brings an executor of his own.
        progress: is told what was left out of the text.

    Raises:
        InputError: what was asked for cannot be done; its leaves say whether by teacher, text, device or folder.
        TableError: a latency table that would be used is damaged or newer.
    """
    fresh = not folder.exists()
    try:
        prepared = checked(_continued(run, folder), folder, given, progress)
        write_atomically(folder / "run.toml", kept_text(prepared.run))  # only now: what was refused may be mended
        return prepared
    except BaseException:
        if fresh and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()  # what was refused leaves nothing behind
        raise


def checked(run: Run, folder: Path, given: bool = False, progress: Progress = silent) -> Prepared:
    """A run as its folder is to keep it; see `prepare`. Nothing is written."""
    _check_executor(run, given)
    for machine in declared_by(run):
        machine.check()
    check_names([run.teacher], run.text)
    progress(READING, 0, 2)
    teacher = load_teacher(run.teacher).shown(run.prompt)
    run = _fitted(run, teacher, folder, progress)
    recipe = recipe_for(teacher.kind, run.train.recipe)
    check_quality(run.quality, run.teacher, teacher.kind, recipe.name, dict(recipe.weights))
    progress(READING, 1, 2)
    run, text = _read(run, teacher, recipe, progress)
    if run.executor.name == LOCAL and not given:  # what other machines have is theirs to say
        check_judged(run.space_for(teacher.facts).artefacts.values(), text)
    few = FEWER if 0 < run.minutes < USUAL_MINUTES else BLOCKS
    probe = load_probe(run.probe_text, run.text, teacher, text, run.text_column, progress, few)
    progress(READING, 2, 2)
    run, seconds, short = _cut(run, teacher, text, progress)
    served, machines = run.space_for(teacher.facts), declared_by(run)
    _check_disk(run, folder, teacher, recipe, served.students)
    proxy = opened_one(run.proxy, "proxy", run, teacher, text) if run.proxy else None
    evaluations = opened(run, teacher, text)
    prepared = Prepared(run, folder, teacher, text, served, recipe, machines, probe, evaluations, proxy, seconds, short)
    _check_source(prepared, progress)
    _check_trials(prepared)
    return prepared


def _fitted(run: Run, teacher: Teacher, folder: Path, progress: Progress) -> Run:
    """A run that says all that its teacher decides; refused where the teacher, its students and how they are served do
    not go together."""
    check_serves(run.preset, run.teacher, teacher.kind)
    kind = family(run.space.family)
    check_made(kind.name, teacher.config.model_type)
    run = run.fitted(teacher.facts)  # what a folder keeps has been fitted, and says all of it
    run = with_lengths(run, teacher, progress)
    served = run.space_for(teacher.facts)
    check_strategy(run, served.space)
    if not (folder / "run.toml").exists():  # else what was measured within them may go on
        check_kept(served.space, limited((), limits_of(run.target, served)), run.seed)
    for machine in declared_by(run):
        kind.sites(machine.serving)
        check_length(served.students, machine.serving)
    for words in run.too_large(teacher.facts):
        progress(words, 0, 0)
    return _settled_recipe(suited(run, teacher.kind), teacher.kind)


def _settled_recipe(run: Run, kind: str) -> Run:
    """The run with the recipe that is left to its teacher by name: the default may change, and its folder goes on."""
    if run.train.recipe not in ("", AUTO):
        return run
    return run.model_copy(update={"train": run.train.model_copy(update={"recipe": default_recipe(kind).name})})


def _read(run: Run, teacher: Teacher, recipe: Recipe, progress: Progress) -> tuple[Run, Text]:
    """The text, and the run with the number of its blocks that are held out."""
    text = load_text(teacher=teacher, progress=progress, **run.reading)
    run, text = settled_heldout(run, teacher, text, progress)
    learnt_blocks(text, run.train.share)
    if words := remark(run.train.flash_tokens, len(text.heldout), text.block, len(EVALUATIONS) - 1):
        progress(words, 0, 0)
    if shows_pairs(recipe):
        check_pairs(text)
    return run, text


def _continued(run: Run, folder: Path) -> Run:
    """The run, as it goes on in its folder; refused where another run or something else lies there."""
    own_run(folder)
    there = kept_run(ensure_folder(folder), load=False)
    return run if there is None else continued(run, there)


def _cut(run: Run, teacher: Teacher, text: Text, progress: Progress) -> tuple[Run, float, str]:
    """The run with the best cuts of its teacher as choices, where they are left open; the seconds that took, and what
    there was no time for.

    A folder that goes on has them in its run.toml.
    """
    if not run.judges(teacher.facts):
        return run, 0.0, ""
    started, depth = time.monotonic(), teacher.facts.layers
    clock = not run.storage.url  # those who share a study must come to the same choices, whatever time that takes
    seconds = JUDGING_SHARE * CUTS_SHARE * 60 * run.minutes if clock and run.minutes else math.inf
    layers = {
        int(student) for p in run.students(teacher.facts).parameters if p.name == "layers" for student in p.choices
    }
    try:
        judged = judged_cuts(teacher, text, layers, progress, seconds=seconds)
    except TeacherError as error:
        progress(f"students start from layers by rule alone: {error}", 0, 0)
        return run, 0.0, ""
    run = run.choosing(best_cuts(judged, sorted(layers), depth, run.space.cuts or 0))
    return run, time.monotonic() - started, judged.short


def _check_executor(run: Run, given: bool) -> None:
    """Refuse a training device that is not here, and other machines that nobody said how many trainings to give."""
    if given:
        return
    if run.executor.name == LOCAL:  # what other machines have is theirs to say
        check_device(run.train.device)
    check_workers(run)


def _check_source(prepared: Prepared, progress: Progress) -> None:
    """Refuse what the source cannot make trials of; of sub-spaces it is told what they came to."""
    run, teacher, making = prepared.run, prepared.teacher, Making(prepared.training(1, PRECISIONS[0]), prepared.recipe)
    kind, genes = run.space.family, run.space.genes
    made = equipped(run.source.name, run.source.options, making, kind, genes, teacher)
    for words in said([one.part for one in made.supers], kind, genes, teacher.facts):
        progress(words, 0, 0)


def _check_trials(prepared: Prepared) -> None:
    """Refuse a run of no trials where nothing is known yet, in whatever precision it may train."""
    run = prepared.run
    if run.trials > 0 or run.minutes > 0 or imported(prepared.folder):
        return
    asked = PRECISIONS if run.train.precision == "auto" else (run.train.precision,)
    trainings = [prepared.training(tokens, precision) for tokens in run.lengths for precision in asked]
    trials = (trial for training in trainings for trial in Archive().matching(training))
    if not any(within(prepared.served.students, trial.architecture, prepared.teacher.facts) for trial in trials):
        raise InputError("no student of this teacher, text and recipe is known yet; ask for more than 0 trials")


def _check_disk(run: Run, folder: Path, teacher: Teacher, recipe: Recipe, space: SearchSpace) -> None:
    """Refuse to start on a disk that students, no larger than their teacher, and their trunks would fill."""
    facts, train = teacher.facts, run.train
    fresh = any(p.name == "inherit" and "none" in p.choices for p in space.parameters)
    table = 0 if fresh or recipe.embeddings == "all" else facts.vocabulary * (facts.embedding or facts.width)
    flash = train.flash_tokens or FLASH_TOKENS
    longest = max(*train.lengths, train.final_tokens or (4 * flash if run.minutes else 0))
    trunk = TRUNK_BYTES * (teacher.parameters - table) if recipe.shared(flash, longest) else 0
    trials = usual_trials(run.minutes) if run.minutes else run.trials
    if scores(run.source.name):  # nobody is written but super-networks, with moments and checkpoint, and the front
        trials = min(trials, CUT) + 4 * SUPERS
    needed = SPARE_BYTES + (4 * teacher.parameters + trunk) * (trials + 4)
    for place in (folder, home()):
        free = shutil.disk_usage(place).free
        if free < needed:
            raise RunError(
                f"the disk of {place} has {free / 1e9:.1f} GB free and the run may need {needed / 1e9:.1f} GB;"
                " free some, or name another folder (or DISTILSEARCH_HOME)"
            )
