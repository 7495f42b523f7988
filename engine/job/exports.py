"""The students that a run hands back, copied into its folder: stock checkpoints that outlive the shared trials.

What lies in `students/` and is no student of ours is the user's: it is left alone and named. So are students of earlier
calls that are no longer on the front: they may be in use.
"""

import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from distilsearch.distill.card import CARD, with_sections
from distilsearch.errors import RunError
from distilsearch.home import replace_folder
from distilsearch.places import STUDENT, own_folder

from ..report.schema import Member, ResultFile

STUDENTS = "students"
MOST_NAMED = 6


def export_students(
    folder: Path, checkpoints: Mapping[str, Path], served: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, str]:
    """Copy students into a run's folder, each whole or not at all.

    Args:
        folder: the run's.
        checkpoints: the folders to copy, by the key of the pair (student, served).
        served: how the pairs are served, where that was chosen, by the same keys; their cards say so. Weights are as
            they were trained: whoever serves them converts them.

    Returns:
        Their folders by key, relative to the run's; without those whose checkpoint is gone and was not copied before,
        or in whose place something of the user's lies.

    Raises:
        RunError: one cannot be copied.
    """
    for key, checkpoint in checkpoints.items():
        if checkpoint.is_dir() and not foreign(folder / STUDENTS / key):
            copy_student(checkpoint, folder / STUDENTS / key, (served or {}).get(key, {}))
    places = {key: folder / STUDENTS / key for key in (*checkpoints, *(served or {}))}
    return {key: f"{STUDENTS}/{key}" for key, place in places.items() if place.is_dir() and not foreign(place)}


def foreign(place: Path) -> bool:
    """Whether something else than a student of ours lies in a student's place."""
    if place.is_symlink() or place.is_file():
        return True
    return place.is_dir() and any(place.iterdir()) and not STUDENT.ours(place)


def absent(folder: Path, members: Iterable[Member]) -> list[Member]:
    """Members of the front that were trained here and whose student is not in the run's folder."""
    trained = (member for member in members if member.student or member.source != "imported")
    return [member for member in trained if not STUDENT.ours(folder / STUDENTS / member.key)]


def remarks(folder: Path, result: ResultFile) -> Iterator[str]:
    """What whoever looks for the front's students must know: which are not there, and which others are."""
    for member in absent(folder, result.front):
        place = folder / STUDENTS / member.key
        if foreign(place):
            yield f"{place} holds something else than the student {member.key}; move it away and call again"
        else:
            yield (
                f"the student {member.key} is gone: neither {place} nor the shared trials hold it; `distilsearch"
                f" distill {folder} {member.key} --out DIR` trains it again"
            )
    keys, students = {member.key for member in result.front}, folder / STUDENTS
    others = [path for path in sorted(students.iterdir()) if path.is_dir()] if students.is_dir() else []
    former = [path.name for path in others if path.name not in keys and STUDENT.ours(path)]
    if former:
        more = f" and {len(former) - MOST_NAMED} more" if len(former) > MOST_NAMED else ""
        yield (
            f"{students} also holds students of earlier calls, which are no longer on the front:"
            f" {', '.join(former[:MOST_NAMED])}{more}"
        )


def copy_student(source: Path, target: Path, served: Mapping[str, Any]) -> None:
    """Copy one student; a `RunError` where that cannot be done. What was added to an older copy stays in it."""
    fresh = target.with_name(f".{target.name}.new")
    try:
        own_folder(target, STUDENT)
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(source, fresh)
        if served:
            _say_how(fresh / CARD, served)
        replace_folder(fresh, target)
    except (OSError, RunError) as error:
        shutil.rmtree(fresh, ignore_errors=True)
        raise RunError(f"cannot copy a student to {target}: {error}; free space and search again") from error


def _say_how(card: Path, served: Mapping[str, Any]) -> None:
    note = {**served, "weights": "as trained; to be converted by whoever serves them so"}
    card.write_text(with_sections(card.read_text(encoding="utf-8"), {"Served as": note}), encoding="utf-8")
