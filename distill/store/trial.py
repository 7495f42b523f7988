"""A trial: a trained student as the archive holds it, with what is known of it.

`trial.json` is written last, with the sha256 of every file that the trial left, so a folder that has it is whole. What
versions before the hashes wrote still opens; what a newer version wrote is refused by name. A trial may come from
anywhere: every value is checked, its key must be its folder's name, and no link in it is followed.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from distilsearch import strict
from distilsearch.architecture import Architecture
from distilsearch.errors import DistilSearchError, RunError, TeacherError
from distilsearch.home import trials_folder

from ..job import Training
from ..quality import Bought
from ..teachers.checkpoint import CONFIG, check_finite, count_parameters, headers, weight_files

SCHEMA = 2  # 1 had no hashes and no scores, and called the training its context
TRIAL, STUDENT, TRUNK, SCORES = "trial.json", "student", "trunk.safetensors", "scores"
HELDOUT_LOSS = "heldout-loss"
PROBE = "heldout"  # the evaluation by that name, on another text than the training's own
UNTRAINED_BLOCKS = "untrained_blocks"  # a fact: of a training whose first loss is of some held-out blocks alone
UNTRAINED = "untrained"  # the artefact that scores of a student before its first step are kept under
FORMER_AUTO = "auto"  # the precision that keys of schema 1 could hold, before it was resolved
TRAINING: Mapping[str, type] = {"tokens": int, "seed": int, "share": float}  # its fields that are no text
NAMED: Mapping[type, str] = {int: "a whole number", float: "a number with a point", str: "text"}
CARD_ROW = re.compile(r"^\| seed, precision \| \d+, (float32|bf16) \|$", re.MULTILINE)


class NewerTrialError(RunError):
    """A newer version of distilsearch wrote the trial; this one leaves it as it is."""


@dataclass(frozen=True)
class Score:
    """What an evaluation of an artefact ("student", or the name of an exported file) on a held-out set gave."""

    evaluation: str
    heldout: str  # sha256 of the held-out set
    artefact: str
    values: Mapping[str, float]

    @property
    def subject(self) -> tuple[str, str, str]:
        """What was evaluated, on what, how: one score a subject."""
        return self.evaluation, self.heldout, self.artefact

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "evaluation": self.evaluation,
            "heldout": self.heldout,
            "artefact": self.artefact,
            "values": dict(self.values),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Score":
        """The inverse of `to_json`."""
        said = strict.table(data, "a score")
        evaluation, heldout, artefact = (
            strict.text(said[name], name) for name in ("evaluation", "heldout", "artefact")
        )
        values = {name: strict.number(value, name) for name, value in strict.table(said["values"], "values").items()}
        return cls(evaluation, heldout, artefact, values)


@dataclass(frozen=True)
class Trial:
    """What a finished training left. `curve`: pairs of tokens seen and held-out loss, from 0 tokens on.

    `facts` say how it was trained (threads, ISA, device, versions): they are no part of the key. `files`: the sha256 of
    each file by its path in the folder; empty in trials of schema 1.
    """

    key: str
    architecture: Architecture
    training: Training
    loss: float
    parameters: int
    tokens: int
    seconds: float
    curve: tuple[tuple[int, float], ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    scores: tuple[Score, ...] = ()
    home: Path | None = field(default=None, compare=False)  # the archive's folder; none: the home's

    @property
    def folder(self) -> Path:
        """Where the trial lies."""
        return (self.home or trials_folder()) / self.key

    @property
    def student(self) -> Path:
        """The folder of the stock checkpoint."""
        return self.folder / STUDENT

    @property
    def untrained_loss(self) -> float | None:
        """The held-out loss before the first step; none in trials of versions that did not take it."""
        return dict(self.curve).get(0)

    @property
    def untrained_blocks(self) -> int | None:
        """On how many of the first held-out blocks alone that was taken; none where on all, or nobody noted it."""
        blocks = self.facts.get(UNTRAINED_BLOCKS)
        return blocks if type(blocks) is int and blocks > 0 else None

    @property
    def heldout_loss(self) -> Score:
        """The training's own loss on the held-out part of its text, as a score, with the parts that it was made of."""
        plain = heldout_score(self.training, self.loss)
        return next((score for score in self.scores if score.subject == plain.subject), plain)

    @property
    def parts(self) -> dict[str, float]:
        """What its loss was made of, by name; nothing where it is a figure by itself."""
        return {name: value for name, value in self.heldout_loss.values.items() if name != "loss"}

    def score(self, evaluation: str, heldout: str, artefact: str = STUDENT) -> Score | None:
        """The score of exactly this evaluation, held-out set and artefact."""
        subject = (evaluation, heldout, artefact)
        return next((score for score in (*self.scores, self.heldout_loss) if score.subject == subject), None)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "schema": SCHEMA,
            "key": self.key,
            "architecture": self.architecture.to_json(),
            "training": self.training.to_json(),
            "loss": self.loss,
            "parameters": self.parameters,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "curve": [list(point) for point in self.curve],
            "facts": dict(self.facts),
            "files": dict(self.files),
            "scores": [score.to_json() for score in self.scores],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], home: Path | None = None) -> "Trial":
        """The inverse of `to_json`; also of what schema 1 wrote.

        Raises:
            NewerTrialError: a newer version wrote it.
            RunError: something else did, with what is wrong.
        """
        if not isinstance(data, Mapping):
            raise RunError(f"a trial is a JSON object, got {type(data).__name__}")
        if type(data.get("schema")) is int and data["schema"] > SCHEMA:
            raise NewerTrialError(f"schema {data['schema']} was written by a newer version of distilsearch than this")
        try:
            return cls(**_parts(data), home=home)
        except DistilSearchError:
            raise
        except (ArithmeticError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise RunError(f"not a trial: {type(error).__name__}: {error}") from error


def _parts(data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a trial, checked, of schema 1 or 2."""
    if type(data["schema"]) is not int or data["schema"] < 1:
        raise ValueError(f"its schema is {data['schema']!r:.60}")
    training = "context" if data["schema"] == 1 else "training"
    fixed = {"schema", "key", "architecture", training, "loss", "parameters", "tokens", "seconds", "curve", "facts"}
    fixed |= set() if data["schema"] == 1 else {"files", "scores"}
    if set(data) != fixed:
        raise ValueError(f"the fields {sorted(set(data) ^ fixed)} are absent or unknown")
    points = [(tokens, loss) for tokens, loss in data["curve"]]
    return {
        "key": strict.text(data["key"], "key"),
        "architecture": Architecture.from_json(data["architecture"]),
        "training": _training(data[training]),
        "loss": strict.number(data["loss"], "loss"),
        "parameters": strict.whole(data["parameters"], "parameters"),
        "tokens": strict.whole(data["tokens"], "tokens"),
        "seconds": strict.number(data["seconds"], "seconds", 0.0),
        "curve": tuple((strict.whole(tokens, "tokens"), strict.number(loss, "loss")) for tokens, loss in points),
        "facts": strict.table(data["facts"], "facts"),
        "files": _files(data.get("files", {})),
        "scores": tuple(Score.from_json(score) for score in data.get("scores", [])),
    }


def _training(data: Any) -> Training:
    training = Training.from_json(strict.table(data, "training"))
    for name, value in vars(training).items():
        kind = TRAINING.get(name, str)
        if type(value) is not kind:
            raise ValueError(f"{name} of its training should be {NAMED[kind]}")
    return training


def _files(data: Any) -> dict[str, str]:
    """The sha256 of files by name; a name that could lead out of the trial's folder is refused."""
    files = strict.table(data, "files")
    for name, sha256 in files.items():
        if not strict.is_plain(name) or not isinstance(sha256, str) or not strict.SHA256.fullmatch(sha256):
            raise ValueError(f"the file {name!r:.80} has no plain name below the trial's folder, or no sha256")
    return files


def read_trial(folder: Path) -> Trial:
    """The trial in a folder of an archive, its scores with it.

    Of an old one of precision "auto" the precision is the one that its card states, where one can be read.

    Raises:
        FileNotFoundError: there is no finished trial.
        RunError: it cannot be read, with the reason, or is not the one that the folder is named by.
    """
    trial = Trial.from_json(_strict(folder / TRIAL), folder.parent)
    if not folder.name == trial.key == trial.training.key(trial.architecture):
        raise RunError("its content is of another key than its folder")
    for place in (folder, folder / STUDENT, folder / TRUNK):
        if place.is_symlink():
            raise RunError(f"{place} is a symbolic link, and none is followed in a trial")
    if trial.training.precision == FORMER_AUTO and (stated := _stated_precision(trial.student)):
        trial = replace(trial, training=replace(trial.training, precision=stated))
    return replace(trial, scores=tuple({s.subject: s for s in (*trial.scores, *_scores(folder))}.values()))


def heldout_score(training: Training, loss: float, parts: Mapping[str, float] | None = None) -> Score:
    """The loss on the held-out part of a training's text, as a score."""
    return Score(HELDOUT_LOSS, training.text, STUDENT, {"loss": loss, **(parts or {})})


def probe_scores(probe: Bought | None) -> tuple[Score, ...]:
    """What training bought on a probe, as scores: before the first step, where that is known, and after the last."""
    if probe is None:
        return ()
    losses = {UNTRAINED: probe.before, STUDENT: probe.after}
    return tuple(Score(PROBE, probe.heldout, of, {"loss": loss}) for of, loss in losses.items() if loss is not None)


def score_file(folder: Path, score: Score) -> Path:
    """Where a score that was made after the training is kept: a file each, so that none is lost to another writer."""
    return folder / SCORES / f"{hashlib.sha256(json.dumps(score.subject).encode()).hexdigest()[:32]}.json"


def hashes(student: Path, trunk: Path) -> dict[str, str]:
    """The sha256 of a trial's files, wherever they lie now, by their path in its folder; links are none of them."""
    files = {
        f"{STUDENT}/{path.relative_to(student).as_posix()}": path
        for path in sorted(student.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }
    files |= {TRUNK: trunk} if trunk.is_file() and not trunk.is_symlink() else {}
    return {name: _sha256(path) for name, path in files.items()}


def mismatched(trial: Trial) -> list[str]:
    """Files of a trial's student that are absent, changed since, or links.

    Of a trial of schema 1, which has no hashes, those that cannot be what was written: weights that are cut off, of
    another number of parameters, or not finite. A changed digit is not noticed there.
    """
    if (link := strict.first_link(trial.student)) is not None:
        return [link.relative_to(trial.folder).as_posix()]
    if not trial.files:
        return _broken(trial)
    student = [path for path in trial.files if path.startswith(f"{STUDENT}/")]
    return [path for path in student if not same(trial, path)]


def same(trial: Trial, path: str) -> bool:
    """Whether a file of a trial is what it was when the trial was written; of schema 1, whether it is there."""
    file = trial.folder / path
    try:
        if file.is_symlink() or not file.is_file():
            return False
        return path not in trial.files or _sha256(file) == trial.files[path]
    except OSError:
        return False


def _broken(trial: Trial) -> list[str]:
    """What of a student without hashes cannot be what was written."""
    try:
        strict.table(strict.read_json(trial.student / CONFIG), CONFIG)
        weights = weight_files(trial.student)
        if count_parameters(headers(weights)) != trial.parameters:
            return [f"{STUDENT}/{path.name}" for path in weights]
        check_finite(weights)
    except (OSError, ValueError):
        return [f"{STUDENT}/{CONFIG}"]
    except TeacherError as error:
        return [f"{STUDENT} ({error})"]
    return []


def _scores(folder: Path) -> list[Score]:
    """The scores beside a trial; what cannot be read is evaluated again."""
    scores = []
    for path in sorted((folder / SCORES).glob("*.json")):
        try:
            score = Score.from_json(_strict(path))
        except (RunError, OSError, KeyError, TypeError, ValueError, AttributeError):
            continue
        if path == score_file(folder, score):
            scores.append(score)
    return scores


def _strict(path: Path) -> Any:
    """JSON from a file, for strangers to have written."""
    try:
        return strict.read_json(path)
    except ValueError as error:
        raise RunError(str(error)) from error


def _stated_precision(student: Path) -> str | None:
    try:
        row = CARD_ROW.search((student / "README.md").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return None
    return row.group(1) if row else None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
