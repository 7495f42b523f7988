"""The students that a run hands back, copied into its folder: stock checkpoints that outlive the shared trials.

What lies in `students/` and is no student of ours is the user's: it is left alone. So are students of earlier calls
that are no longer on the front: they may be in use. `report.students` names both.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distilsearch.distill.store.handing import copy_student
from distilsearch.distill.store.trial import Trial
from distilsearch.distill.students.card import CARD, with_sections
from distilsearch.errors import RunError, TrialError
from distilsearch.home import replace_folder
from distilsearch.places import STUDENT, own_folder

from ...report.students import STUDENTS, foreign


def export_students(
    folder: Path, trials: Mapping[str, Trial], served: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, str]:
    """Copy students into a run's folder, each whole or not at all.

    Args:
        folder: the run's.
        trials: those whose students are copied, by the key of the pair (student, served).
        served: how the pairs are served, where that was chosen or is no student as it was trained, by the same keys:
            what their cards say of it. Weights are as they were trained: whoever serves them converts them.

    Returns:
        Their folders by key, relative to the run's; without those whose files are gone and were not copied before, or
        in whose place something of the user's lies.

    Raises:
        RunError: one cannot be copied, or a file of it is not what was written.
    """
    for key, trial in trials.items():
        if trial.student.is_dir() and not foreign(folder / STUDENTS / key):
            _copy(trial, folder / STUDENTS / key, (served or {}).get(key, {}))
    places = {key: folder / STUDENTS / key for key in (*trials, *(served or {}))}
    return {key: f"{STUDENTS}/{key}" for key, place in places.items() if place.is_dir() and not foreign(place)}


def _copy(trial: Trial, target: Path, served: Mapping[str, Any]) -> None:
    """Copy one student; a `RunError` where that cannot be done. What was added to an older copy stays in it."""
    fresh = target.with_name(f".{target.name}.new")
    try:
        own_folder(target, STUDENT)
        if fresh.is_symlink():
            fresh.unlink()
        shutil.rmtree(fresh, ignore_errors=True)
        copy_student(trial, fresh)
        if served:
            _say_how(fresh / CARD, served)
        replace_folder(fresh, target)
    except (OSError, RunError, TrialError) as error:
        shutil.rmtree(fresh, ignore_errors=True)
        raise RunError(
            f"cannot copy a student to {target}: {error}; mend that (space, perhaps), and search again"
        ) from error


def _say_how(card: Path, served: Mapping[str, Any]) -> None:
    note = {
        **served,
        "weights": "as trained; graphs of other runtimes and precisions lie in served/, where they were exported",
    }
    card.write_text(with_sections(card.read_text(encoding="utf-8"), {"Served as": note}), encoding="utf-8")
