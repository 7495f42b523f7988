"""Finished trials, kept by content and shared by all runs.

A trial is keyed by everything that its quality depends on: the teacher (weights, config, pooling), tokenizer, text,
recipe with its tokens, seed and precision, and the architecture. What it is served on is not part of the key, so a
search for another device, serving or limit starts from every student that was ever distilled the same way.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distilsearch.architecture import Architecture
from distilsearch.errors import TrialError
from distilsearch.home import trials_folder, write_atomically
from distilsearch.progress import Progress

if TYPE_CHECKING:
    from distilsearch.distill.data import Text
    from distilsearch.distill.recipes import Recipe
    from distilsearch.distill.student import Student
    from distilsearch.distill.teacher import Teacher

SCHEMA = 1


@dataclass(frozen=True)
class Context:
    """What the quality of a student depends on, but for its architecture."""

    teacher: str
    tokenizer: str
    text: str
    recipe: str
    tokens: int
    seed: int
    precision: str

    def key(self, architecture: Architecture) -> str:
        """The content key of one trial: a sha256."""
        facts = asdict(self) | {"architecture": architecture.to_json()}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Trial:
    """What a finished trial leaves. `curve`: pairs of tokens seen and held-out loss."""

    key: str
    architecture: Architecture
    training: Context
    loss: float
    parameters: int
    tokens: int
    seconds: float
    curve: tuple[tuple[int, float], ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def student(self) -> Path:
        """The folder of the stock checkpoint."""
        return trial_folder(self.key) / "student"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        plain = {"schema": SCHEMA, "architecture": self.architecture.to_json(), "context": asdict(self.context)}
        return vars(self) | plain

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Trial":
        """The inverse of `to_json`."""
        parts = {k: v for k, v in data.items() if k != "schema"}
        parts["architecture"] = Architecture.from_json(data["architecture"])
        parts["context"] = Context(**data["context"])
        parts["curve"] = tuple((int(t), float(v)) for t, v in data["curve"])
        return cls(**parts)


def trial_folder(key: str) -> Path:
    """Where the trial of a content key lives."""
    return trials_folder() / key


def find(key: str) -> Trial | None:
    """The finished trial of a content key, if there is one and its student is still there."""
    path = trial_folder(key) / "trial.json"
    try:
        data = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError):
        return None
    if data.get("schema") != SCHEMA or not (path.parent / "student" / "config.json").exists():
        return None
    return Trial.from_json(data)


def matching(context: Context) -> Iterator[Trial]:
    """All finished trials of a context, in the order of their keys."""
    for folder in sorted(trials_folder().iterdir()):
        record = find(folder.name)
        if record is not None and record.training == context:
            yield record


def trunks(context: Context, architectures: Sequence[Architecture]) -> dict[Path, Architecture]:
    """The checkpoints that shorter trials of architectures have left for longer ones to go on from."""
    from distilsearch.distill.training import TRUNK

    left = [folder for folder in sorted(trials_folder().iterdir()) if (folder / TRUNK).exists()]
    return {
        folder / TRUNK: record.architecture
        for folder in left
        if (record := find(folder.name)) is not None
        and record.architecture in architectures
        and record.training.tokens < context.tokens
        and replace(record.training, tokens=context.tokens) == context
    }


def distil(
    teacher: "Teacher",
    text: "Text",
    architectures: Sequence[Architecture],
    recipe: "Recipe",
    training: Context,
    device: str,
    cache_limit: int,
    progress: Progress,
) -> list[Trial | TrialError]:
    """Distil students side by side and keep them; one that diverges yields its error.

    Trials that were interrupted go on where their checkpoints stand. A longer one goes on from the trunk of a shorter
    one, which makes room once the longer one's stands.
    """
    from distilsearch.distill.training import distill_students

    folders = [trial_folder(context.key(a)) for a in architectures]
    shorter = trunks(context, architectures)
    students = distill_students(
        teacher,
        architectures,
        text,
        recipe,
        budget_tokens=context.tokens,
        seed=context.seed,
        precision=context.precision,
        folders=[folder / "checkpoint" for folder in folders],
        cache_limit=cache_limit,
        device=device,
        since=list(shorter),
        progress=progress,
    )
    kept: list[Trial | TrialError] = []
    for student, folder in zip(students, folders, strict=True):
        if isinstance(student, TrialError):
            kept.append(student)
            shutil.rmtree(folder / "checkpoint", ignore_errors=True)
        else:
            passed = [path for path, of in shorter.items() if of == student.architecture]
            kept.append(_keep(student, context, folder, passed))
    return kept


def _keep(student: "Student", context: Context, folder: Path, passed: Sequence[Path]) -> Trial:
    """Write a finished trial, its record last, and clear away what it has left behind and passed."""
    from distilsearch.distill.training import TRUNK

    student.save(folder / "student")
    trunk = folder / "checkpoint" / TRUNK
    if trunk.exists():
        trunk.replace(folder / TRUNK)
    record = Trial(
        key=folder.name,
        architecture=student.architecture,
        context=context,
        loss=student.loss,
        parameters=student.parameters,
        tokens=student.tokens,
        seconds=student.seconds,
        curve=tuple(student.curve),
    )
    write_atomically(folder / "trial.json", json.dumps(record.to_json(), indent=1))
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)
    if (folder / TRUNK).exists():
        for path in passed:
            path.unlink(missing_ok=True)
    return record
