"""The archive: every student that was ever trained here, by content, shared by `search`, `distill` and `fidelity`.

A student that is asked for and is here costs nothing. One that another process trains is waited for; one whose training
was interrupted, or was shorter, is continued; only others are trained from the start. What cannot be read counts as
absent and is listed among the problems.
"""

import json
import math
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, Unpack

from distilsearch import strict
from distilsearch.architecture import Architecture
from distilsearch.errors import RunError, TrialError
from distilsearch.home import ensure_folder, trials_folder, write_atomically
from distilsearch.progress import Progress, silent
from distilsearch.strict import SHA256

from ..course import Course
from ..job import Training
from ..recipes import Recipe
from ..teachers.teacher import Teacher
from ..texts.data import Text
from ..training import Conditions
from .circumstances import versions
from .claims import Claim, Claims, Pace
from .trial import (
    FORMER_AUTO,
    STUDENT,
    TRIAL,
    TRUNK,
    NewerTrialError,
    Score,
    Trial,
    hashes,
    mismatched,
    read_trial,
    same,
    score_file,
)

CLAIMS, FAILURE = ".claims", "failure.json"


class TrialDepot(Protocol):
    """A place shared with other machines: trials are sent there and fetched from there, whole or not at all."""

    def push_trial(self, key: str, folder: Path) -> None:
        """Send the trial in a folder."""

    def pull_trial(self, key: str, folder: Path) -> bool:
        """Fetch a trial into a folder; whether there is one."""


@dataclass(frozen=True)
class Problem:
    """A folder of the archive that cannot be used, and why."""

    key: str
    cause: str


