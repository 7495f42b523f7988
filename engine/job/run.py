"""The main job, a list of phases: profile, predict, propose, distil, measure, refine, finish.

Everything is kept the moment it is known: trials in the ledger and by content, timings in the table. So the same
call continues a run that was killed, and loses at most the trials in flight.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from distilsearch.architecture import Architecture
from distilsearch.distill.archive import Archive, Trial
from distilsearch.distill.depot import Depot
from distilsearch.errors import InputError
from distilsearch.families import family
from distilsearch.home import write_atomically
from distilsearch.profiling import find_table
from distilsearch.progress import Progress, silent

from ..engine import Engine
from ..report.report import write_report
from .config import Run
from .environment import environment
from .executors import Executor, Options, interruptible, open_executor
from .finish import finish, measure_front, to_finish, with_final
from .choice import front, longest
from .imports import imported
from .jobs import Profile, TeacherLoss
from .ledger import Ledger, open_storage
from .machines import Declared, Profiled
from .phases import Phases
from .prepare import Prepared, prepare
from .proposing import check_limits, new_engine
from .resolve import Resolved, probed, resolve
from .result import Result, conclude
from .search import Search
from .source import Making, open_source


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
    """
    prepared = prepare(run, Path(folder) if folder is not None else Path("runs") / run.name)
    names = ["loss", *(machine.objective for machine in prepared.machines)]
    ledger = Ledger(open_storage(run.storage.url, prepared.folder), run.name, names, prepared.space)
    resolved = resolve(run.train, ledger, lambda train: probed(train, prepared.folder, progress))
    with _opened(prepared, resolved, executor) as hands, interruptible(hands):
        return MainJob(prepared, resolved, ledger, hands, progress).run()


@contextmanager
def _opened(prepared: Prepared, resolved: Resolved, given: Executor | None) -> Iterator[Executor]:
    """The executor of a run; closed at the end, unless it was given."""
    if given is not None:
        yield given
        return
    section, train = prepared.run.executor, prepared.run.train
    more = {"address": section.address, "depot": section.depot}
    options = Options(prepared.folder, resolved.workers, resolved.threads, train.device, more=more)
    executor = open_executor(section.name, options)
    try:
        yield executor
    finally:
        executor.close()


@dataclass(frozen=True)
class MainJob:
    """A run that has been checked, with all that its phases work with."""

    prepared: Prepared
    resolved: Resolved
    ledger: Ledger
    executor: Executor
    progress: Progress

    def run(self) -> Result:
        """All phases, in order."""
        prepared, run, phases = self.prepared, self.prepared.run, Phases(self.ledger)
        facts = environment(run)
        write_atomically(prepared.folder / "environment.json", json.dumps(facts, indent=1))
        with phases.phase("profile and predict"):
            machines = [self.profiled(machine) for machine in prepared.machines]
            engine = new_engine(run, prepared.space, machines, self.teacher)
            check_limits(run, prepared.space, machines)
        making = self.making()
        trials = self.recalled(engine, machines, making)
        with phases.phase("distil and measure"):
            trials.source.prepare(self.executor.submit)
            trials.explore(run.trials, run.stop_below)
        with phases.phase("measure the front"):
            measure_front(self.ledger, machines, self.teacher, self.executor, self.progress)
        with phases.phase("finish"):
            finals = self.finals(machines, making)
        for machine in machines:
            machine.predictor.save(prepared.folder / "predictor" / machine.objective)
        return self.concluded(engine, machines, finals, phases, facts)

    @property
    def teacher(self) -> Architecture:
        """The teacher's own architecture."""
        facts = self.prepared.teacher.facts
        return family(facts.family).architecture(facts)

    def profiled(self, declared: Declared) -> Profiled:
        """Time what the table of a machine lacks (nothing, when all is there), and fit a predictor."""
        run, section = self.prepared.run, declared.section
        if declared.local:
            job = Profile(
                run.space.family, run.space.genes, self.prepared.facts, section.device, declared.serving, self.depot,
                run.plugins,
            )  # fmt: skip
            table = open_table(*self.executor.submit(job, self.progress).result(), depot=self.depot)
        else:
            table = find_table(section.device)
        assert table is not None  # it was checked
        return Profiled(declared, table)

    def making(self) -> Making:
        """What all trainings share; teacher and text are left where workers find them."""
        prepared, run = self.prepared, self.prepared.run
        depot = Depot(self.depot)
        depot.put_teacher(prepared.teacher)
        depot.put_text(prepared.text)
        return Making(
            training=prepared.training(run.train.flash_tokens, self.resolved.precision),
            recipe=prepared.recipe,
            depot=self.depot,
            device=run.train.device,
            threads=self.resolved.threads,
            cache_limit=int(run.storage.cache_limit_gb * 1e9),
            plugins=run.plugins,
        )

    def recalled(self, engine: Engine, machines: Sequence[Profiled], making: Making) -> Search:
        """The search, with all that is known already: this run's own trials, those of other runs, imported ones."""
        run = self.prepared.run
        source = open_source(run.source.name, making, **run.source.options)
        shared, lengths = self.prepared.recipe.shared, run.train.lengths
        search = Search(engine, self.ledger, machines, self.executor, source, lengths, shared, self.progress)
        archive = Archive()
        search.enter_known(trial for tokens in lengths for trial in archive.matching(making.training.at(tokens)))
        search.enter_imported(imported(self.prepared.folder))
        if run.trials == 0 and not self.ledger.entries():
            raise InputError("no student of this teacher, text and recipe is known yet; ask for more than 0 trials")
        return search

    def finals(self, machines: Sequence[Profiled], making: Making) -> dict[str, Trial]:
        """Distil the chosen students fully; what another run has finished costs nothing."""
        run, archive = self.prepared.run, Archive()
        members = front(longest(self.ledger.entries()), machines)
        final = making.training.at(run.train.final_tokens)
        kept = {entry.architecture.key: archive.of(final, entry.architecture) for entry in members}
        finals = {key: trial for key, trial in kept.items() if trial is not None}
        return finals | finish(to_finish(members, machines, run), run.train.final_tokens, making, self.executor, self.progress)

    def teacher_loss(self, making: Making) -> float:
        """The teacher's own loss: nothing against itself for an embedding teacher; asked of a worker once else."""
        if self.prepared.teacher.kind == "embedding":
            return 0.0
        noted: float | None = self.ledger.noted("teacher_loss")
        if noted is None:
            training, plugins = making.training, self.prepared.run.plugins
            job = TeacherLoss(training.teacher, training.text, self.depot, making.device, making.threads, plugins)
            noted = float(self.executor.submit(job, self.progress).result())
            self.ledger.note("teacher_loss", noted)
        return noted

    def concluded(self, facts: RunFacts) -> Result:
        """Students, result and report, written into the run's folder."""
        archive = Archive()
        trials = {pair_key(entry): archive.find(entry.facts.get("trial", "")) for entry in members(facts)}
        intact = {key: trial.student for key, trial in trials.items() if trial is not None and archive.intact(trial)}
        result = conclude(replace(facts, students=export_students(facts.folder, intact)))
        write_result(result.file, facts.folder)
        return result
