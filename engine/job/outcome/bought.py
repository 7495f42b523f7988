"""After the result: what training bought the students that are handed back, by a second text and by sentence pairs.

The loss that a search minimises is of the very text that students learn. Here each of them is scored before its first
step and after its last, on the probe and on the pairs of the run's evaluations. Nothing is chosen by that: choice and
front stand already. Scores are kept beside the trials, so a second call costs nothing.
"""

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace

from distilsearch.distill.heldout import heldout_key
from distilsearch.distill.quality import LOSS, Bought, quality_name
from distilsearch.distill.recipes import Recipe
from distilsearch.distill.store.bought import TITLE
from distilsearch.distill.store.trial import PROBE, STUDENT, UNTRAINED
from distilsearch.distill.teachers.teacher import Teacher
from distilsearch.distill.texts.probe import Probe
from distilsearch.errors import DistilSearchError, Interrupted

from ...report import schema
from ...report.readings import Reading
from ..evaluating import Evaluate, Scored
from .result import Result
from .scoring import Asked, Scoring, asked_of, say_on_cards

PAIRS = "similarity"  # the evaluation that students are scored by before their training, too
PHASE = "what training bought"
Waiting = Future[Scored] | Scored | str


@dataclass(frozen=True)
class Buying:
    """What scoring before and after works with."""

    scoring: Scoring
    teacher: Teacher
    recipe: Recipe
    probe: Probe

    def bought(self, result: Result, asked: tuple[Asked, ...]) -> Result:
        """The result with what training bought its members; their cards say so.

        Raises:
            Interrupted: the executor was stopped; what was scored is kept.
        """
        started = time.monotonic()
        trials = {member.key: member.trial for member in result.front if member.student and member.trial}
        pairs = {
            one.evaluation.heldout: self._on_pairs(one, asked_of(one, result, trials))
            for one in asked
            if one.evaluation.name == PAIRS
        }
        after, before = self._on_probe(trials, STUDENT), self._on_probe(trials, UNTRAINED)
        probe = schema.ProbeEntry(
            name=self.probe.name,
            why=self.probe.why,
            heldout=self._heldout,
            blocks=0 if self.probe.text is None else len(self.probe.text.heldout),
            quality=quality_name(self.teacher.kind, LOSS),
            students={key: _pair(before[key], after[key]) for key in trials} if self.probe.text is not None else {},
        )
        entries = [
            entry.model_copy(update={"untrained": pairs.get(entry.heldout, {})}) for entry in result.file.evaluations
        ]
        file = result.file.model_copy(update={"probe": probe, "evaluations": tuple(entries)})
        seconds = round(time.monotonic() - started, 2)
        phases = (*(phase for phase in file.phases if phase.what != PHASE), schema.Phase(what=PHASE, seconds=seconds))
        file = file.model_copy(update={"phases": phases, "warnings": (*file.warnings, *warnings(file))})
        say_on_cards(result.folder, file, TITLE, {member.key: card_rows(file, member) for member in file.front})
        return Result(result.folder, file)

    @property
    def _heldout(self) -> str:
        return "" if self.probe.text is None else heldout_key(self.teacher, self.probe.text)

    def _on_probe(self, trials: Mapping[str, str], artefact: str) -> dict[str, schema.Scores]:
        """Losses of members on the probe, by their keys."""
        if self.probe.text is None:
            return {}
        job = self._job(PROBE, artefact, text=self.probe.text.sha256)
        return self._answers(job, self._heldout, artefact, trials)

    def _on_pairs(self, one: Asked, trials: Mapping[str, str]) -> dict[str, schema.Scores]:
        """Scores of members before their training, on pairs."""
        job = self._job(PAIRS, UNTRAINED, data=self.scoring.data_of(one), options=dict(one.section.options))
        return self._answers(job, one.evaluation.heldout, UNTRAINED, trials)

    def _job(self, evaluation: str, artefact: str, **parts: object) -> Evaluate:
        scoring, run = self.scoring, self.scoring.run
        return Evaluate(
            training=scoring.training,
            evaluation=evaluation,
            prompt=run.prompt,
            depot=run.executor.depot,
            threads=scoring.threads,
            plugins=run.plugins,
            recipe=self.recipe if artefact == UNTRAINED else None,
            **parts,  # type: ignore[arg-type]
        )

    def _answers(
        self, job: Evaluate, heldout: str, artefact: str, trials: Mapping[str, str]
    ) -> dict[str, schema.Scores]:
        """Scores of members by their keys, kept with their trials, in the order in which they were asked for."""
        archive, waiting = self.scoring.archive, dict[str, Waiting]()
        for trial in dict.fromkeys(trials.values()):
            there = archive.find(trial)
            kept = there.score(job.evaluation, heldout, artefact) if there else None
            if there is None:
                waiting[trial] = f"its trial {trial[:12]} is no longer in the home"
            elif kept is not None:
                waiting[trial] = Scored(kept.values)
            else:
                waiting[trial] = self.scoring.executor.submit(replace(job, trial=trial), self.scoring.progress)
        answers = {}
        for place, (trial, answer) in enumerate(waiting.items()):
            self.scoring.progress(PHASE, place, len(waiting))
            answers[trial] = self._answered(job, heldout, artefact, trial, answer)
        return {key: answers[trial] for key, trial in trials.items()}

    def _answered(self, job: Evaluate, heldout: str, artefact: str, trial: str, answer: Waiting) -> schema.Scores:
        try:
            scored = answer.result() if isinstance(answer, Future) else answer
            if isinstance(scored, str):
                return schema.Scores(cause=scored)
            if (there := self.scoring.archive.find(trial)) is not None:  # another machine may have scored it
                self.scoring.archive.evaluated(there, job.evaluation, heldout, artefact, lambda _: scored.values)
        except Interrupted:
            raise
        except DistilSearchError as error:
            return schema.Scores(cause=str(error))
        return schema.Scores(values=dict(scored.values))


