"""Scores of models by evaluations that are named; those of a student that the archive holds are kept beside it.

Notable: a copy of a student, as `deliver` or a run leaves it, is known by its files; only its card may say more.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distilsearch.errors import InputError
from distilsearch.progress import Progress, silent

from ..served.artefact import SERVED
from ..store.archive import Archive
from ..store.handing import changed
from ..store.trial import STUDENT, TRUNK, Trial, hashes, mismatched
from ..students.card import CARD
from ..teachers.teacher import Teacher, load_teacher
from ..texts.data import MOST_HELDOUT, Text, load_text, measured_on
from ..texts.readers import TEXT
from . import Evaluation, open_evaluation

READING = "reading the model and what it is held against"
SLOW = 5.0  # seconds: what takes longer is said


def evaluations(
    name: str,
    files: Sequence[Path] = (),
    teacher: str = "",
    text: Sequence[str] = (),
    column: str = TEXT,
    prompt: str = "",
    progress: Progress = silent,
    block: int | None = None,
    model: str = "",
    options: Mapping[str, Any] | None = None,
    most_heldout: int = MOST_HELDOUT,
) -> list[tuple[str, Evaluation]]:
    """An evaluation on each file, or without any; each with what to call it.

    Args:
        teacher, text, column, block: for evaluations on a text's held-out blocks.
        prompt: the name of a prompt of the models, put before every text.
        model: in whose tokens a text is read where no teacher is named.
        options: the evaluation's own; those that are given stand in what it is called.
        most_heldout: how many of a text's held-out blocks are measured on, at most; how many these are is told.

    Raises:
        InputError: the name is not known, or the evaluation needs something else.
    """
    if text and not (teacher or model):
        raise InputError("a text is read in a model's tokens; name the teacher too")
    against = load_teacher(teacher).shown(prompt) if teacher else None
    reader = (against or load_teacher(model).shown(prompt)) if text else None
    read = None if reader is None else _read(text, reader, block, column, progress, most_heldout)
    given: dict[str, Any] = {"progress": progress, **(options or {})}
    if not files:
        return [(called(name, options), open_evaluation(name, None, against, read, prompt, reader, **given))]
    made = [open_evaluation(name, path, against, read, prompt, reader, **given) for path in files]
    return [(called(path.resolve().name, options), one) for path, one in zip(files, made, strict=True)]


def _read(text: Sequence[str], reader: Teacher, block: int | None, column: str, progress: Progress, most: int) -> Text:
    """A text with at most so many held-out blocks; how many these are is told, for a loss is of them."""
    whole = load_text(list(text), reader, block, column=column, progress=progress)
    read = measured_on(whole, most)
    beside = "" if len(read.heldout) == len(whole.heldout) else f" of {len(whole.heldout):,}"
    progress(f"the text is scored on {len(read.heldout):,}{beside} held-out blocks", 0, 0)
    return read


def called(what: str, options: Mapping[str, Any] | None) -> str:
    """What scores are called: by the data, and by the options that were given, so that no two are mixed up.

    >>> called("MRPC", {"rows": 500, "seeds": 1})
    'MRPC (rows 500, seeds 1)'
    """
    words = ", ".join(f"{name} {value}" for name, value in (options or {}).items())
    return f"{what} ({words})" if words else what


def score(
    model: str,
    name: str,
    files: Sequence[Path] = (),
    teacher: str = "",
    text: Sequence[str] = (),
    column: str = TEXT,
    prompt: str = "",
    progress: Progress = silent,
    block: int | None = None,
) -> dict[str, dict[str, float]]:
    """Scores of a model by each evaluation that is asked for; see `evaluations`, which also says what is refused."""
    (scores,) = score_all([model], name, files, teacher, text, column, prompt, progress, block).values()
    return scores


def score_all(
    models: Sequence[str],
    name: str,
    files: Sequence[Path] = (),
    teacher: str = "",
    text: Sequence[str] = (),
    column: str = TEXT,
    prompt: str = "",
    progress: Progress = silent,
    block: int | None = None,
    options: Mapping[str, Any] | None = None,
    most_heldout: int = MOST_HELDOUT,
) -> dict[str, dict[str, dict[str, float]]]:
    """Scores of each model by each evaluation that is asked for; see `evaluations`. How long one took is told."""
    progress(READING, 0, 1)
    Archive().name_problems(progress)
    given = (name, files, teacher, text, column, prompt, progress, block, models[0], options, most_heldout)
    asked = [] if teacher or text else evaluations(*given)  # mistakes are told before anything slow begins
    for model in models:
        load_teacher(model)
    asked = asked or evaluations(*given)
    progress(READING, 1, 1)
    scores: dict[str, dict[str, dict[str, float]]] = {model: {} for model in models}
    parts = [(model, what, evaluation) for model in scores for what, evaluation in asked]
    for place, (model, what, evaluation) in enumerate(parts):
        progress(f"scoring by {name}", place, len(parts))
        started = time.monotonic()
        scores[model][what] = scores_of(model, evaluation)
        if (took := time.monotonic() - started) > SLOW:
            progress(f"{model} on {what} took {took:.0f} s", 0, 0)
    progress(f"scoring by {name}", len(parts), len(parts))
    return scores


def scores_of(model: str, evaluation: Evaluation, archive: Archive | None = None) -> dict[str, float]:
    """Scores of a model by name; where it is a student of the archive, those that are kept, and kept from now on."""
    archive = archive or Archive()
    _check_own(Path(model), archive)
    trial = trial_in(Path(model), archive)
    if trial is None or not archive.intact(trial):
        return evaluation(model)
    return dict(archive.evaluated(trial, evaluation.name, evaluation.heldout, STUDENT, evaluation).values)


def _check_own(folder: Path, archive: Archive) -> None:
    """A `TrialError` where a student in the archive itself is not what was written."""
    place = folder.resolve()
    if place.name == STUDENT and place.parent.parent == archive.folder.resolve():
        trial = archive.find(place.parent.name)
        if trial is not None and (files := mismatched(trial)):
            raise changed(trial, files)


def trial_in(folder: Path, archive: Archive) -> Trial | None:
    """The trial whose student a folder holds, or a copy of it; none where it holds another model."""
    if not (folder / "config.json").is_file():
        return None
    files = _without_card(hashes(folder, folder / TRUNK))
    return next((trial for trial in archive.trials() if _holds(trial, folder, files)), None)


def _holds(trial: Trial, folder: Path, files: dict[str, str]) -> bool:
    own = {path: sha256 for path, sha256 in trial.files.items() if path.startswith(f"{STUDENT}/")}
    return _without_card(own) == files if own else trial.student.resolve() == folder.resolve()


def _without_card(files: dict[str, str]) -> dict[str, str]:
    """Files without the card, and without what the student was exported as."""
    within = f"{STUDENT}/{SERVED}/"
    return {
        path: sha256 for path, sha256 in files.items() if path != f"{STUDENT}/{CARD}" and not path.startswith(within)
    }
