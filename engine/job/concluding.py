"""What comes of the main job: the facts of the run, its students judged and handed back, its result and report."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from distilsearch.architecture import Architecture
from distilsearch.distill.job import Training
from distilsearch.distill.store.trial import Trial
from distilsearch.errors import Interrupted, TrialError

from ..engine import Engine
from ..report.files import write_result
from ..report.students import STUDENTS
from .machines.machines import Profiled
from .outcome.choice import pair_key
from .outcome.exports import export_students
from .outcome.facts import Final, RunFacts, finals_of
from .outcome.handed import handed_out, without
from .outcome.remarks import all_known, remarks_on
from .outcome.remeasure import measured_fidelity
from .outcome.result import Result, conclude, members
from .plans.phases import Phases, shortened, waited
from .preparing.environment import environment
from .preparing.opening import opened_executor
from .work.work import archive_of

if TYPE_CHECKING:
    from .run import MainJob

HANDING, JUDGING = "hand back students", "judge as served"


@dataclass(frozen=True)
class Concluding:
    """The end of a job whose students are trained: what it knows as facts, and from them all that the user gets."""

    job: "MainJob"
    phases: Phases

    def facts(self, engine: Engine, machines: Sequence[Profiled], finals: Mapping[str, Trial]) -> RunFacts:
        """What the result is made of, but for the exported students."""
        job, run, entries = self.job, self.job.prepared.run, self.job.ledger.entries()
        asked_for, teacher = list(dict.fromkeys(entry.architecture for entry in entries)), job.teacher_loss()
        return RunFacts(
            folder=job.prepared.folder,
            name=run.name,
            teacher=run.teacher,
            teacher_kind=job.prepared.teacher.kind,
            teacher_architecture=job.teacher,
            quality=run.quality,
            teacher_loss=teacher.loss,
            teacher_parts=teacher.parts,
            remarks=(*filter(None, [teacher.said]), *self._remarks(finals)),
            entries=entries,
            machines=[machine.facts(job.teacher, asked_for) for machine in machines],
            reference=engine.reference,
            choose=run.choice,
            loss_at_most=run.loss_at_most,
            finals=self._judged(finals),
            unfinished=job.ledger.noted("unfinished") or {},
            diagnostics=engine.diagnostics(),
            fidelity=measured_fidelity(job.prepared.folder),
            phases=self.phases.seconds,
            shortened=shortened(job.ledger),
            environment=environment(run) | self._material() | {"training": self._hands()},
        )

    def _remarks(self, finals: Mapping[str, Trial]) -> tuple[str, ...]:
        job = self.job
        return (*remarks_on(job.prepared.run, job.prepared.teacher.facts, finals), *all_known(job.ledger))

    def _material(self) -> dict[str, Any]:
        """What was left out of the text, and on how many of its blocks losses were taken."""
        text = self.job.prepared.text
        return {"text": list(text.notes), "heldout_blocks": len(text.heldout)}

    def _judged(self, trials: Mapping[str, Trial]) -> dict[str, Final]:
        """The trainings that finished students, judged as they are served; by new hands where time has stopped ours."""
        if not trials or self.job.judging is None:
            return finals_of(trials, None)
        with self.phases.phase(JUDGING):
            try:
                return finals_of(trials, self.job.judging)
            except Interrupted:
                self.job.between()
                with opened_executor(self.job.prepared, self.job.ledger, None, self.job.progress) as (hands, _):
                    return finals_of(trials, replace(self.job.judging, executor=hands))

    def _hands(self) -> dict[str, Any]:
        """How students were trained, and the share of their time that they waited for meters."""
        paused = waited(self.job.ledger, self.job.executor)  # known where this machine trains
        return asdict(self.job.resolved) | ({} if paused is None else {"paused_share": round(paused, 4)})

    def concluded(self, facts: RunFacts, lengths: Sequence[int]) -> Result:
        """Students, result and report, written into the run's folder."""
        trained = [entry for entry in members(facts) if "trial" in entry.facts]  # others are known by number alone
        served = {pair_key(entry): facts.said_of(entry) for entry in trained}
        copies, ways = facts.folder / STUDENTS, partial(self.job.making.ways, lengths=lengths)
        with self.phases.phase(HANDING):
            handed = handed_out(trained, archive_of(self.job.depot), copies, ways, self._trained_anew)
            students = without(export_students(facts.folder, handed.trials, served), handed.withheld)
        for remark in handed.remarks:
            self.job.progress(remark, 0, 0)
        result = conclude(replace(facts, students=students, handing=handed.remarks))
        return Result(facts.folder, write_result(result.file, facts.folder))

    def _trained_anew(self, student: Architecture, training: Training) -> Trial | TrialError:
        """A student whose files were damaged, trained again, or cut again."""
        job = replace(self.job.making.distil([student], training.tokens), training=training)
        answers: list[Trial | TrialError] = self.job.executor.submit(job, self.job.progress).result()
        return answers[0]
