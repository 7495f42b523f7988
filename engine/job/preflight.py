"""What commands check before anything heavy is imported: a mistake in a name, a folder or a device is told at once.

Nothing here loads torch, Optuna or XGBoost. What passes is checked again, and more closely, where it is opened.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from distilsearch import profiling
from distilsearch.distill.compute.asked import check_device_name, precision_named
from distilsearch.distill.quality import LOSS, QUALITIES, check_quality
from distilsearch.distill.served.asked import check_ways
from distilsearch.distill.teachers.named import QUICKSTART, AtHand, check_names, teacher_at_hand
from distilsearch.distill.texts.sources import AUTO, NONE
from distilsearch.errors import InputError, RunError, unknown
from distilsearch.families import FAMILIES, family, family_of
from distilsearch.lowering import check_length
from distilsearch.operators import TORCH
from distilsearch.places import FIDELITY, own_folder, own_run, own_student, own_students
from distilsearch.profiling.devices import DEVICES

from ..objectives import limited
from .machines.limits import check_kept, limits_of
from .presence.holding import driver_of
from .runfile.config import Run
from .runfile.continuing import continued, kept_run
from .runfile.presets import check_serves, preset
from .runfile.sections import TargetSection
from .runfile.serving import OF_TEXT

LOCAL = "local"  # the executor of this machine


def check_run(run: Run, folder: Path | None) -> None:
    """Refuse a run whose folder, devices, teacher or text are plainly not what they should be."""
    place = own_run(folder or Path("runs") / run.name)
    there = kept_run(place, load=False)
    run = run if there is None else continued(run, there)
    if run.executor.name == LOCAL and run.train.device.startswith("cuda"):
        profiling.open_device("cuda")
    check_workers(run)
    for section in run.target:
        check_target(section)
    asked = [section.lengths_from for section in run.target if section.request_lengths is None]
    files = [Path(place) for place in asked if place not in (None, OF_TEXT)]
    check_names([], (), files, "what lengths of a serving are to be had from")
    check_ways(run.export.ways, text=True)
    files = [Path(section.on) for section in run.evaluate if section.on]
    check_names([run.teacher], run.text, [path for path in files if not path.is_dir()], "what an [[evaluate]] is on")
    check_probe(run.probe_text)
    if run.proxy and not Path(run.proxy.on).is_dir():
        check_names([], (), [Path(run.proxy.on)], "what [proxy] is on")
    if teacher := teacher_at_hand(run.teacher, str(next(iter(run.space.genes.get("pool", ())), "mean"))):
        check_serves(run.preset, run.teacher, teacher.kind)
        _check_students(run, teacher, there is None)
        _check_recipe(run, teacher.kind)


def check_workers(run: Run) -> None:
    """Refuse other machines that nobody said how many trainings to give."""
    if run.executor.name != LOCAL and run.train.workers == "auto":
        raise InputError(
            f'[executor] name = "{run.executor.name}" needs [train] workers: how many students are to train at once; a'
            " probe of this machine says nothing of others"
        )


def check_made(space_family: str, model_type: str) -> None:
    """Refuse a family whose students cannot be made of a teacher of that model type."""
    kind = family(space_family)
    if model_type not in kind.teachers:
        fitting = [repr(name) for name, one in FAMILIES.items() if model_type in one.teachers]
        raise InputError(
            f"the teacher is a {family_of(model_type).name} model; students of family {kind.name!r} are made of "
            f"{' or '.join(kind.teachers)} teachers: choose [space] family = {' or '.join(fitting)}"
        )


def _check_students(run: Run, teacher: AtHand, fresh: bool) -> None:
    """Refuse students that such a teacher cannot have, or that are too large, all of them, for the limits of the run.

    Args:
        fresh: it has not been begun; else what was measured within its limits may go on.
    """
    check_made(run.space.family, teacher.model_type)
    if teacher.facts is None:
        return
    run = run.fitted(teacher.facts)
    served = run.space_for(teacher.facts)
    known = [one for one in run.target if one.lengths_from is None or one.request_lengths is not None]
    for section in known:
        family(run.space.family).sites(section.conditions)
        check_length(served.students, section.conditions)
    if fresh and len(known) == len(run.target):  # else limits are of lengths that the text will tell
        check_kept(served.space, limited((), limits_of(run.target, served)), run.seed)


def _check_recipe(run: Run, kind: str) -> None:
    """Refuse a recipe or a quality that the file names, by a teacher's kind; the losses of recipes load torch."""
    if "recipe" not in run.train.model_fields_set and run.quality == LOSS:
        return
    from distilsearch.distill.recipes import recipe_for

    recipe = recipe_for(kind, suited(run, kind).train.recipe)
    check_quality(run.quality, run.teacher, kind, recipe.name, dict(recipe.weights))


