"""A trial under another spelling of its student: layers that were named by a rule are named one by one, or the reverse.

Trials from before there were subsets are known by rules, `even` and the like. Whoever asks for the same student as
"0,3,5" is given them: the trial is entered once more under the key that was asked for, its files linked and not copied.
"""

import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from distilsearch.architecture import Architecture
from distilsearch.families import TeacherFacts
from distilsearch.families.cuts import spellings, within
from distilsearch.home import ensure_folder
from distilsearch.space import SearchSpace

from ..job import Training
from .trial import TRUNK, Trial

if TYPE_CHECKING:
    from .archive import Archive


def found(archive: "Archive", training: Training, student: Architecture, teacher: TeacherFacts) -> Trial | None:
    """The trial of a student under the key that is asked for, however it was spelt when it was trained.

    None too where another process holds that key: it is waited for as for any other.
    """
    if (trial := archive.of(training, student)) is not None:
        return trial
    for spelling in spellings(student, teacher):
        if spelling != student and (former := archive.of(training, spelling)) is not None and archive.intact(former):
            return _entered(archive, former, student)
    return None


def known(
    archive: "Archive", trainings: Iterable[Training], space: SearchSpace, teacher: TeacherFacts
) -> Iterator[Trial]:
    """The trials of trainings whose students a space has, as it spells them; each once."""
    for training in trainings:
        told = set[Architecture]()
        for trial in archive.matching(training):
            student = within(space, trial.architecture, teacher)
            if student is None or student in told:
                continue
            if (respelt := found(archive, training, student, teacher)) is not None:
                told.add(student)
                yield respelt


def trunks(archive: "Archive", training: Training, student: Architecture, teacher: TeacherFacts) -> list[Path]:
    """Checkpoints of shorter trainings of a student, however it was spelt then."""
    spelt = dict.fromkeys([student, *spellings(student, teacher)])
    return [path for spelling in spelt for path in archive.trunks(training, spelling)]


def _entered(archive: "Archive", former: Trial, student: Architecture) -> Trial | None:
    """A trial entered under the key of another spelling of its student."""
    key = former.training.key(student)
    if (claim := archive.claimed(key)) is None:
        return None
    try:
        folder = ensure_folder(archive.path(key))
        fresh, trunk = (folder / f".new-{uuid.uuid4().hex}" for _ in range(2))
        shutil.copytree(former.student, fresh, copy_function=_linked)
        if (former.folder / TRUNK).is_file():
            _linked(former.folder / TRUNK, trunk)
        return archive.keep(replace(former, key=key, architecture=student), fresh, trunk, claim)
    finally:
        claim.release()


def _linked(source: str | Path, target: str | Path) -> None:
    """A second name of a file, or a copy where the disk has no such thing."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
