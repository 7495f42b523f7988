"""What lies in the folder of a run's students, held against its result: who is missing, and who else is there.

Whatever is no student of ours is the user's, and so may be a student that has left the front: both are named alone.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from distilsearch.places import STUDENT
from distilsearch.strict import is_plain

from .schema import Member, ResultFile

STUDENTS = "students"
MOST_NAMED = 6


def foreign(place: Path) -> bool:
    """Whether something else than a student of ours lies in a student's place."""
    if place.is_symlink() or place.is_file():
        return True
    return place.is_dir() and any(place.iterdir()) and not STUDENT.ours(place)


def absent(folder: Path, members: Iterable[Member]) -> list[Member]:
    """Members of the front that were trained here and whose student is not in the run's folder."""
    trained = (member for member in members if member.student or member.source != "imported")
    return [m for m in trained if not is_plain(m.key) or not STUDENT.ours(folder / STUDENTS / m.key)]


def remarks(folder: Path, result: ResultFile) -> Iterator[str]:
    """What whoever looks for the front's students must know: which are not there, and which others are."""
    for member in absent(folder, result.front):
        place = folder / STUDENTS / member.key
        if not is_plain(member.key):
            yield f"the result names a student {member.key!r:.80}, which is no name below {place.parent}"
        elif foreign(place):
            yield f"{place} holds something else than the student {member.key}; move it away and search again"
        else:
            yield (
                f"the student {member.key} is not in {place.parent}: the run's own search, called again, copies it"
                f" there from the shared trials; where they have lost it, `distilsearch distill {folder} {member.key}"
                " --out DIR` trains it again"
            )
    students, keys = folder / STUDENTS, {member.key for member in result.front}
    there = students.is_dir() and not students.is_symlink()
    others = [path for path in sorted(students.iterdir()) if path.is_dir()] if there else []
    former = [path.name for path in others if path.name not in keys and STUDENT.ours(path)]
    if former:
        more = f" and {len(former) - MOST_NAMED} more" if len(former) > MOST_NAMED else ""
        yield (
            f"{students} also holds students of earlier calls, which are no longer on the front:"
            f" {', '.join(former[:MOST_NAMED])}{more}"
        )
