"""What the home holds, and what of it may go: never what a run still shows, nor what is being trained."""

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distilsearch.distill.job import Training
from distilsearch.distill.store.archive import Archive
from distilsearch.distill.store.trial import TRIAL, TRUNK, Trial
from distilsearch.distill.students.card import read_teacher
from distilsearch.distill.supernets.supers import remove_super, super_holder
from distilsearch.errors import RunError
from distilsearch.home import home, known_runs, supers_folder, tables_folder, targets_folder
from distilsearch.places import HOME_PARTS, MACHINE_LOCK, of_home

DAY_SECONDS = 86_400.0
UNFINISHED_DAYS = 1.0  # a run that was killed today may go on tomorrow, and one that is at work asks for its material
NOTE = "unreadable note of a run"
SHORT = 12  # digits of a key that are shown
MATERIAL = {"teachers": "teacher for workers", "texts": "text for workers", "data": "data of evaluations"}
OUTPUTS = {
    "set-": "teacher outputs", "text-": "packed text", "heldout-": "held-out embeddings",
    "statistics-": "teacher statistics",
}  # fmt: skip

PARTS = ("targets", "trials", "supers")  # of the home, in which cleaning removes what has a name of ours
SUPER = "super-network"
RECENT = ("unfinished", SUPER, *MATERIAL.values())


@dataclass(frozen=True)
class Item:
    """An entry of the home. `days`: since it was last written or, of teacher outputs, read."""

    kind: str  # "table", "trial", "trunk", SUPER, "unfinished", "damaged", "other", or one of OUTPUTS and MATERIAL
    name: str
    path: Path
    bytes: int
    days: float
    trial: Trial | None = None
    teacher: str = ""
    shown_by: tuple[Path, ...] = ()
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        trained = {"tokens": self.trial.tokens, "loss": self.trial.loss} if self.trial else {}
        about = {"kind": self.kind, "name": self.name, "path": str(self.path), "bytes": self.bytes, "days": self.days}
        shown = {"shown_by": [str(run) for run in self.shown_by], "note": self.note}
        return {**about, "teacher": self.teacher, **trained, **shown}

    @property
    def of_former(self) -> bool:
        """Whether it is a trial of version 0.1.0, which kept no hashes."""
        return self.trial is not None and not self.trial.files


def inventory(verify: bool = False) -> list[Item]:
    """All entries: tables, what teachers gave, trials and their trunks, and whatever else lies there.

    Args:
        verify: hold every student's files against their hashes.
    """
    below = [(f"{path.parent.name}/{path.name}", path) for path in sorted(tables_folder().glob("*/*"))]
    tables = [_item("table", name, path) for name, path in below if path.is_dir()]
    outputs = [
        _item(kind, path.name.removeprefix(prefix)[:SHORT], path)
        for prefix, kind in OUTPUTS.items()
        for path in sorted(targets_folder().glob(f"{prefix}*"))
        if of_home("targets", path.name)
    ]
    material = [
        _item(kind, path.name[:SHORT], path)
        for folder, kind in MATERIAL.items()
        for path in sorted((home() / "depot" / folder).glob("[!.]*"))
    ]
    foreign = [path for path in sorted(home().iterdir()) if path.name not in HOME_PARTS]
    foreign += [path for part in PARTS for path in sorted((home() / part).glob("*")) if not of_home(part, path.name)]
    strange = [(name, path) for name, path in below if not path.is_dir() and path.name != MACHINE_LOCK]
    other = [_item("other", name, path) for name, path in [*((path.name, path) for path in foreign), *strange]]
    return [*tables, *outputs, *material, *_supers(), *_trials(verify), *other]


def _supers() -> Iterator[Item]:
    """Super-networks, finished or not, with the runs whose students start from them or were told their scores."""
    starts = {run.folder: {training.get("start") for training in run.trainings} for run in known_runs()}
    for path in sorted(supers_folder().glob("[!.]*")):
        if of_home("supers", path.name):
            shown = tuple(folder for folder, keys in starts.items() if path.name in keys)
            note = f"in training by {holder}" if (holder := super_holder(path.name)) else ""
            yield _item(SUPER, path.name[:SHORT], path, note=note, shown_by=shown)


