"""Students into a user's folder: trained in the archive, or found there, and copied, each with its card.

Nothing of the user's is overwritten: a folder is written only where it is absent, empty, or holds this very student,
trained no longer than asked; what was added to it stays. That is checked before anything is trained; for folders
without a student, before teacher and text are read.
"""

import json
import shutil
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Unpack

from distilsearch.architecture import Architecture
from distilsearch.errors import InputError, RunError, TrialError
from distilsearch.families.cuts import FRESH, GENE, RULES, is_subset, spellings, spelt
from distilsearch.home import ensure_folder, replace_folder
from distilsearch.places import own_student, own_students
from distilsearch.progress import Between, Progress, silent

from ..compute.processes import accelerator_for
from ..course import Course
from ..cuts.judging import judged_cuts
from ..evaluate import open_evaluation
from ..material import Material
from ..quality import LOSS, Bought
from ..students.card import CARD, Sections, identity, read_identity, with_sections
from ..teachers.teacher import Teacher
from ..texts.data import Text
from ..training import USUAL, Conditions
from .archive import Archive
from .beginnings import anew
from .bought import bought, nothing, section
from .handing import copy_student, lies_there
from .trial import TRUNK, Trial

SIMILARITY = "similarity"  # the evaluation on sentence pairs


@dataclass(frozen=True)
class Order:
    """Students that a user wants.

    `cards`: sections of the card of each architecture. `pairs`: csv files of sentence pairs for scores on the card.
    `quality`: what the held-out loss is, of `quality.QUALITIES`.
    """

    material: Material
    cards: Mapping[Architecture, Sections]
    tokens: int
    seed: int = 0
    precision: str = "auto"
    pairs: tuple[Path, ...] = ()
    quality: str = LOSS
    start: str = ""  # the super-network that all of them start from; the teacher where there is none
    open: bool = False  # whether the layers that the one student starts from are left to the best measured cut


@dataclass(frozen=True)
class Delivery:
    """A student in a user's folder, and what training bought it, by name; only the main process knows of several."""

    folder: Path
    trial: Trial
    gains: Mapping[str, Bought] = field(default_factory=dict)
    heldout_blocks: int = 0  # that its loss was taken on

    @property
    def bought_nothing(self) -> bool:
        """Whether training has made it better by nothing that was taken before and after."""
        return nothing(self.gains)


def deliver(
    order: Order,
    out: Path,
    archive: Archive | None = None,
    progress: Progress = silent,
    **conditions: Unpack[Conditions],
) -> list[Delivery]:
    """Distil, copy and describe students, side by side where there are several.

    One goes to `out`, several to folders in it named by their keys. Called again it costs nothing; after an
    interruption, or with more tokens, training goes on.

    Raises:
        InputError: a folder holds something else, or this student, trained for longer.
        TrialError: a training diverges; all others are delivered.
    """
    several = len(order.cards) > 1
    out = own_students(out) if several else own_student(out, order.material.teacher)
    outs = {a: own_student(out / a.key, order.material.teacher) if several else out for a in order.cards}
    if conditions.get("trackers"):
        conditions["logs"] = _logs_beside(out)
    evaluations = {path.name: open_evaluation(SIMILARITY, path, prompt=order.material.prompt) for path in order.pairs}
    archive = archive or Archive()
    archive.name_problems(progress)
    teacher, text, recipe = order.material.opened(progress)
    if order.open:
        between = conditions.get("between", USUAL["between"])
        order, outs = _cut_best(order, out, teacher, text, progress, between)
    device = conditions.get("device", USUAL["device"])
    probe = order.material.probe(teacher, text, progress)
    conditions["probe"] = probe.text
    way = (order.tokens, order.seed, order.precision, device)
    course = replace(Course.resolved(teacher, text, recipe, *way, quality=order.quality), start=order.start)
    for architecture, folder in outs.items():
        _check_same(folder, course, architecture)
    former = _of_former_versions(outs.values())
    conditions["since"] = [*conditions.get("since", ()), *former]
    for words in (anew(archive, course.training, architecture) for architecture in outs if not former):
        if words:
            progress(words, 0, 0)
    trials = archive.distil(teacher, text, list(outs), recipe, course.training, progress=progress, **conditions)
    good, gains = [trial for trial in trials if isinstance(trial, Trial)], dict[str, dict[str, Bought]]()
    if accelerator_for(device).is_main_process:
        for trial in good:
            gains[trial.key] = bought(archive, trial, course, probe, evaluations)
            sections = {**_text_section(order, course), **order.cards[trial.architecture]}
            _copy(trial, outs[trial.architecture], {**sections, **section(gains[trial.key], probe)})
    for failure in trials:
        if isinstance(failure, TrialError):
            raise failure
    blocks = len(text.heldout)
    return [Delivery(outs[trial.architecture], trial, gains.get(trial.key, {}), blocks) for trial in good]


def _logs_beside(out: Path) -> Path:
    """Where trackers write; refused where that is a file."""
    logs = out.with_name(f"{out.name}.logs")
    if logs.exists() and not logs.is_dir():
        raise RunError(f"logs go into {logs}, which is a file; name another folder for the students, or move it away")
    return logs


def _of_former_versions(folders: Iterable[Path]) -> list[Path]:
    """Checkpoints that 0.1.0 left beside its students, under whatever name: their key says whose they are."""
    return sorted({path for folder in folders for path in folder.parent.glob(f".*.checkpoint/{TRUNK}")})


def _cut_best(
    order: Order, out: Path, teacher: Teacher, text: Text, progress: Progress, between: Between
) -> tuple[Order, dict[Architecture, Path]]:
    """The order of one student with its best measured cut, or with the one of the student that lies in its folder."""
    ((asked, card),) = order.cards.items()
    there = read_identity(out)
    former = (there[0]["architecture"].get(GENE) if there else None) or ""
    layers = int(asked["layers"])
    if former not in (*RULES, FRESH) and not is_subset(former):
        (former,) = judged_cuts(teacher, text, [layers], progress, between).best(layers)
        progress(f"{layers} layers start from the teacher's {former}: of all its cuts that lose least untrained", 0, 0)
    student = spelt(Architecture(asked.family, {**asked.values, GENE: former}), teacher.facts)
    return replace(order, cards={student: card}), {student: out}


def _check_same(out: Path, course: Course, architecture: Architecture) -> None:
    """Refuse to write over another student, or over this one where it was trained for longer."""
    if (card := read_identity(out)) is None:
        if out.is_dir() and any(out.iterdir()):
            raise InputError(f"{out} holds a student whose card cannot be read; name another folder, or move it away")
        return
    same, tokens = card
    teacher, text = course.teacher, course.text
    way = (teacher.weights_sha256, text.sha256, course.recipe.to_json(), course.seed, course.precision)
    if all(same != identity(*way, spelling) for spelling in (architecture, *spellings(architecture, teacher.facts))):
        raise InputError(
            f"{out} holds a student of another architecture, teacher, text, recipe, seed or precision; name another "
            "folder, or remove it"
        )
    if tokens > course.steps * course.step_tokens:
        raise InputError(
            f"{out} holds this student, trained on {tokens:,} tokens already; ask for more, or name another folder"
        )


def _text_section(order: Order, course: Course) -> dict[str, Mapping[str, Any]]:
    return {"Text": {"sources": ", ".join(order.material.text), "tokens": f"{course.text.tokens:,}"}}


def _copy(trial: Trial, out: Path, sections: Sections) -> None:
    """Copy a student, whole or not at all; one that lies there already, card included, is left as it is."""
    card = with_sections((trial.student / CARD).read_text(encoding="utf-8"), sections)
    try:
        if _lies_there(trial, out, card):
            return
        ensure_folder(out.parent)
        temporary = out.with_name(f".{out.name}.{uuid.uuid4().hex}")
        try:
            copy_student(trial, temporary)
            (temporary / CARD).write_text(card, encoding="utf-8")
            replace_folder(temporary, out)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise RunError(f"cannot save the student to {out}: {error}; free space or name another") from error


def _lies_there(trial: Trial, out: Path, card: str) -> bool:
    """Whether a folder holds a trial's student, file by file, with this very card; also beside other files."""
    try:
        if (out / CARD).read_text(encoding="utf-8") != card:
            return False
    except (OSError, UnicodeDecodeError):
        return False
    return lies_there(trial, out)


def latency_section(latencies: Mapping[str, Any] | None) -> dict[str, Mapping[str, Any]]:
    """What a run knows of a student's latency, for its card."""
    return {"Latency, ms": {name: json.dumps(value) for name, value in latencies.items()}} if latencies else {}
