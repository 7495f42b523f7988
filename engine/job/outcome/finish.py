"""After the trials: who of the front is trained further, and the training of them, side by side."""

import math
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from concurrent.futures import CancelledError, wait
from dataclasses import dataclass

from distilsearch.architecture import Architecture
from distilsearch.distill.store.archive import Archive
from distilsearch.distill.store.trial import Trial
from distilsearch.distill.training import in_groups
from distilsearch.errors import Interrupted, TrialError
from distilsearch.progress import Progress

from ..executors import Executor
from ..executors.persistent import end_overdue
from ..ledger import Entry
from ..machines.machines import Profiled
from ..plans.budget import size
from ..preparing.recall import planned_tokens
from ..runfile.config import Run
from ..serving.served import student_of
from ..source import Making
from .choice import at_speeds, chosen, pair_key


def to_finish(
    members: Sequence[Entry],
    machines: Sequence[Profiled],
    run: Run,
    teacher: Architecture,
    merits: Mapping[str, float] | None = None,
) -> list[Entry]:
    """The members of the front that are trained further, fastest first: as `finish` says, and always the chosen one.

    `merits`: scores on a proxy task, by the key of the pair, which the choice then follows.
    """
    wanted = run.train.finish
    if wanted == "none":
        return []
    if wanted == "front":
        return list(members)
    best = chosen(members, machines, run.choice, run.loss_at_most, merits)
    numbers = {best.number} if best else set()
    if wanted == "budgets":
        numbers |= {entry.number for entry in at_speeds(members, machines, teacher, merits=merits).values()}
    return [entry for entry in members if entry.number in numbers]


def less_trained(entries: Sequence[Entry], flash_tokens: int, tokens: int, making: Making) -> list[Entry]:
    """Those that a finish of so many tokens does more for: trained for less, or on a share of the text."""
    return [entry for entry in entries if tokens and (making.anew or planned_tokens(entry, flash_tokens) < tokens)]


def finish(
    entries: Sequence[Entry],
    tokens: int,
    making: Making,
    executor: Executor,
    progress: Progress,
    seconds: float | None = None,
) -> dict[str, Trial]:
    """Distil students fully, on the whole text, shared out among all workers, side by side; by the key of each.

    Args:
        seconds: after which those that have not ended are left out: a run's own executor is stopped for good, and saves
            them; of one that a caller gave, they are called off.

    A training that diverges costs its student the longer training and nobody anything else: it is said, and left out.

    Raises:
        TrialError: one was lost with its worker again and again; all others are kept.
    """
    groups = _groups(entries, making, executor.workers)
    names = [""] if len(groups) == 1 else [f" (part {number} of {len(groups)})" for number in range(1, 1 + len(groups))]
    futures = [
        executor.submit(making.whole.distil(group, tokens), _named(name, progress))
        for group, name in zip(groups, names, strict=True)
    ]
    if wait(futures, seconds).not_done:
        end_overdue(executor, futures)
    trials: dict[str, Trial] = {}
    failures: dict[str, TrialError] = {}
    for group, future in zip(groups, futures, strict=True):
        try:
            answers = future.result()
        except (Interrupted, CancelledError):
            if seconds is None:
                raise
            continue
        for architecture, answer in zip(group, answers, strict=True):
            if isinstance(answer, TrialError):
                failures[architecture.key] = answer
            else:
                trials[architecture.key] = answer
    _say(failures, progress)
    return trials


def _groups(entries: Sequence[Entry], making: Making, workers: int) -> list[list[Architecture]]:
    """Their students, each once, shared out among workers, in groups that can be trained side by side."""
    students = list(dict.fromkeys(student_of(entry.architecture) for entry in entries))
    return [group for part in shared_out(students, workers, size) for group in side_by_side(part, making)]