class Archive:
    """The trials in one folder.

    Args:
        folder: where they lie; the home's own where none is given.
        depot: where those of other machines are fetched from, and new ones sent to.
        pace: when the claims of other processes count as dead.
    """

    def __init__(self, folder: Path | None = None, depot: TrialDepot | None = None, pace: Pace | None = None) -> None:
        self.folder = ensure_folder(folder) if folder is not None else trials_folder()
        self._depot = depot
        self._claims = Claims(self.folder / CLAIMS, pace or Pace())
        self._damaged: set[str] = set()  # those whose files do not match

    def path(self, key: str) -> Path:
        """The folder of a key."""
        return self.folder / key

    # Find

    def find(self, key: str) -> Trial | None:
        """The finished trial of a key; also from the depot. One that cannot be read counts as absent."""
        trial = self._read(key)
        if trial is None and self._depot is not None and not (self.path(key) / TRIAL).exists():
            trial = self._pulled(key, self._depot)
        return trial

    def _pulled(self, key: str, depot: TrialDepot) -> Trial | None:
        """A trial of the depot, which comes into the archive once it has been read, and its files are what it says."""
        aside = self.folder / f".pulled-{uuid.uuid4().hex}"
        try:
            if SHA256.fullmatch(key) and depot.pull_trial(key, aside / key) and _sound(aside / key):
                self._take(aside / key)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return self._read(key)

    def _take(self, fresh: Path) -> None:
        """Put a pulled trial in its place, `trial.json` last: what is half there is none."""
        folder = ensure_folder(self.path(fresh.name))
        shutil.rmtree(folder / STUDENT, ignore_errors=True)
        for name in (STUDENT, TRUNK, TRIAL):
            if (fresh / name).exists():
                (fresh / name).replace(folder / name)

    def refusal(self, key: str) -> str | None:
        """Why nothing is written under a key: a newer version wrote its trial. None where nothing forbids it."""
        try:
            read_trial(self.path(key))
        except NewerTrialError as error:
            return f"the trial in {self.path(key)} is kept as it is: {error}; use that version, or another home"
        except (RunError, OSError):
            return None
        return None

    def of(self, training: Training, architecture: Architecture) -> Trial | None:
        """The trial of a training; also an old one that was keyed "auto" and has this precision on its card."""
        if (trial := self.find(training.key(architecture))) is not None:
            return trial
        former = self._read(replace(training, precision=FORMER_AUTO).key(architecture))
        return former if former is not None and former.training == training else None

    def matching(self, training: Training) -> Iterator[Trial]:
        """All trials of a training, in the order of their keys; one an architecture."""
        seen: set[Architecture] = set()
        for trial in self.trials():
            if trial.training == training and trial.architecture not in seen:
                seen.add(trial.architecture)
                yield trial

    def trials(self) -> Iterator[Trial]:
        """All trials that can be read, in the order of their keys."""
        return (trial for key in self.all_keys() if (trial := self._read(key)) is not None)

    def all_keys(self) -> list[str]:
        """The keys of all folders, finished or not."""
        return sorted(path.name for path in self.folder.iterdir() if path.is_dir() and not path.name.startswith("."))

    def intact(self, trial: Trial) -> bool:
        """Whether a student's files are still what was written; to be asked before a student is handed out.

        If they are not, the trial counts as absent from then on, and is trained again when it is asked for.
        """
        if mismatched(trial):
            self._damaged.add(trial.key)
            return False
        return True

    def problems(self, verify: bool = False) -> list[Problem]:
        """What of the archive cannot be used, and why; with `verify` all students are held against their hashes."""
        causes = {key: cause for key in self.all_keys() if (cause := self._cause(key, verify)) is not None}
        return [Problem(key, cause) for key, cause in causes.items()]

    def name_problems(self, progress: Progress) -> None:
        """Say which trials are left out because they cannot be read; whoever looks for trials says so once."""
        for problem in self.problems():
            if self._read(problem.key) is None:
                progress(f"left out: the trial {self.folder / problem.key} ({problem.cause})", 0, 0)

    def _cause(self, key: str, verify: bool) -> str | None:
        if not SHA256.fullmatch(key):
            return "its folder is named by no key" if (self.folder / key / TRIAL).exists() else None
        try:
            trial = read_trial(self.path(key))
        except FileNotFoundError:
            return None  # in training, or interrupted
        except (RunError, OSError) as error:
            return str(error)
        if absent := self._absent(trial):
            return f"gone: {', '.join(absent)}"
        if (verify or key in self._damaged) and (files := mismatched(trial)):
            return f"not what was written: {', '.join(files)}"
        if trial.training.precision == FORMER_AUTO:
            return 'its key says precision "auto", and no card says what that became'
        return None

    def _read(self, key: str) -> Trial | None:
        if key in self._damaged or not SHA256.fullmatch(key):  # nothing else is a name below the archive
            return None
        try:
            trial = read_trial(self.path(key))
        except (RunError, OSError):
            return None
        return None if self._absent(trial) else trial

    @staticmethod
    def _absent(trial: Trial) -> list[str]:
        """Files of a student that are not there."""
        files = [path for path in trial.files if path != TRUNK] or [f"{STUDENT}/config.json"]
        return [path for path in files if not (trial.folder / path).exists()]

    # Claim

    def claim(self, key: str, waiting: Callable[[str], None] | None = None) -> AbstractContextManager[Claim]:
        """Hold the right to train a key. Waits while another process has it, and tells `waiting` which one."""
        return self._claims.waited(key, waiting)

    def claimed(self, key: str) -> Claim | None:
        """The right to train a key if it is free now, else None; to be given back with `release`."""
        return self._claims.claim(key)

    def holder(self, key: str) -> str | None:
        """Who trains a key now, in words."""
        return self._claims.holder(key)

    # Keep

    def trunks(self, training: Training, architecture: Architecture) -> list[Path]:
        """Checkpoints that shorter trainings of an architecture have left for a longer one to go on from."""
        return [
            trial.folder / TRUNK
            for trial in self.trials()
            if trial.architecture == architecture
            and trial.training.tokens < training.tokens
            and trial.training.at(training.tokens) == training
            and same(trial, TRUNK)
        ]

    def keep(self, trial: Trial, student: Path, trunk: Path, claim: Claim) -> Trial | None:
        """Take a student, and the trunk where there is one, into the archive: hashes too, `trial.json` last.

        Returns None and writes nothing if another process has taken the claim over.

        Args:
            student: a folder within the trial's, under another name.
        """
        folder = self.path(trial.key)
        others = [score for score in trial.scores if score.subject != trial.heldout_loss.subject]
        whole = replace(trial, files=hashes(student, trunk), scores=(trial.heldout_loss, *others), home=self.folder)
        content = json.dumps(whole.to_json(), indent=1, allow_nan=False)
        if not claim.held:
            shutil.rmtree(student, ignore_errors=True)
            return None
        for former in (TRIAL, FAILURE):  # where files were damaged, or the cause of a failure was mended
            (folder / former).unlink(missing_ok=True)
        shutil.rmtree(folder / STUDENT, ignore_errors=True)
        student.rename(folder / STUDENT)
        if trunk.exists():
            trunk.replace(folder / TRUNK)
        write_atomically(folder / TRIAL, content)
        self._damaged.discard(trial.key)
        if self._depot is not None:
            self._depot.push_trial(trial.key, folder)
        return whole

    def note_failure(self, key: str, failure: TrialError, facts: Mapping[str, Any]) -> None:
        """Note that a training diverged, so that whoever compares many students need not repeat it."""
        content = {"schema": 1, "cause": str(failure), "versions": facts["versions"]}
        write_atomically(self.path(key) / FAILURE, json.dumps(content, indent=1))

    def failure(self, key: str) -> TrialError | None:
        """Why a training diverged, if it did so before with the same versions of all packages; else None."""
        try:
            content = strict.read_json(self.path(key) / FAILURE)
            return TrialError(str(content["cause"])) if content["versions"] == versions() else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def evaluated(
        self,
        trial: Trial,
        evaluation: str,
        heldout: str,
        artefact: str,
        score: Callable[[Path], Mapping[str, float]],
    ) -> Score:
        """The score of an artefact of a trial on a held-out set: the one on disk, else a new one, which is then kept.

        Args:
            heldout: the sha256 of the held-out set.
            score: from the student's folder to numbers by name.

        Raises:
            TrialError: the student's files are not what was written, or a number is none.
        """
        current = self._read(trial.key) or trial
        if (stored := current.score(evaluation, heldout, artefact)) is not None:
            return stored
        if not trial.student.exists() or not self.intact(trial):
            raise TrialError(f"the student in {trial.student} is gone or not what was written; train it again")
        values = {name: float(value) for name, value in score(trial.student).items()}
        if not all(map(math.isfinite, values.values())):
            raise TrialError(f"{evaluation} of {trial.student} gave {values}, which are not all numbers")
        made = Score(evaluation, heldout, artefact, values)
        write_atomically(score_file(trial.folder, made), json.dumps(made.to_json(), indent=1))
        return made

    def distil(
        self,
        teacher: Teacher,
        text: Text,
        architectures: Sequence[Architecture],
        recipe: Recipe,
        training: Training,
        *,
        progress: Progress = silent,
        **conditions: Unpack[Conditions],
    ) -> list[Trial | TrialError]:
        """The trials of architectures, in their order; those whose training diverges are their errors.

        Trials in the archive are returned as they are. Those that another process trains are waited for. All others are
        trained here, as many side by side as fit in memory, and continue an interrupted or shorter training of theirs.

        Raises:
            InputError: the training is not of this teacher, text and recipe.
            Interrupted: `between` has asked for it; the same call goes on from the checkpoints.
        """
        from .distilled import distilled

        return distilled(self, Course.of(teacher, text, recipe, training), architectures, progress, conditions)

    def remove(self, key: str, trunk_alone: bool = False) -> None:
        """Remove a trial, or the trunk that longer trainings would go on from; never one that is being trained."""
        claim = self.claimed(key)
        if claim is None:
            return
        try:
            folder = self.path(key)
            if trunk_alone:
                (folder / TRUNK).unlink(missing_ok=True)
                return
            (folder / TRIAL).unlink(missing_ok=True)  # first: what is half removed is no trial
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            claim.release()


def _sound(folder: Path) -> bool:
    """Whether a folder holds a trial that can be read, and its student's files are what it says."""
    try:
        return not mismatched(read_trial(folder))
    except (RunError, OSError):
        return False
