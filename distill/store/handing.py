"""Students on their way out of the archive: each file is held against its hash while it is copied.

What is handed out is what was written when the student was trained, or nothing. Only the files of the trial go along:
no link, and nothing that somebody has put beside them.
"""

import hashlib
from pathlib import Path

from distilsearch.errors import TrialError
from distilsearch.home import ensure_folder

from ..students.card import CARD
from .trial import STUDENT, TRUNK, Trial, hashes, mismatched

CHUNK = 1 << 22  # bytes


def copy_student(trial: Trial, folder: Path) -> None:
    """Copy the student of a trial into a folder that is not there yet.

    Raises:
        TrialError: a file is not what was written, or gone; the trial is to be trained again.
        OSError: the folder cannot be written.
    """
    if damaged := mismatched(trial):
        raise changed(trial, damaged)
    names = {name: sha256 for name, sha256 in trial.files.items() if name.startswith(f"{STUDENT}/")}
    if not trial.files:  # schema 1 has no hashes: as they are now
        names = hashes(trial.student, trial.folder / TRUNK)
        names.pop(TRUNK, None)
    for name, sha256 in names.items():
        target = folder / name.removeprefix(f"{STUDENT}/")
        ensure_folder(target.parent)
        if _copied(trial.folder / name, target) != sha256:
            raise changed(trial, [name])


def changed(trial: Trial, files: list[str]) -> TrialError:
    """The error for a student whose files are not what was written."""
    return TrialError(f"the student in {trial.folder} is not what was written ({', '.join(files)}); train it again")


def lies_there(trial: Trial, folder: Path) -> bool:
    """Whether a folder holds a trial's student, file by file, its card aside; also beside other files."""
    there, due = hashes(folder, folder / TRUNK), {k: v for k, v in trial.files.items() if k.startswith(f"{STUDENT}/")}
    return bool(due) and all(there.get(name) == sha256 for name, sha256 in due.items() if not name.endswith(CARD))


def _copied(source: Path, target: Path) -> str:
    """Copy a file in pieces; returns the sha256 of what passed."""
    digest = hashlib.sha256()
    with source.open("rb") as reader, target.open("wb") as writer:
        while piece := reader.read(CHUNK):
            digest.update(piece)
            writer.write(piece)
    return digest.hexdigest()
