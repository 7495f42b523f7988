"""After the result: what training bought the students that are handed back, by a second text and by sentence pairs.

The loss that a search minimises is of the very text that students learn. Here each of them is scored before its first
step and after its last, on the probe and on the pairs of the run's evaluations. Nothing is chosen by that: choice and
front stand already. Scores are kept beside the trials, so a second call costs nothing.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace

from distilsearch.distill.heldout.heldout import heldout_key
from distilsearch.distill.quality import LOSS, Bought, quality_name, some_blocks
from distilsearch.distill.recipes import Recipe
from distilsearch.distill.store.bought import TITLE
from distilsearch.distill.store.trial import PROBE, STUDENT, UNTRAINED
from distilsearch.distill.teachers.teacher import Teacher
from distilsearch.distill.texts.probe import BLOCKS, Probe
from distilsearch.errors import DistilSearchError, Interrupted

from ...report import schema
from ...report.readings import Reading
from ..plans.phases import cut_short
from ..work.evaluating import Evaluate, Scored
from .result import Result
from .scoring import Asked, Scoring, asked_of, say_on_cards

PAIRS = "similarity"  # the evaluation that students are scored by before their training, too
PHASE = "what training bought"
Waiting = Future[Scored] | Scored | str


@dataclass(frozen=True)
class Buying:
    """What scoring before and after works with; `seconds` is how long scoring on the probe may take."""

    scoring: Scoring
    teacher: Teacher
    recipe: Recipe
    probe: Probe
    seconds: float = math.inf

    def bought(self, result: Result, asked: tuple[Asked, ...]) -> Result:
        """The result with what training bought its members; their cards say so.

        Raises:
            Interrupted: the executor was stopped; what was scored is kept.
        """
        trials = {member.key: member.trial for member in result.front if member.student and member.trial}
        pairs = {
            one.evaluation.heldout: self._on_pairs(one, asked_of(one, result, trials))
            for one in asked
            if one.evaluation.name == PAIRS
        }
        first = sorted(trials, key=lambda key: key != result.knee)  # where time is short, the chosen one is scored
        after, before = self._on_probe({key: trials[key] for key in first})
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
        file = file.model_copy(update={"warnings": (*file.warnings, *warnings(file))})
        say_on_cards(result.folder, file, TITLE, {member.key: card_rows(file, member) for member in file.front})
        return Result(result.folder, file)

    @property
    def _heldout(self) -> str:
        return "" if self.probe.text is None else heldout_key(self.teacher, self.probe.text)

    def _on_probe(self, trials: Mapping[str, str]) -> tuple[dict[str, schema.Scores], dict[str, schema.Scores]]:
        """Losses of members on the probe after and before their training, by their keys: as many as there is time for.

        As many as there are workers are scored at once; the next ones are begun if they should end in time, by what
        these took. What is known costs nothing.
        """
        after, before = dict[str, schema.Scores](), dict[str, schema.Scores]()
        if self.probe.text is None:
            return after, before
        jobs = {artefact: self._job(PROBE, artefact, text=self.probe.text.sha256) for artefact in (STUDENT, UNTRAINED)}
        until, took, left = time.monotonic() + self.seconds, 0.0, list[str]()
        for keys in in_parts(list(trials), self.scoring.executor.workers):
            part, started = {key: trials[key] for key in keys}, time.monotonic()
            if not all(self._known(trial) for trial in part.values()) and started + took > until:
                left += keys
                continue
            after |= self._answers(jobs[STUDENT], self._heldout, STUDENT, part)
            before |= self._answers(jobs[UNTRAINED], self._heldout, UNTRAINED, part)
            took = max(took, time.monotonic() - started)
        words = (
            f"{len(trials) - len(left)} of {len(trials)} students were scored in the {self.seconds:.1f} s there were"
        )
        cut_short(self.scoring.ledger, PHASE, words if left else "")
        none = schema.Scores(cause="there was no time to score it on the probe; another call does")
        return after | dict.fromkeys(left, none), before | dict.fromkeys(left, none)

    def _known(self, trial: str) -> bool:
        """Whether nothing is left to score of a student on the probe."""
        there = self.scoring.archive.find(trial)
        return there is None or all(there.score(PROBE, self._heldout, way) for way in (STUDENT, UNTRAINED))

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


def in_parts(keys: Sequence[str], size: int) -> list[Sequence[str]]:
    """Keys in their order, so many at once."""
    return [keys[first : first + size] for first in range(0, len(keys), size)]


def _pair(before: schema.Scores, after: schema.Scores) -> schema.Bought:
    cause = before.cause or after.cause
    return schema.Bought(before=before.values.get("loss"), after=after.values.get("loss"), cause=cause)


def gains(file: schema.ResultFile, member: schema.Member) -> dict[str, Bought]:
    """What was taken of a member before and after its training, by name: the probe, and Spearman of pairs."""
    reading, named = Reading(file), dict[str, Bought]()
    if (probe := reading.on_probe(member)) is not None:
        named[probe_words(file)] = Bought("", *probe)
    for title, pair in reading.on_pairs(member).items():
        named[f"{title}, Spearman"] = Bought("", *pair, rising=True)
    return named


def probe_words(file: schema.ResultFile) -> str:
    """What a loss on the probe is called; of fewer blocks than usual, with their number."""
    name, blocks = (file.probe.name, file.probe.blocks) if file.probe else ("", 0)
    return f"loss on the probe, {name}" + (f" ({blocks} blocks)" if 0 < blocks < BLOCKS else "")


def card_rows(file: schema.ResultFile, member: schema.Member) -> dict[str, str]:
    """The rows of a card: the held-out loss, the probe or why there is none, pairs."""
    rows = {}
    if member.untrained_loss is not None:
        where = some_blocks(member.untrained_blocks, Reading(file).heldout_blocks)
        rows["held-out loss"] = Bought("", member.untrained_loss, member.loss, where=where).words
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
