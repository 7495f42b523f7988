"""After the result: the teacher and the students that are handed back, scored by the run's evaluations.

Every score is kept the moment it is known, a student's beside its trial and the teacher's in the ledger, so a run that
was killed goes on where it stood, and a file that asks for one evaluation more costs that one alone. What fails costs
nobody else anything: the result says why.
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distilsearch.distill.evaluate import EVALUATIONS, Evaluation, open_evaluation
from distilsearch.distill.evaluate.scores import called
from distilsearch.distill.evaluate.sending import put_data
from distilsearch.distill.job import Training
from distilsearch.distill.store.archive import Archive
from distilsearch.distill.store.trial import STUDENT
from distilsearch.distill.students.card import CARD, with_sections
from distilsearch.distill.teachers.teacher import Teacher
from distilsearch.distill.texts.data import Text
from distilsearch.errors import DistilSearchError, InputError, Interrupted
from distilsearch.home import write_atomically
from distilsearch.progress import Progress

from ...report import schema
from ...report.words import score_words
from ..executors import Executor
from ..ledger import Ledger
from ..runfile.config import Run
from ..runfile.evaluated import EvaluatedSection, EvaluateSection
from ..runfile.evaluations import options_of
from ..work.evaluating import Evaluate, Scored
from .result import Result

NOTE, SECONDS = "scores", "evaluate_seconds"  # of the ledger
TEACHER = ""  # the key of its trial
PHASE = "evaluate"
SCORES = "Scores"  # a section of a student's card


@dataclass(frozen=True)
class Asked:
    """One `[[evaluate]]` of a run, or its `[proxy]`, opened: its files have been read and checked."""

    section: EvaluatedSection
    evaluation: Evaluation

    @property
    def title(self) -> str:
        """What its scores are called: by the data, and by the options that are not the usual ones."""
        name, usual = self.section.evaluation, options_of(self.section.evaluation, {})
        options = {key: value for key, value in self.section.options.items() if value != usual[key]}
        return called(Path(self.section.on).name or name, options)

    def subject(self, trial: str) -> str:
        """What the ledger calls the score of a model."""
        return f"{self.evaluation.name} {self.evaluation.heldout} {trial}"


def opened(run: Run, teacher: Teacher, text: Text) -> tuple[Asked, ...]:
    """The evaluations of a run.

    Raises:
        InputError: one does not score models of the teacher's kind, its data are not what it expects, or it is asked
            for twice.
    """
    asked: list[Asked] = []
    for number, section in enumerate(run.evaluate):
        one = opened_one(section, f"evaluate.{number}", run, teacher, text)
        if any(other.subject(TEACHER) == one.subject(TEACHER) for other in asked):
            raise InputError(f"evaluate.{number}: {one.title} is asked for twice; leave one of them out")
        asked.append(one)
    return tuple(asked)


def opened_one(section: EvaluatedSection, place: str, run: Run, teacher: Teacher, text: Text) -> Asked:
    """The evaluation of one table of a run; an `InputError` says in which place of the file it is wrong."""
    try:
        file = Path(section.on) if section.on else None
        evaluation = open_evaluation(section.evaluation, file, teacher, text, run.prompt, **section.options)
        _check_kind(evaluation, teacher)
    except InputError as error:
        raise type(error)(f"{place}: {error}") from None
    return Asked(section, evaluation)


def _check_kind(evaluation: Evaluation, teacher: Teacher) -> None:
    if teacher.kind not in evaluation.kinds:
        raise InputError(
            f"the evaluation {evaluation.name!r} scores {' and '.join(evaluation.kinds)} models;"
            f" {teacher.name} is a {teacher.kind} model; known evaluations: {', '.join(sorted(EVALUATIONS))}"
        )


@dataclass(frozen=True)
class Scoring:
    """What scoring works with; `training` is the run's, of any length, and says teacher and text."""

    run: Run
    training: Training
    ledger: Ledger
    archive: Archive
    executor: Executor
    threads: int | None
    progress: Progress

    def scored(self, result: Result, asked: Sequence[Asked]) -> Result:
        """The result with the scores of its members and the teacher; the students' cards say their own.

        Raises:
            Interrupted: the executor was stopped; what was scored is kept.
        """
        started = time.monotonic()
        members = {member.key: member.trial or "" for member in result.front if member.student and member.trial}
        wanted = [(one, [TEACHER, *asked_of(one, result, members).values()]) for one in asked]
        models = self.models(wanted)
        entries = [_entry(one, members, scores) for one, scores in zip(asked, models, strict=True)]
        seconds = float(self.ledger.noted(SECONDS) or 0.0) + time.monotonic() - started
        self.ledger.note(SECONDS, seconds)
        file = _with(result.file, entries, seconds)
        say_on_cards(result.folder, file, SCORES, _card_rows(file))
        return Result(result.folder, file)

    def models(self, wanted: Sequence[tuple[Asked, Sequence[str]]]) -> list[dict[str, schema.Scores]]:
        """For each evaluation the scores of some models, by the keys of their trials; all are waited for together.

        Raises:
            Interrupted: the executor was stopped; what was scored is kept.
        """
        waiting = [(one, self._submitted(one, trials)) for one, trials in wanted]
        total, done = sum(len(models) for _, models in waiting), 0
        answers: list[dict[str, schema.Scores]] = []
        for one, models in waiting:
            answers.append({})
            for trial, answer in models.items():
                self.progress(f"scoring by {one.title}", done, total)
                answers[-1][trial] = self._answered(one, trial, answer)
                done += 1
            self.progress(f"scoring by {one.title}", total, total)
        self.progress("scoring", total, total)
        return answers

    def _submitted(self, one: Asked, trials: Sequence[str]) -> "dict[str, Future[Scored] | Scored | str]":
        """By the trial of each model its scores, where they are known, or what will bring them."""
        data = self.data_of(one)
        return {trial: self._known(one, trial) or self._begun(one, trial, data) for trial in dict.fromkeys(trials)}

    def data_of(self, one: Asked) -> str:
        """The key of what an evaluation is on, left where workers find it; "" where it needs nothing."""
        return put_data(self.run.executor.depot, Path(one.section.on)) if one.section.on else ""

    def _known(self, one: Asked, trial: str) -> Scored | None:
        noted = (self.ledger.noted(NOTE) or {}).get(one.subject(trial))
        if noted is not None:
            return Scored(**noted)
        found = self.archive.find(trial) if trial else None
        kept = found.score(one.evaluation.name, one.evaluation.heldout) if found else None
        return Scored(kept.values) if kept else None

    def _begun(self, one: Asked, trial: str, data: str) -> "Future[Scored] | str":
        found = self.archive.find(trial) if trial else None
        if trial and found is None:
            return f"its trial {trial[:12]} is no longer in the home"
        job = Evaluate(
            training=self.training,
            evaluation=one.section.evaluation,
            data=data,
            options=one.section.options,
            prompt=self.run.prompt,
            trial=trial,
            depot=self.run.executor.depot,
            threads=self.threads,
            plugins=self.run.plugins,
        )
        name = f"student {found.architecture.key}" if found else "the teacher"
        return self.executor.submit(job, lambda what, done, total: self.progress(f"{what}: {name}", done, total))

    def _answered(self, one: Asked, trial: str, answer: "Future[Scored] | Scored | str") -> schema.Scores:
        try:
            scored = answer.result() if isinstance(answer, Future) else answer
        except Interrupted:
            raise
        except DistilSearchError as error:
            return schema.Scores(cause=str(error))
        if isinstance(scored, str):
            return schema.Scores(cause=scored)
        self._keep(one, trial, scored)
        return schema.Scores(values=dict(scored.values), seconds=round(scored.seconds, 2))

    def _keep(self, one: Asked, trial: str, scored: Scored) -> None:
        noted: dict[str, Any] = self.ledger.noted(NOTE) or {}
        if one.subject(trial) in noted:
            return
        plain = {"values": dict(scored.values), "seconds": scored.seconds}
        self.ledger.note(NOTE, noted | {one.subject(trial): plain})
        if trial and (found := self.archive.find(trial)) is not None:  # another machine may have scored it
            evaluation = one.evaluation
            self.archive.evaluated(found, evaluation.name, evaluation.heldout, STUDENT, lambda _: scored.values)


