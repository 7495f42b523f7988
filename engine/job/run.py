"""The main job: profile, predict, propose, distil, measure, refine, finish.

Everything is kept the moment it is known: trials in the ledger and by content, timings in the table. So the same
call continues a run that was killed, and loses at most the trial in flight.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from distilsearch.distill.depot import Depot
from distilsearch.errors import TrialError
from distilsearch.families import family
from distilsearch.home import write_atomically
from distilsearch.lowering import FloatArray, tabulate
from distilsearch.operators import Serving
from distilsearch.progress import Progress, silent
from distilsearch.space import Codes, SearchSpace

from ..engine import Engine
from ..objectives import Expensive, limited
from ..report.report import write_report
from . import result as results
from .config import Run
from .environment import environment
from .executors import Options
from .executors.local import Local
from .explore import Trials
from .jobs import TeacherLoss
from .ledger import Entry, Ledger, open_storage
from .limits import check_kept, limits_of
from .prepare import Prepared, prepare
from .strategy import strategy_of
from .trials import Context, Record, find


def search(run: Run, folder: Path | str | None = None, progress: Progress = silent) -> results.Result:
    """Run a search to its end, or continue it; see `Run` for what can be asked.

    Args:
        folder: the run's folder; `runs/NAME` under the working directory where not given.

    Raises:
        DistilSearchError: with the exit code of its leaf; see `prepare`.
    """
    prepared = prepare(run, Path(folder) if folder is not None else Path("runs") / run.name)
    with ExitStack() as stack:
        return Search(prepared, stack, progress).run_to_end()


class Search:
    """One run in progress."""

    def __init__(self, prepared: Prepared, stack: ExitStack, progress: Progress) -> None:
        run, folder = prepared.run, prepared.folder
        self.prepared = prepared
        self.run = run
        self.folder = folder
        self.progress = progress
        self.targets = prepared.targets
        self.context = prepared.context(run.train.flash_tokens)
        self.executor = stack.enter_context(Local(Options(folder, threads=run.train.threads)))
        Depot().put_teacher(prepared.teacher)
        Depot().put_text(prepared.text)
        names = ["loss", *(t.objective for t in self.targets)]
        self.ledger = Ledger(open_storage(run.storage.url, folder), run.name, names, prepared.space)
        self.teacher = family(prepared.teacher.facts.family).architecture(prepared.teacher.facts)
        self.finals: dict[str, Record] = {}
        self.phases: dict[str, float] = self.ledger.noted("phases") or {}
        self.environment = environment(run)

    def run_to_end(self) -> results.Result:
        """All phases, in order."""
        write_atomically(self.folder / "environment.json", json.dumps(self.environment, indent=1))
        with self._phase("profile and predict"):
            self._profile()
        self.limits = limits_of(self.run.target, self.run.space_for(self.prepared.teacher.facts))
        self.engine = Engine(
            self.prepared.space,
            [Expensive("loss"), *(t.known(self.prepared.space) for t in self.targets)],
            seed=self.run.seed,
            reference={t.objective: t.section.latency_ms or t.latency(self.teacher).best for t in self.targets},
            strategy=strategy_of(self.run),
            features=size_features(self.prepared.space, self.targets[0].serving),
            limits=self.limits,
        )
        check_kept(self.prepared.space, limited(self.engine.objectives, self.limits), self.run.seed)
        self.trials = Trials(self.prepared, self.engine, self.ledger, self.executor, self.progress)
        self.trials.recall()
        with self._phase("distil and measure"):
            self.trials.explore()
        with self._phase("measure the front"):
            self._measure_front()
        with self._phase("finish"):
            self._finish()
        return self._conclude()

    @contextmanager
    def _phase(self, what: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.phases[what] = self.phases.get(what, 0.0) + time.perf_counter() - start
        self.ledger.note("phases", self.phases)

    # Profile and predict

    def _profile(self) -> None:
        for target in self.targets:
            target.profile(self.executor, self.run, self.prepared.facts, self.progress)
        assert self.targets[0].predictor is not None
        for target in self.targets:
            if target.predictor is not None:
                target.predictor.save(self.folder / "predictor" / target.objective)

    # Finish

    def _measure_front(self) -> None:
        """Measure teacher and front side by side, once for a set of trials; the ledger keeps what came out.

        A measurement may open the front to students not measured yet, so this goes on until none is left.
        """
        done = sum(e.state == "complete" for e in self.ledger.entries())
        if self.ledger.noted("measured_after") == done:
            return
        for target in self.targets:
            models = [self.teacher]
            while models and target.local:
                target.measure(self.executor, [*models, *(e.architecture for e in self._front())], self.progress)
                models = [e.architecture for e in self._front() if not target.knows(e.architecture)]
        self.ledger.note("measured", {t.objective: t.measured for t in self.targets})
        self.ledger.note("slowness", {t.objective: t.slowness for t in self.targets})
        self.ledger.note("measured_after", done)

    def _finish(self) -> None:
        """Distil the chosen students fully."""
        front = self._front()
        chosen = [e for e in self._chosen(front) if self.trials.length(e) < self.run.train.final_tokens]
        for entry in front:  # what another run has finished costs nothing
            if (known := find(self._final_context.key(entry.architecture))) is not None:
                self.finals[entry.architecture.key] = known
        finished = self.trials.distil([entry.architecture for entry in chosen], self.run.train.final_tokens)
        self.finals |= {made.architecture.key: made for made in finished if isinstance(made, Record)}
        for failed in finished:  # all others are kept
            if isinstance(failed, TrialError):
                raise failed

    def _front(self) -> list[Entry]:
        return results.front(results.longest(self.ledger.entries()), self.targets)

    def _chosen(self, front: list[Entry]) -> list[Entry]:
        """The members of the front that are distilled fully."""
        train = self.run.train
        if train.finish == "none" or train.final_tokens <= train.flash_tokens:
            return []
        knee = results.knee(front, self.targets, self.run.loss_at_most)
        return front if train.finish == "front" else [knee] if knee else []

    @property
    def _final_context(self) -> Context:
        return self.prepared.context(self.run.train.final_tokens)

    def teacher_loss(self) -> float:
        """The teacher's own loss: nothing against itself for an embedding teacher; asked of the child once else."""
        if self.prepared.teacher.kind == "embedding":
            return 0.0
        if (known := self.ledger.noted("teacher_loss")) is None:
            job = TeacherLoss(self.context.teacher, self.context.text)
            known = self.executor.submit(job, self.progress).result()
            self.ledger.note("teacher_loss", known)
        return float(known)

    def record(self, entry: Entry) -> Record | None:
        """The finished trial of an entry, if it is still kept."""
        return find(entry.facts["trial"]) if "trial" in entry.facts else None

    def _conclude(self) -> results.Result:
        """Write students, result and report."""
        result = results.conclude(self)
        write_atomically(self.folder / "result.json", json.dumps(result.data, indent=1))
        write_report(result.data, self.folder / "report.html")
        return result


def size_features(space: SearchSpace, serving: Serving) -> Callable[[Codes], FloatArray]:
    """Surrogate features (n, 2) of codes: the logarithms of parameters and FLOPs."""
    figures = tabulate(space, serving, lambda operators: np.array([[o.parameters, o.flops] for o in operators]))
    return lambda codes: np.log(figures(codes))