def _pair(before: schema.Scores, after: schema.Scores) -> schema.Bought:
    cause = before.cause or after.cause
    return schema.Bought(before=before.values.get("loss"), after=after.values.get("loss"), cause=cause)


def gains(file: schema.ResultFile, member: schema.Member) -> dict[str, Bought]:
    """What was taken of a member before and after its training, by name: the probe, and Spearman of pairs."""
    reading, named = Reading(file), dict[str, Bought]()
    if (probe := reading.on_probe(member)) is not None:
        named[f"loss on the probe, {file.probe.name if file.probe else ''}"] = Bought("", *probe)
    for title, pair in reading.on_pairs(member).items():
        named[f"{title}, Spearman"] = Bought("", *pair, rising=True)
    return named


def card_rows(file: schema.ResultFile, member: schema.Member) -> dict[str, str]:
    """The rows of a card: the held-out loss, the probe or why there is none, pairs."""
    rows = {}
    if member.untrained_loss is not None:
        rows["held-out loss"] = Bought("", member.untrained_loss, member.loss).words
    rows |= {name: gain.words for name, gain in gains(file, member).items()}
    return rows | ({"probe": f"none: {file.probe.why}"} if file.probe and file.probe.why else {})


def warnings(file: schema.ResultFile) -> Iterator[str]:
    """Where training has made students no better, by the probe or by pairs."""
    taken = {member.key: gains(file, member) for member in file.front}
    for name in dict.fromkeys(name for each in taken.values() for name in each):
        known = {key: each[name] for key, each in taken.items() if name in each and each[name].gain is not None}
        worse = {key: one for key, one in known.items() if (one.gain or 0.0) <= 0}
        if worse:
            listed = ", ".join(f"{key} ({one.before:.4f}, then {one.after:.4f})" for key, one in worse.items())
            yield (
                f"training bought nothing for {len(worse)} of {len(known)} students, by the {name}, before and after"
                f" it: {listed}; train on text nearer to what they will read, or at a lower rate"
            )