def asked_of(one: Asked, result: Result, members: Mapping[str, str]) -> Mapping[str, str]:
    """The members that an evaluation is asked of."""
    chosen = isinstance(one.section, EvaluateSection) and one.section.of == "chosen"
    return {key: trial for key, trial in members.items() if key == result.knee} if chosen else members


def _entry(one: Asked, members: Mapping[str, str], scores: Mapping[str, schema.Scores]) -> schema.EvaluationEntry:
    return schema.EvaluationEntry(
        evaluation=one.section.evaluation,
        title=one.title,
        on=one.section.on,
        options=one.section.options,
        heldout=one.evaluation.heldout,
        teacher=scores[TEACHER],
        students={key: scores[trial] for key, trial in members.items() if trial in scores},
    )


def _with(file: schema.ResultFile, entries: Sequence[schema.EvaluationEntry], seconds: float) -> schema.ResultFile:
    phases = [phase for phase in file.phases if phase.what != PHASE]
    return file.model_copy(
        update={
            "evaluations": tuple(entries),
            "phases": (*phases, schema.Phase(what=PHASE, seconds=round(seconds, 2))),
            "warnings": (*file.warnings, *_failures(entries)),
        }
    )


def _failures(entries: Sequence[schema.EvaluationEntry]) -> Iterator[str]:
    for entry in entries:
        for name, scores in {"the teacher": entry.teacher, **entry.students}.items():
            if scores.cause:
                yield f"{entry.title}: {name} was not scored ({scores.cause})"


def _card_rows(file: schema.ResultFile) -> dict[str, dict[str, str]]:
    """The scores of every member, in words, by its key."""
    return {
        member.key: {
            f"{entry.title}, {name}": words
            for entry in file.evaluations
            if member.key in entry.students
            for name, words in score_words(entry.students[member.key].values).items()
        }
        for member in file.front
    }


def say_on_cards(folder: Path, file: schema.ResultFile, title: str, rows: Mapping[str, Mapping[str, str]]) -> None:
    """Write a section on the cards in the run's folder, of each student its own, in place of an earlier call's."""
    for member in file.front:
        card = folder / member.student / CARD if member.student else None
        if rows.get(member.key) and card and card.is_file():
            text = re.sub(rf"\n## {title}\n.*?(?=\n## |\Z)", "", card.read_text(encoding="utf-8"), flags=re.DOTALL)
            write_atomically(card, with_sections(text, {title: rows[member.key]}))