def suited(run: Run, kind: str) -> Run:
    """The run with the recipe that its preset has for a kind of teacher, where the file leaves that open."""
    recipe = preset(run.preset).recipes.get(kind)
    if recipe is None or "recipe" in run.train.model_fields_set:
        return run
    return run.model_copy(update={"train": run.train.model_copy(update={"recipe": recipe})})


def check_target(section: TargetSection) -> None:
    """Refuse a device that is not here, or a machine nobody has profiled, or a damaged table."""
    here = section.device in (*DEVICES, "auto")
    if here:
        profiling.open_device(section.device)
    for runtime in section.runtimes if section.serving else (TORCH,):
        table = profiling.find_table(section.device, runtime=runtime)
        if not here and (table is None or table.runtime != runtime):
            under, option = ("", "") if runtime == TORCH else (f" under {runtime}", f" --runtime {runtime}")
            raise InputError(
                f"there is no table of the device {section.device!r}{under}; run `distilsearch profile{option}` on that"
                " machine and copy its folder into the tables folder"
            )


def run_in(folder: Path) -> Run:
    """The run that a folder was filled by; a `RunError` where it holds none."""
    run = kept_run(folder)
    if run is None:
        raise RunError(f"there is no {folder / 'run.toml'}; name the folder of a run")
    return run


def begun(folder: Path) -> Run:
    """The run of a folder that has been started; a `RunError` where it holds none, or has not begun."""
    run = kept_run(folder)
    if run is None:
        raise RunError(
            f"there is no run in {folder}; name the folder of one, such as runs/NAME (a search that has just started"
            " reads teacher and text before it makes its folder)"
        )
    if not run.storage.url and not (folder / "journal.log").exists():
        raise RunError(f"the run in {folder} has not begun; start it with `distilsearch search`")
    return run


def joinable(folder: Path) -> None:
    """Refuse to join a run that nobody drives."""
    own_run(folder, finished=True)
    if driver_of(folder) is None:
        raise RunError(
            f"nobody is at work on the run in {folder}, so there is nothing to join; `distilsearch search` begins it,"
            " or goes on with it"
        )


def check_measurable(what: str, files: Sequence[Path], options: Sequence[str]) -> bool:
    """Whether a model is to be measured, rather than the front of a run; refused where it is plainly neither.

    Args:
        files: of sentence pairs, for a model.
        options: names of those that were given; they are of models alone.
    """
    folder = Path(what)
    if folder.is_dir() and not (folder / "config.json").exists() and not (folder / "modules.json").exists():
        own_run(folder, finished=True)
        if options:
            raise InputError(f"--{options[0]} is for models; the run in {what} says itself how its students are served")
        return False
    hub = what == QUICKSTART or (what.count("/") == 1 and not what.startswith("runs/"))
    if not folder.expanduser().exists() and not hub:
        raise RunError(f"there is no folder {what}: name that of a run or of a model, a hub name, or {QUICKSTART!r}")
    check_names([what], (), files)
    return True


def check_order(
    words: Sequence[str],
    out: Path,
    teacher: str | None,
    text: Iterable[str] | None,
    probe_text: Sequence[str] | None = None,
) -> None:
    """Refuse an order of students (RUN and keys, or genes) whose folders, teacher or text are plainly wrong."""
    run = None if "=" in words[0] else run_in(Path(words[0]))
    if run is not None and len(set(words[1:])) > 1:
        own_students(out)
    else:
        own_student(out, teacher or (run.teacher if run else ""))
    check_names([teacher or (run.teacher if run else "")], text or (run.text if run else ()))
    check_probe(probe_text or ())


def check_training(
    device: str, precision: str | None, quality: str | None, recipe: str | None, pairs: Sequence[Path]
) -> None:
    """Refuse names of how a student is trained and scored that are plainly none; None is left to others."""
    check_device_name(device)
    if precision is not None:
        precision_named(precision)
    if quality is not None and quality not in QUALITIES:
        raise unknown("quality", quality, QUALITIES)
    check_names([], (), pairs, "a csv of sentence, sentence, score")
    check_recipe_name(recipe or "")


def check_recipe_name(recipe: str) -> None:
    """Refuse the name or file of a recipe that is none; "" is none given. The losses of recipes load torch."""
    if recipe:
        from distilsearch.distill.recipes import recipe_for

        recipe_for("embedding", recipe)  # names that mean one for each kind mean one for this


def check_probe(sources: Sequence[str]) -> None:
    """Refuse a `probe_text` whose files are plainly not there."""
    if tuple(sources) not in ((AUTO,), (NONE,)):
        check_names((), sources)


def check_fidelity(what: Path | None, folder: Path | None) -> None:
    """Refuse to measure the rank fidelity of what is no run, or into a place that is somebody else's."""
    run = None if what is None else run_in(what) if what.is_dir() else Run.read(what)
    if folder is not None:
        own_folder(folder, FIDELITY)
    if run is not None:
        check_names([run.teacher], run.text)