def _trials(verify: bool) -> Iterator[Item]:
    archive = Archive()
    registered = known_runs()
    yield from (_item(NOTE, run.folder.name, run.folder, note=run.unreadable) for run in registered if run.unreadable)
    runs = {run.folder: {_training(training) for training in run.trainings} for run in registered}
    problems = {problem.key: problem.cause for problem in archive.problems(verify)}
    trials = {trial.key: trial for trial in archive.trials()}
    for key in (key for key in archive.all_keys() if of_home("trials", key)):
        folder, trial, name = archive.path(key), trials.get(key), key[:SHORT]
        if trial is None:
            kind = "damaged" if (folder / TRIAL).exists() else "unfinished"
            holder = archive.holder(key)
            note = f"in training by {holder}" if holder else problems.get(key, "")
            yield _item(kind, name, folder, note=note)
            continue
        shown = tuple(path for path, trainings in runs.items() if trial.training in trainings)
        facts = (trial, read_teacher(trial.student), shown)
        yield _item("trial", name, folder, TRUNK, problems.get(key, ""), *facts)
        if (folder / TRUNK).exists():
            yield _item("trunk", name, folder / TRUNK, "", "", *facts)


def removable(
    items: Sequence[Item], older_than: float = 0.0, keep_trunks: bool = False, former: bool = False
) -> list[Item]:
    """What may go of what has not been written for so many days.

    Trials and super-networks that no run shows, what is damaged or was left unfinished, what can be made again of
    teachers and texts, and trunks, from which longer trainings would go on. Never a table, nor what is not ours.

    Args:
        former: also trials of version 0.1.0, whose runs left no notes of what they show until they are called again.

    Raises:
        RunError: the note of a run cannot be read, so that nobody knows what it shows.
    """
    for item in items:
        if item.kind == NOTE:
            raise RunError(f"cannot tell what a run shows by its note {item.path}: {item.note}")
    kinds = {"trial", SUPER, "unfinished", "damaged", *OUTPUTS.values(), *MATERIAL.values()} | (
        set() if keep_trunks else {"trunk"}
    )
    return [
        item
        for item in items
        if item.kind in kinds
        and item.days >= (max(older_than, UNFINISHED_DAYS) if item.kind in RECENT else older_than)
        and not (item.kind == SUPER and item.shown_by)
        and not (item.kind == "trial" and (item.shown_by or (item.of_former and not former)))
        and not item.note.startswith("in training")
        and "newer version" not in item.note
    ]


def remove(items: Sequence[Item]) -> None:
    """Remove entries; a trial that is being trained by now stays."""
    archive = Archive()
    for item in items:
        if item.kind == "trunk":
            archive.remove(item.path.parent.name, trunk_alone=True)
        elif item.kind in ("trial", "unfinished", "damaged"):
            archive.remove(item.path.name)
        elif item.kind == SUPER:
            remove_super(item.path.name)
        elif item.path.is_dir():
            shutil.rmtree(item.path, ignore_errors=True)
        else:
            item.path.unlink(missing_ok=True)


def _training(data: object) -> Training | None:
    """A training that a run shows; none where a newer version wrote it, whose trials this one cannot read either."""
    try:
        return Training.from_json(data)  # type: ignore[arg-type]
    except (RunError, TypeError):
        return None


def _item(
    kind: str,
    name: str,
    path: Path,
    leave: str = "",
    note: str = "",
    trial: Trial | None = None,
    teacher: str = "",
    shown_by: tuple[Path, ...] = (),
) -> Item:
    """An entry with its size and age, without the file that is an entry of its own."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file() and file.name != leave]
    facts = [status for file in files if (status := _status(file)) is not None]
    newest = max((mtime for _, mtime in facts), default=time.time())
    days = max(0.0, time.time() - newest) / DAY_SECONDS
    return Item(kind, name, path, sum(size for size, _ in facts), days, trial, teacher, shown_by, note)


def _status(file: Path) -> tuple[int, float] | None:
    """Bytes and time of a file; none where it has just gone."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime
