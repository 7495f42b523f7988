"""Artefacts of a kept student, beside it: made once, whoever asks, and never opened unless they are what was written.

They lie in `served/` beside the student's folder in its trial. One that is damaged, or of other weights than the
student has now, is made again.
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from distilsearch.errors import RunError
from distilsearch.home import file_lock
from distilsearch.operators import Serving
from distilsearch.progress import Between, Progress, nothing, silent

from ..quality import LOSS, Held
from ..teachers.checkpoint import weight_files
from ..teachers.teacher import Teacher, load_teacher, weights_digest
from ..texts.data import Text
from .artefact import MANIFEST, SERVED, Artefact, read_artefacts, write_artefacts
from .asked import Way, check_ways, in_words
from .export import export_checkpoint
from .samples import check_calibration
from .served_loss import held_of, pooled_prompt


def loss_of(student: Path, serving: Serving, teacher: Teacher, text: Text, quality: str = LOSS) -> float:
    """The held-out loss of a kept student as a runtime serves it: of the very file, exported once.

    Args:
        student: its folder; files go into `served/` beside it.
        serving: whose runtime and precision count, and threads where they are given.
        teacher, text, quality: what the loss is taken against, as at the end of its training; int8 is calibrated on
            the same text.

    Raises:
        InputError: a package is missing, or the runtime cannot express the student.
        TrialError: what was exported is too far from the student, or its loss is not a number.
    """
    return held_as_served(student, serving, teacher, text, quality).loss


def held_as_served(student: Path, serving: Serving, teacher: Teacher, text: Text, quality: str = LOSS) -> Held:
    """The same with the parts that the loss is made of."""
    (artefact,) = served(student, [(serving.runtime, serving.dtype)], teacher, text)
    return held_of(artefact, teacher, text, quality, serving.threads or torch.get_num_threads())


def served(
    student: Path,
    ways: Sequence[Way],
    teacher: Teacher,
    text: Text,
    progress: Progress = silent,
    between: Between = nothing,
) -> list[Artefact]:
    """The artefacts of a kept student, made where they are absent, damaged or of other weights.

    Args:
        teacher: what it was trained by, asked with the prompt that it was asked with.
        between: called before each that is made; it may raise `Interrupted`, and nothing is kept of these.
    """
    check_ways(ways, text=True)
    check_calibration(ways, text)
    place = student.with_name(SERVED)
    with file_lock(place.with_name(f".{SERVED}.lock")):
        sound = _sound(place, student, pooled_prompt(teacher))
        missing = [way for way in ways if in_words(way) not in sound]
        if missing:
            checkpoint = load_teacher(str(student)).asked(teacher.prompt)
            made = export_checkpoint(checkpoint, place, missing, text, progress=progress, between=between)
            sound |= {artefact.name: artefact for artefact in made}
    return [sound[in_words(way)] for way in ways]


def _sound(place: Path, student: Path, prompt: str) -> dict[str, Artefact]:
    """The artefacts that are as they were written, and of this student; what is not is no longer listed."""
    try:
        listed = list(read_artefacts(place).values())
    except RunError:
        listed = []
    source = weights_digest(weight_files(student)) if listed else ""
    sound = {one.name: one for one in listed if one.source == source and one.prompt == prompt and _intact(one)}
    if len(sound) < len(listed) or not listed:
        (place / MANIFEST).unlink(missing_ok=True)
        if sound:
            write_artefacts(place, list(sound.values()))
    return sound


def _intact(artefact: Artefact) -> bool:
    try:
        artefact.check()
    except RunError:
        return False
    return True
