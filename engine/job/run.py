"""The main job, a list of phases: profile, predict, propose, distil, measure, refine, finish.

Everything is kept the moment it is known: trials in the ledger and by content, timings in the table. So the same
call continues a run that was killed, and loses at most the trials in flight.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

from distilsearch.architecture import Architecture
from distilsearch.disks import full_disks_named
from distilsearch.distill.quality import Held
from distilsearch.distill.store.respelt import known
from distilsearch.distill.store.trial import Trial
from distilsearch.errors import InputError
from distilsearch.families import family
from distilsearch.home import write_atomically, written_folders
from distilsearch.progress import Between, Progress, nothing, silent

from ..engine import Engine
from ..report.schema import ProxyEntry
from .after import scored
from .concluding import Concluding
from .executors import Executor
from .executors.interruption import interruptible
from .jobs import Measure
from .joining.inviting import explored
from .ledger import Ledger, is_asked
from .loop.informed import Known, cuts_within, opened, score_column
from .loop.proposing import new_engine, size_features
from .loop.search import Search
from .machines.limits import check_limits
from .machines.machines import Profiled
from .machines.shares import set_shares
from .outcome.choice import chosen, front
from .outcome.finish import Ended, cut, less_trained, longest_of, to_finish, unfinished
from .outcome.graphs import as_files, exports
from .outcome.proxy import PHASE as PROXY
from .outcome.proxy import on_proxy
from .outcome.remarks import note_trained
from .outcome.result import Result
from .outcome.scoring import Scoring
from .outcome.sessions import measure_front
from .outcome.teacher import teacher_held
from .plans.heldout import note_heldout
from .plans.phases import CUTS, JUDGED, UNTRAINED, Phases, Stopwatch, cut_short
from .plans.planning import check_left, plan_of, question, remembered, speed_of, trained
from .plans.spending import Amount, Budget, Minutes
from .preparing.environment import environment
from .preparing.equipping import making_of, register
from .preparing.opening import opened_executor, opened_ledger
from .preparing.prepare import Prepared, prepare
from .preparing.profiling import omitted, profiled
from .preparing.recall import imported, imported_failures
from .preparing.resolve import Resolved
from .presence.activity import shown_activity
from .presence.holding import driving
from .runfile.config import Run
from .runfile.continuing import kept_text
from .serving.judging import Judging
from .serving.served import student_of
from .source import Making, TrialSource, open_source, scores
from .work.work import archive_of

OPENING = "open trainers"  # where judging must keep to its share, so that it is not counted as that
TRIALS = "distil and measure"  # the phase of the trials
READING, PROFILING, EXPORTING = "read and open", "profile and predict", "export students"
SUPERS = "train super-networks"  # of sources that have any


def search(
    run: Run, folder: Path | str | None = None, progress: Progress = silent, executor: Executor | None = None
) -> Result:
    """Run a search to its end, or continue it; see `Run` for what can be asked.

    Args:
        folder: the run's folder; `runs/NAME` under the working directory where not given.
        executor: who runs trainings and measurements; the one that the run file names where not given. One that is
            given is left open.

    Raises:
        DistilSearchError: with the exit code of its leaf; see `prepare`.
        Interrupted: the work was asked to stop; called again, it goes on.

    While another process is at work on the run of the folder, it waits.
    """
    depot = getattr(executor, "depot", "")
    if depot:  # jobs say where their teacher and text are to be fetched
        run = run.model_copy(update={"executor": run.executor.model_copy(update={"depot": depot})})
    place = Path(folder) if folder is not None else Path("runs") / run.name
    with (
        full_disks_named(place, *written_folders()),
        driving(place, progress),
        shown_activity(place, progress) as progress,
    ):
        started = time.monotonic()  # now that the folder is free
        progress(READING, 0, 1)
        prepared = prepare(run, place, executor is not None, progress)
        with (
            opened_ledger(prepared, progress) as ledger,
            opened_executor(prepared, ledger, executor, progress) as (hands, resolved),
            interruptible(hands, progress) as between,
        ):
            note_heldout(prepared.run, prepared.text, ledger)
            job = MainJob(prepared, resolved, ledger, hands, progress, started, between)
            result = job.run()
            if exports(prepared.run):
                with Phases(ledger, progress, between, prepared.driver).phase(EXPORTING):
                    result = as_files(prepared, archive_of(job.depot), result, progress, between)
            return scored(prepared, job.scoring, result, executor, progress, between)


@dataclass(frozen=True)
class MainJob:
    """A run that has been checked, with all that its phases work with; `started` by `time.monotonic`.

    `between` is called between two steps of what this process does itself.
    """

    prepared: Prepared
    resolved: Resolved
    ledger: Ledger
    executor: Executor
    progress: Progress
    started: float
    between: Between = nothing

    def run(self) -> Result:
        """All phases, in order."""
        run, folder = self.prepared.run, self.prepared.folder
        phases = Phases(self.ledger, self.progress, self.between, self.prepared.driver)
        watch = Stopwatch(self.ledger, self.started)
        self.progress(READING, 1, 1)
        phases.took(READING, time.monotonic() - self.started - self.prepared.judging_seconds)
        phases.took(CUTS, self.prepared.judging_seconds)
        if self.prepared.judging_short:
            cut_short(self.ledger, CUTS, self.prepared.judging_short)
        write_atomically(folder / "environment.json", json.dumps(environment(run), indent=1))
        self.check_time(watch)
        with phases.phase(PROFILING):
            machines = self.profiled()
            set_shares(self.ledger, machines, self.teacher, self.executor, self.progress)
            engine = new_engine(run, self.prepared.served, machines, self.teacher)
            self.check_limits(engine, machines)
        self.check_time(watch)
        if run.foresees:
            if run.minutes and self.ledger.noted(JUDGED) is None:
                with phases.phase(OPENING):
                    opened(self.making, self.executor)
            with phases.phase(UNTRAINED):
                engine = self.informed(machines, cuts_within(run.minutes, self.ledger, phases.seconds.get(CUTS, 0.0)))
        with phases.phase("plan"):
            budget = self.budget(watch, machines)
        result = self.lasting(budget.flash_tokens).spend(budget, engine, machines, phases, watch)
        watch.note()
        return result

    def profiled(self) -> list[Profiled]:
        """The serving machines with their tables; what these lack is noted, and what is doubted of them is told."""
        machines = [profiled(m, self.prepared, self.executor, self.progress) for m in self.prepared.machines]
        cut_short(self.ledger, PROFILING, "; ".join(filter(None, (omitted(m, self.prepared) for m in machines))))
        for doubt in (doubt for machine in machines for doubt in machine.doubts()):
            self.progress(doubt, 0, 0)
        return machines

    def spend(
        self, budget: Budget, engine: Engine, machines: Sequence[Profiled], phases: Phases, watch: Stopwatch
    ) -> Result:
        """What comes of a budget: trials, the front measured, its members trained further."""
        run, folder = self.prepared.run, self.prepared.folder
        source = open_source(run.source.name, self.making, **run.source.options)
        if self.making.supers:
            with phases.phase(SUPERS):
                source.prepare(partial(self.executor.submit, progress=self.progress))
                engine = engine if scores(run.source.name) else self.informed(machines)
        trials = self.recalled(engine, machines, source)
        with phases.phase(TRIALS):
            trials.source.prepare(self.executor.submit)
            allowance = budget.allowance(phases.seconds.get(TRIALS, 0.0))
            explored(trials, self.prepared, allowance, watch.seconds)
        with phases.phase("measure the front"):
            measure_front(self.ledger, machines, self.teacher, self.executor, self.progress, budget.measuring())
        self.teacher_loss()  # now: a finish whose time is over stops the executor
        proxy = self.proxied(machines, phases)
        with phases.phase("finish"):
            finals = self.finished(machines, budget, proxy.merits if proxy else {})
            self.cut_out(machines, finals)
        complete = [entry for entry in self.ledger.entries() if entry.state == "complete" and is_asked(entry)]
        budget.settle(len(complete), finals.values())
        for machine in machines:
            machine.save(folder / "predictor" / machine.objective)
        lengths = (*run.lengths, *budget.final_lengths())
        conclusion = Concluding(self, phases)
        return conclusion.concluded(replace(conclusion.facts(engine, machines, finals), proxy=proxy), lengths)

    @cached_property
    def teacher(self) -> Architecture:
        """The teacher's own architecture."""
        facts = self.prepared.teacher.facts
        return family(facts.family).architecture(facts)

    @property
    def depot(self) -> str:
        """Where workers find teacher and text: a URL, or "" for this machine's home."""
        return self.prepared.run.executor.depot

    @cached_property
    def making(self) -> Making:
        """What all trainings share; teacher and text are left where workers find them."""
        run, making = self.prepared.run, making_of(self.prepared, self.resolved)
        register(self.prepared.folder, making, {*run.lengths, run.train.final_tokens})
        return making

    @property
    def scoring(self) -> Scoring:
        """Models scored by evaluations, by this job's hands."""
        own = (self.prepared.run, self.making.training, self.ledger, archive_of(self.depot))
        return Scoring(*own, self.executor, self.resolved.threads, self.progress)

    @property
    def judging(self) -> Judging | None:
        """What takes the losses of students as they are served; None where all are served as they were trained."""
        servings = tuple(self.prepared.served.artefacts.values())
        return Judging(servings, self.making, self.executor, self.progress) if servings else None

    # Phases

    def check_limits(self, engine: Engine, machines: Sequence[Profiled]) -> None:
        """Refuse limits that no student keeps."""
        check_limits(engine, machines, self.prepared.run.seed, self.ledger, self.prepared.folder, self.progress)

    def check_time(self, watch: Stopwatch) -> None:
        """Refuse minutes of which nothing is left, before profiling, judging or a rehearsal takes more of them."""
        check_left(self.prepared.run, self.ledger, watch.seconds, self.prepared.folder, lambda: self.question)

    @property
    def question(self) -> Path:
        """Where the home keeps what the question of this run came to, whoever asked it."""
        return question(self.prepared.run, self.making.training.to_json(), self.prepared.space)

    def budget(self, watch: Stopwatch, machines: Sequence[Profiled]) -> Budget:
        """What the run may spend: as its file says, or as the same question came to before, or as a plan says."""
        run, train = self.prepared.run, self.prepared.run.train
        if not run.minutes:
            return Amount(train.flash_tokens, run.trials, train.final_tokens, self.progress)
        students, training, place = self.prepared.served.students, self.making.training, self.question
        settled = remembered(place)
        facts, archive = self.prepared.teacher.facts, archive_of(self.depot)
        if settled and trained(archive, training.at(settled.flash_tokens), students, facts) >= settled.trials:
            self.progress(f"what {run.minutes:g} minutes came to here is known: give more to go on", 0, 0)
            return Amount(settled.flash_tokens, settled.trials, settled.final_tokens, self.progress, known=True)
        outcomes = self.prepared.served.outcomes_of

        def measuring(student: Architecture) -> list[Measure]:
            return [job for m in machines if m.local for _, job in m.jobs(outcomes(student)[:1])]

        text, probe = self.prepared.text, self.prepared.probe.text
        blocks = 0 if probe is None else len(probe.heldout)
        speed = partial(speed_of, students, self.making, measuring, self.executor, run.seed, self.progress, blocks)
        plan = plan_of(run, self.ledger, lambda: watch.seconds, speed, students, self.prepared.folder)
        self.progress(plan.said(run.minutes, watch.seconds), 0, 0)
        own = (text.tokens, train.final_tokens, place, self.progress, probe is not None)
        return Minutes(run.minutes, plan, watch, *own)

    def lasting(self, flash_tokens: int) -> "MainJob":
        """The same job, with the length of its trials settled: from now on the run's folder says so."""
        run = self.prepared.run
        if run.train.flash_tokens == flash_tokens:
            return self
        run = run.model_copy(update={"train": run.train.model_copy(update={"flash_tokens": flash_tokens})})
        write_atomically(self.prepared.folder / "run.toml", kept_text(run))
        return replace(self, prepared=replace(self.prepared, run=run))

    def informed(self, machines: Sequence[Profiled], column_of: Known = score_column) -> Engine:
        """An engine that sees what is known of students untrained: scores in super-networks, or losses of cuts."""
        run, served = self.prepared.run, self.prepared.served
        sizes = size_features(served.students, machines[0].serving)
        column = column_of(served.students, sizes, self.making, self.executor, run.seed, self.progress)
        return new_engine(run, served, machines, self.teacher, column)

    def recalled(self, engine: Engine, machines: Sequence[Profiled], source: TrialSource) -> Search:
        """The search, with all that is known already: this run's own trials, those of other runs, imported ones."""
        run, making = self.prepared.run, self.making
        shared, lengths = self.prepared.recipe.shared, run.lengths
        served = self.prepared.served
        work = (engine, self.ledger, machines, self.executor, source, served, lengths, shared, self.progress)
        search = Search(*work, judging=self.judging)
        archive, trainings = archive_of(self.depot), [t.at(tokens) for tokens in lengths for t in making.trainings]
        archive.name_problems(self.progress)
        search.enter_known(known(archive, trainings, served.students, self.prepared.teacher.facts))
        search.enter_imported(imported(self.prepared.folder), imported_failures(self.prepared.folder))
        if not (run.trials or run.minutes or self.ledger.entries()):
            raise InputError("no student of this teacher, text and recipe is known yet; ask for more than 0 trials")
        return search

    def proxied(self, machines: Sequence[Profiled], phases: Phases) -> ProxyEntry | None:
        """What candidates of the front come to on the run's proxy task, where it has one."""
        if (asked := self.prepared.proxy) is None:
            return None
        with phases.phase(PROXY):
            return on_proxy(asked, self.scoring, self.making, machines)

    def finished(self, machines: Sequence[Profiled], budget: Budget, merits: Mapping[str, float]) -> dict[str, Trial]:
        """Train the chosen students further; what another run has finished costs nothing."""
        run = self.prepared.run
        best = front(self.ledger.entries(), machines)
        students = {student_of(entry.architecture) for entry in best}
        ended = Ended(archive_of(self.depot), self.making.whole, budget.final_lengths())
        known = {student.key: trial for student in students if (trial := ended.longest(student)) is not None}
        wanted = to_finish(best, machines, run, self.teacher, merits)
        first = chosen(best, machines, run.choice, run.loss_at_most, merits)
        by_weight = sorted(wanted, key=lambda entry: entry is not first)  # the chosen one matters most
        finals = longest_of(known, budget.finish(by_weight, self.making, self.executor, len(students), known))
        note_trained(self.ledger, known, finals, self.progress)
        self.between()  # one that time has stopped goes on to its result, and one that was asked to end does not
        longest = max(budget.final_lengths(), default=0)
        shorter = less_trained(wanted, budget.flash_tokens, longest, self.making)
        elsewhere = bool(run.storage.url) or run.executor.name != "local"
        self.ledger.note("unfinished", unfinished(shorter, finals, ended.failure, elsewhere))
        lengths = {*run.lengths, run.train.final_tokens, *(trial.training.tokens for trial in finals.values())}
        register(self.prepared.folder, self.making, lengths)
        return finals

    def cut_out(self, machines: Sequence[Profiled], finals: Mapping[str, Trial]) -> None:
        """Cut members of the front that were scored alone out of their super-networks."""
        if scores(self.prepared.run.source.name):
            best = front(self.ledger.entries(), machines)
            cut(best, finals, self.making, self.executor, self.progress)

    def teacher_loss(self) -> Held:
        """The teacher's own loss."""
        return teacher_held(self.prepared, self.making, self.ledger, self.executor, self.progress)