def _say(failures: Mapping[str, TrialError], progress: Progress) -> None:
    """Say which students diverged, by their keys; one that was lost raises: the next call goes on from there."""
    lost = [error for error in failures.values() if error.transient]
    if lost:
        raise lost[0]
    for key, error in failures.items():
        progress(f"{key} could not be trained further: {error}", 0, 0)


def longest_of(known: Mapping[str, Trial], made: Mapping[str, Trial]) -> dict[str, Trial]:
    """Of each student, by its key, the longer training: a finish of little time may name one that was surpassed."""
    tokens = {key: trial.training.tokens for key, trial in known.items()}
    return {**known, **{key: trial for key, trial in made.items() if trial.training.tokens > tokens.get(key, 0)}}


def cut(
    entries: Sequence[Entry], finals: Mapping[str, Trial], making: Making, executor: Executor, progress: Progress
) -> None:
    """Cut the members of a front that were scored, and are no better trained, out of their super-networks.

    Args:
        finals: the trainings that finished students, by the key of each.

    Raises:
        TrialError: one cannot be cut; what has been cut is kept.
    """
    losses = {student_of(entry.architecture): entry.values[0] for entry in entries}
    better = {key for key, trial in finals.items() if trial.loss <= losses.get(trial.architecture, -math.inf)}
    wanted = [student for student in losses if student.key not in better]
    jobs = [making.whole.distil(group, 0) for group in making.alike(wanted)]
    for future in [executor.submit(job, progress) for job in jobs]:
        for answer in future.result():
            if isinstance(answer, TrialError):
                raise answer


@dataclass(frozen=True)
class Ended:
    """What became of the longer trainings of students, of some lengths in tokens; `making` is of the whole text."""

    archive: Archive
    making: Making
    lengths: Collection[int]

    def longest(self, student: Architecture) -> Trial | None:
        """The first of the lengths that a student was trained for, if its files are what was written."""
        training = self.making.training_of(student)
        trials = (self.archive.of(training.at(tokens), student) for tokens in self.lengths)
        return next((trial for trial in trials if trial is not None and self.archive.intact(trial)), None)

    def failure(self, student: Architecture) -> TrialError | None:
        """Why a longer training of a student failed, where this machine's archive knows."""
        training = self.making.training_of(student)
        errors = (self.archive.failure(training.at(tokens).key(student)) for tokens in self.lengths)
        return next((error for error in errors if error is not None), None)


def unfinished(
    entries: Sequence[Entry],
    finals: Container[str],
    failure: Callable[[Architecture], TrialError | None],
    elsewhere: bool = False,
) -> dict[str, str]:
    """Those that were to be trained further and are not, by the key of the pair: why, as far as that is known here.

    Args:
        finals: the keys of the students that are.
        failure: why a student's longer training failed; None where it did not, or elsewhere.
        elsewhere: whether other machines may have trained some of them.
    """
    missing = [entry for entry in entries if student_of(entry.architecture).key not in finals]
    causes = {pair_key(entry): failure(student_of(entry.architecture)) for entry in missing}
    unsaid = "there was no time left" + (", or it failed on another machine" if elsewhere else "")
    return {key: str(error) if error else unsaid for key, error in causes.items()}


def shared_out(
    students: Sequence[Architecture], workers: int, weight: Callable[[Architecture], float]
) -> list[list[Architecture]]:
    """Students in as many parts as there are workers, or fewer, of much the same weight; none is empty."""
    parts: list[list[Architecture]] = [[] for _ in range(max(1, min(workers, len(students))))]
    for student in sorted(students, key=weight, reverse=True):
        min(parts, key=lambda part: sum(map(weight, part))).append(student)
    return [part for part in parts if part]


def side_by_side(students: Sequence[Architecture], making: Making) -> list[list[Architecture]]:
    """Students of one worker in the groups that train side by side: of one start, and as many as memory holds."""
    return [group for alike in making.alike(students) for group in in_groups(alike)]


def _named(name: str, progress: Progress) -> Progress:
    return (lambda what, done, total: progress(what + name, done, total)) if name else progress
