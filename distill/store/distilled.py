"""Students asked of an archive: found there, waited for where another process trains them, else trained and kept.

Nothing is waited for while something is held: two processes that want the same students in another order would wait
for each other forever. Of several processes of `accelerate launch` the main one decides and all follow.
"""

import shutil
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accelerate import Accelerator

from distilsearch.architecture import Architecture
from distilsearch.errors import TrialError
from distilsearch.progress import Progress

from ..compute.processes import accelerator_for, agreed
from ..course import Course
from ..students.student import Student
from ..training import USUAL, Conditions, in_groups, train
from .circumstances import circumstances
from .claims import POLL_SECONDS, Claim
from .respelt import found, trunks
from .trial import TRIAL, TRUNK, UNTRAINED_BLOCKS, Trial, heldout_score, probe_scores

if TYPE_CHECKING:
    from .archive import Archive

FRAGMENTS = (".new-*", "..new-*", f".{TRIAL}.*")  # a student, one that is still being written, and its facts
Answers = dict[Architecture, Trial | TrialError]


def distilled(
    archive: "Archive",
    course: Course,
    architectures: Sequence[Architecture],
    progress: Progress,
    conditions: Conditions,
) -> list[Trial | TrialError]:
    """See `Archive.distil`."""
    work, answers, waited = _Work(archive, course, progress, {**USUAL, **conditions}), Answers(), ""
    while left := [a for a in dict.fromkeys(architectures) if a not in answers]:
        answers |= work.round(left)
        if work.waits_for:
            waited = work.wait()
    if waited:
        progress(waited, 1, 1)
    return [answers[architecture] for architecture in architectures]


class _Work:
    """Rounds of looking, claiming and training."""

    def __init__(self, archive: "Archive", course: Course, progress: Progress, conditions: Conditions) -> None:
        self.archive, self.course, self.progress, self.conditions = archive, course, progress, conditions
        self.training = course.training
        self.accelerator: Accelerator = accelerator_for(conditions["device"])
        self.waits_for = ""  # who trains what is left, in words

    def round(self, left: Sequence[Architecture]) -> Answers:
        """What is there of some students, or those trained now that nobody else trains."""
        claims: dict[Architecture, Claim] = {}
        try:
            decision = self._decided(left, claims) if self.accelerator.is_main_process else None
            decision = agreed(self.accelerator, decision)
            self.waits_for = decision["waits_for"]
            answers = {left[int(place)]: self._answer(plain) for place, plain in decision["there"].items()}
            mine = [left[place] for place in decision["mine"]]
            return answers | (self._trained(mine, claims) if mine else {})
        finally:
            for claim in claims.values():
                claim.release()

    def wait(self) -> str:
        """A moment, in which the caller may interrupt; what was said of it."""
        said = f"waiting for {self.waits_for}, which trains this student"
        self.progress(said, 0, 1)  # each time: who is silent for long counts as hung
        self.conditions["between"]()
        time.sleep(POLL_SECONDS)
        return said

    def _decided(self, left: Sequence[Architecture], claims: dict[Architecture, Claim]) -> dict[str, Any]:
        """The main process's decision as plain JSON; it holds the claims."""
        there = {place: one for place, a in enumerate(left) if (one := self._there(a)) is not None}
        absent = [a for place, a in enumerate(left) if place not in there]
        for group in in_groups(absent) if not there else ():  # what is there is told first
            claims |= {a: claim for a in group if (claim := self.archive.claimed(self._key(a))) is not None}
            if claims:
                break
        for architecture in [*claims]:  # another may have finished it between the look and the claim
            if self._there(architecture) is not None:
                claims.pop(architecture).release()
        idle = not there and not claims
        holder = (self.archive.holder(self._key(absent[0])) or "another process") if idle else ""
        return {"there": there, "mine": [left.index(a) for a in claims], "waits_for": holder}

    def _there(self, architecture: Architecture) -> dict[str, Any] | None:
        """A trial, or why there can be none, as plain JSON."""
        trial = found(self.archive, self.training, architecture, self.course.teacher.facts)
        if trial is not None and self.archive.intact(trial):
            return trial.to_json()
        cause = self.archive.refusal(self._key(architecture))
        return {"cause": cause} if cause else None

    def _answer(self, plain: Mapping[str, Any]) -> Trial | TrialError:
        return TrialError(plain["cause"]) if "cause" in plain else Trial.from_json(plain, self.archive.folder)

    def _trained(self, group: Sequence[Architecture], claims: Mapping[Architecture, Claim]) -> Answers:
        """Train students side by side; those whose claim was lost meanwhile are dropped."""
        folders = [self.archive.path(self._key(a)) / "checkpoint" for a in group]
        shorter = {a: trunks(self.archive, self.training, a, self.course.teacher.facts) for a in group}
        since = [path for paths in shorter.values() for path in paths]
        conditions: Conditions = {**self.conditions, "since": [*self.conditions["since"], *since]}
        students = train(self.course, group, folders, self.progress, conditions)
        answers: dict[str, Any] = {}
        for place, student in enumerate(students) if self.accelerator.is_main_process else ():
            answer = self._kept(group[place], student, claims[group[place]])
            answers |= {str(place): answer} if answer is not None else {}
            for path in shorter[group[place]] if (self.archive.path(self._key(group[place])) / TRUNK).exists() else ():
                path.unlink(missing_ok=True)  # it has been passed
        return {group[int(place)]: self._answer(answer) for place, answer in agreed(self.accelerator, answers).items()}

    def _kept(self, architecture: Architecture, student: Student | TrialError, claim: Claim) -> dict[str, Any] | None:
        """The trial of a student that is trained, or the cause of its failure, as plain JSON; none if it was lost."""
        folder = self.archive.path(self._key(architecture))
        if isinstance(student, TrialError):
            if claim.held:
                shutil.rmtree(folder / "checkpoint", ignore_errors=True)
                self.archive.note_failure(folder.name, student, self._facts())
            return {"cause": str(student)}
        if not claim.held:
            return None
        _sweep(folder)
        fresh = student.save(folder / f".new-{uuid.uuid4().hex}")
        trial = self.archive.keep(self._trial(student), fresh, folder / "checkpoint" / TRUNK, claim)
        if trial is None:
            return None
        shutil.rmtree(folder / "checkpoint", ignore_errors=True)
        return trial.to_json()

    def _trial(self, student: Student) -> Trial:
        return Trial(
            key=self._key(student.architecture),
            architecture=student.architecture,
            training=self.training,
            loss=student.loss,
            parameters=student.parameters,
            tokens=student.tokens,
            seconds=student.seconds,
            curve=tuple(student.curve),
            facts=self._facts() | ({UNTRAINED_BLOCKS: student.blocks[0]} if 0 in student.blocks else {}),
            scores=(heldout_score(self.training, student.loss, student.parts), *probe_scores(student.probe)),
        )

    def _facts(self) -> dict[str, Any]:
        return circumstances(self.accelerator, self.conditions["accumulate"])

    def _key(self, architecture: Architecture) -> str:
        return self.training.key(architecture)


def _sweep(folder: Path) -> None:
    """Remove what processes that were killed in mid-writing have left in a trial's folder, which is claimed."""
    for fragment in [path for pattern in FRAGMENTS for path in folder.glob(pattern)]:
        if fragment.is_dir() and not fragment.is_symlink():
            shutil.rmtree(fragment, ignore_errors=True)
        else:
            fragment.unlink(missing_ok=True)
