"""A small search in a folder of its own, and what it has come to: what faults are told by.

| name | meaning |
| --- | --- |
| lost | trials of the undisturbed run that this one did not make, and has not failed for a cause of its own |
| doubled | trials made twice |
| corrupted | students handed out, or kept in the home, whose weights are not those of the undisturbed run |
| strayed | whether its students were proposed in another order |
| left over | files that the undisturbed run does not leave |
"""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from distilsearch.architecture import Architecture

OLD = Path(__file__).parents[1] / "old" / "0.1.0"
(TABLE,) = (OLD / "tables").glob("*/*")
TRIALS = 3
RUN: dict[str, Any] = {
    "name": "whole",
    "teacher": str(OLD / "teacher"),
    "text": [str(OLD / "text" / "words.txt")],
    "trials": TRIALS,
    "space": {"layers": [1, 2, 3], "width": [16], "heads": [1], "ffn": [16, 32], "inherit": ["even"]},
    "train": {
        "device": "cpu", "precision": "float32", "flash_tokens": 1_024, "final_tokens": 2_048, "threads": 1,
        "finish": "chosen", "workers": 1,
    },
    "target": [{"device": "cpu", "serving": {"sequence": 8, "threads": 1}}],
}  # fmt: skip
MEANT = re.compile(r"(\.lock|\.log|damaged-\d+\.log)$")  # locks, logs, and what was set aside for the user
NOTES = re.compile(r"home/runs/[0-9a-f]+")


@dataclass(frozen=True)
class World:
    """A folder with the home, the run, and all that tells what happened.

    `changes`: of the run file.
    """

    root: Path
    changes: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def home(self) -> Path:
        """Of its processes."""
        return self.root / "home"

    @cached_property
    def run(self) -> Path:
        """The run's folder."""
        return self.root / "run"

    @property
    def asked(self) -> dict[str, Any]:
        """The run file."""
        return RUN | dict(self.changes)

    def make(self) -> "World":
        """Begin it: a home that holds a table of the machine."""
        (self.root / "tmp").mkdir(parents=True)
        self.home.mkdir()
        (self.home / "home.json").write_text(json.dumps({"format": 1, "version": "tests"}))
        shutil.copytree(TABLE, self.home / "tables" / TABLE.parent.name / TABLE.name)
        return self

    def copy(self, root: Path) -> "World":
        """The same, elsewhere."""
        shutil.copytree(self.root, root, symlinks=True)
        return World(root, self.changes)

    def facts(self) -> "Facts":
        """What it has come to."""
        return facts_of(self)


@dataclass(frozen=True)
class Facts:
    """What a run has come to.

    `trials`: (key, state, loss) in the order of their numbers; `students`: sha256 of weights that are handed out, by
    key; `kept`: of those in the home, by the key of the training; `files`: all that lie in run and home.
    """

    trials: tuple[tuple[str, str, float | None], ...]
    causes: tuple[str, ...]
    knee: str | None
    students: Mapping[str, str]
    kept: Mapping[str, str]
    files: frozenset[str]


@dataclass(frozen=True)
class Difference:
    """How a disturbed run differs from the undisturbed one."""

    lost: int
    doubled: int
    corrupted: int
    strayed: bool
    left_over: tuple[str, ...]


def facts_of(world: World) -> Facts:
    """Read the result of a run, and the home."""
    result = json.loads((world.run / "result.json").read_text())
    made = result["trials"]
    students = {
        member["key"]: sha256(world.run / member["student"] / "model.safetensors") for member in result["front"]
    }
    kept = {
        path.parents[1].name: sha256(path)
        for path in world.home.glob("trials/*/student/model.safetensors")
        if (path.parents[1] / "trial.json").exists()
    }
    return Facts(
        tuple((trial["key"], trial["state"], trial["loss"]) for trial in made),
        tuple(trial["cause"] for trial in made if trial["cause"]),
        result["knee"],
        students,
        kept,
        frozenset(_files(world)),
    )


def compared(
    hurt: Facts, whole: Facts, failed: int = 0, made: frozenset[str] | None = None, beside: str = ""
) -> Difference:
    """What a fault has done.

    Args:
        failed: trials that the fault makes fail for good, so that nobody counts them as lost.
        made: keys of the students that had been trained before a file was hurt: without the run's own notes it may
            propose others after them. All are due where it is None.
        beside: the key of a training whose files in the home were hurt on purpose: nobody looks at those before its
            student is handed out, and what is handed out is held against the undisturbed run all the same.
    """
    complete = [trial[0] for trial in hurt.trials if trial[1] == "complete"]
    due = {trial[0] for trial in whole.trials if trial[1] == "complete"}
    missing = (due if made is None else due & made) - set(complete) if not failed else set()
    short = max(0, len(due) - failed - len(set(complete)))
    strayed = not failed and _proposed(hurt) != _proposed(whole)
    losses = {trial[0]: trial[2] for trial in whole.trials}
    wrong = [key for key, state, loss in hurt.trials if state == "complete" and losses.get(key, loss) != loss]
    wrong += [key for key, digest in hurt.students.items() if key in whole.students and digest not in _made(whole)]
    wrong += [key for key, digest in hurt.kept.items() if whole.kept.get(key, digest) != digest and key != beside]
    return Difference(
        lost=max(len(missing), short),
        doubled=len(complete) - len(set(complete)),
        corrupted=len(wrong),
        strayed=strayed,
        left_over=() if failed or strayed else tuple(sorted(hurt.files - whole.files)),
    )


def _proposed(facts: Facts) -> list[str]:
    """The keys of the students in the order they were proposed; of one that was lost and made again, that one time."""
    made = {key for key, state, _ in facts.trials if state == "complete"}
    return [key for key, state, _ in facts.trials if state == "complete" or key not in made]


def trained(world: World) -> frozenset[str]:
    """The keys of all students that the home holds."""
    notes = [json.loads(path.read_text()) for path in world.home.glob("trials/*/trial.json")]
    return frozenset(Architecture.from_json(note["architecture"]).key for note in notes)


def _made(facts: Facts) -> set[str]:
    return {*facts.students.values(), *facts.kept.values()}


def _files(world: World) -> Iterator[str]:
    for folder in (world.run, world.home):
        for path in folder.rglob("*"):
            name = str(path.relative_to(world.root))
            if path.is_file() and not MEANT.search(name) and "/tables/" not in name:
                yield NOTES.sub("home/runs/NOTE", name)  # which is named by the folder of the run


def sha256(path: Path) -> str:
    """Of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
