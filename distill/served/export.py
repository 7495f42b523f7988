"""From a checkpoint to the folder that is served: graphs of the runtimes that were asked for, each one checked.

The folder appears whole or not at all. What a graph fails in, it is told by how much, and the folder stays as it was.
Called again for another runtime or precision, the folder has both; it never holds graphs of two checkpoints.
"""

import shutil
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from distilsearch.errors import RunError, TextError
from distilsearch.home import ensure_folder, replace_folder
from distilsearch.progress import Between, Progress, nothing, silent

from ..teachers.teacher import Teacher, load_teacher
from ..texts.data import ShortTextError, Text, load_text
from ..texts.sources import PYTHON_DOCS
from .artefact import Artefact, read_artefacts, write_artefacts
from .asked import CALIBRATED, MOST_LOST, Way, check_export, check_ways, in_words
from .beside import write_beside, write_card
from .making import Making
from .samples import check_calibration


def export(
    model: str,
    out: Path | str,
    ways: Sequence[Way],
    text: Sequence[str] = (),
    prompt: str = "",
    progress: Progress = silent,
    most_lost: float = MOST_LOST,
) -> list[Artefact]:
    """Export a model, student or teacher, into a folder of its own.

    Args:
        model: its folder, a hub name, or "quickstart".
        ways: runtimes and precisions.
        text: what it is checked on, and static int8 is calibrated on: sources as for `load_text`. Without, it is
            checked on the documentation that Python ships with, and no int8 is calibrated.
        prompt: the name of one of the model's prompts; by default the one that every text gets.
        most_lost: what int8 may add to the loss.

    Raises:
        InputError: a package is missing, the folder holds something else, the model is none of the known families, or
            the runtime cannot express it.
        TrialError: what was exported differs too much from the model, or int8 loses too much; nothing is kept.
    """
    target = check_export(model, out, ways, text, most_lost)
    progress("reading model and text", 0, 1)
    checkpoint = load_teacher(model).shown(prompt)
    read = _read(text, checkpoint, ways, progress)
    progress("reading model and text", 1, 1)
    return export_checkpoint(checkpoint, target, ways, read, bool(text), progress, most_lost)


def _read(text: Sequence[str], checkpoint: Teacher, ways: Sequence[Way], progress: Progress) -> Text:
    """What an export is checked and calibrated on; a `TextError` where that is too little."""
    try:
        return load_text(list(text) or [PYTHON_DOCS], checkpoint, progress=progress)
    except ShortTextError as error:
        other = "" if CALIBRATED in ways else (
            ", or leave it out, and it is checked on the documentation that Python ships with"
        )  # fmt: skip
        raise TextError(
            f"the text to check and calibrate on has {error.tokens:,} tokens, and at least {error.needed:,} are needed:"
            f" name more with --text{other}"
        ) from None


def export_checkpoint(
    checkpoint: Teacher,
    target: Path,
    ways: Sequence[Way],
    text: Text,
    calibrated: bool = True,
    progress: Progress = silent,
    most_lost: float = MOST_LOST,
    between: Between = nothing,
) -> list[Artefact]:
    """The same of a loaded checkpoint and a text in its tokens, into a folder that may be written.

    Args:
        calibrated: whether the text may say how int8 is scaled, beside being what is checked on; one that is too short
            for that is checked on alone, and the card says so.
        between: called before each artefact is made.
    """
    check_ways(ways, calibrated)
    check_calibration(ways, text)
    others = _others(target, checkpoint, ways)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    ensure_folder(target.parent)
    try:
        ensure_folder(temporary)
        made = _made(Making(checkpoint, temporary, text, calibrated, most_lost), ways, progress, between)
        _keep(others, temporary)
        listed = [*(replace(one, folder=temporary) for one in others), *made]
        write_beside(checkpoint, temporary)
        write_artefacts(temporary, listed)
        write_card(checkpoint, temporary, listed)
        replace_folder(temporary, target)
    except OSError as error:
        raise RunError(f"cannot write the export to {target}: {error}; free space or name another folder") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return [replace(one, folder=target) for one in made]


def _made(making: Making, ways: Sequence[Way], progress: Progress, between: Between) -> list[Artefact]:
    """The artefacts of all ways, one after another; what was made on the way to them is removed."""
    made = []
    for place, way in enumerate(ways):
        between()
        progress(f"exporting for {way[0]} in {way[1]}", place, len(ways))
        made.append(making.artefact(way))
    progress("exporting", len(ways), len(ways))
    making.clean()
    return made


def _others(target: Path, checkpoint: Teacher, ways: Sequence[Way]) -> list[Artefact]:
    """The artefacts of a folder that stay; a `RunError` where they are of another checkpoint, or damaged."""
    there = list(read_artefacts(target).values())
    if any(one.source != checkpoint.weights_sha256 for one in there):
        raise RunError(f"{target} holds exports of another model; name another folder, or remove it")
    staying = [one for one in there if one.name not in map(in_words, ways)]
    for one in staying:
        one.check()
    return staying


def _keep(others: Sequence[Artefact], folder: Path) -> None:
    for one in others:
        for name in one.files:
            ensure_folder((folder / name).parent)
            shutil.copy2(one.folder / name, folder / name)
