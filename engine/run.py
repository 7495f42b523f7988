"""The main job: profile, predict, propose, distil, measure, refine, finish.

Everything is kept the moment it is known: trials in the ledger and by content, timings in the table. So the same
call continues a run that was killed, and loses at most the trial in flight.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np

from distilsearch.architecture import Architecture
from distilsearch.errors import InputError, TrialError
from distilsearch.families import family
from distilsearch.home import write_atomically
from distilsearch.lowering import FloatArray, tabulate
from distilsearch.operators import Serving
from distilsearch.progress import Progress, silent
from distilsearch.space import Codes, SearchSpace

from . import result as results
from . import trials
from .config import Run
from .engine import Engine
from .environment import environment
from .executors import Worker
from .ledger import Entry, Ledger, open_storage
from .objectives import Expensive
from .prepare import Prepared, prepare
from .presets import PRESETS
from .report import write_report
from .trials import Record

MOST_FAILURES_IN_A_ROW = 3
LIMIT_DRAWS = 20_000


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
        self.trainer = stack.enter_context(Worker("trainer", folder, run.train.threads or Serving().resolved_threads))
        self.meters = {
            t.objective: stack.enter_context(Worker(f"meter-{t.objective}", folder, t.serving.resolved_threads))
            for t in self.targets
        }
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
        self.engine = Engine(
            self.prepared.space,
            [Expensive("loss"), *(t.known(self.prepared.space) for t in self.targets)],
            seed=self.run.seed,
            reference={t.objective: t.section.latency_ms or t.latency(self.teacher).best for t in self.targets},
            strategy=PRESETS[self.run.preset].strategy,
            features=size_features(self.prepared.space, self.targets[0].serving),
        )
        self._check_limits()
        self._recall()
        with self._phase("distil and measure"):
            self._explore()
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
            target.profile(self.meters[target.objective], self.run, self.prepared.facts, self.progress)
        assert self.targets[0].predictor is not None
        for target in self.targets:
            if target.predictor is not None:
                target.predictor.save(self.folder / "predictor" / target.objective)

    def _check_limits(self) -> None:
        """Refuse limits that nothing is predicted to keep, before any student is trained."""
        space = self.prepared.space
        small = space.size <= LIMIT_DRAWS
        rng = np.random.default_rng(self.run.seed)
        codes = space.grid(LIMIT_DRAWS) if small else space.sample(LIMIT_DRAWS, rng)
        for target in self.targets:
            limit, known = target.section.latency_ms, target.known(space)
            fastest = float(np.min((known.upper or known.function)(codes)))
            if limit is not None and fastest > limit:
                raise InputError(
                    f"no student is predicted to keep {target.objective} <= {limit} ms with confidence: the fastest one"
                    f" is bounded by {fastest:.3g} ms; raise the limit, or allow smaller students"
                )

    # Explore

    def _recall(self) -> None:
        """Tell the engine all that is known: this run's own trials, then those of other runs with equal content."""
        for entry in self.ledger.entries():
            if entry.state == "complete":
                self._tell(entry)
            elif entry.state == "failed":
                self.engine.fail(entry.architecture, entry.cause, entry.transient)
        present = {e.architecture for e in self.ledger.entries()}
        for record in trials.matching(self.context):
            if record.architecture not in present and self.prepared.space.contains(record.architecture):
                self._tell(self._enter(None, record, "known"))
        for target in self.targets:
            target.measured.update((self.ledger.noted("measured") or {}).get(target.objective, {}))
            target.slowness.update((self.ledger.noted("slowness") or {}).get(target.objective, {}))

    def _explore(self) -> None:
        """Distil and measure proposals until the asked number of trials has ended."""
        for entry in self.ledger.abandoned():
            self._trial(entry)
        failures = 0
        while (ended := self._ended()) < self.run.trials:
            self.progress("trials", ended, self.run.trials)
            proposals = self.engine.ask(1)
            if not proposals:
                break
            entry = self._trial(self.ledger.open(proposals[0]))
            failures = failures + 1 if entry.state == "failed" else 0
            if failures >= MOST_FAILURES_IN_A_ROW:
                raise TrialError(f"{failures} trials in a row failed; the last one: {entry.cause}")
        self.progress("trials", self._ended(), self.run.trials)
        if not any(e.state == "complete" for e in self.ledger.entries()):
            raise TrialError(
                f"all {self._ended()} trials failed; raise `trials`, or mend their causes: see {self.folder}"
            )

    def _ended(self) -> int:
        return sum(e.ended for e in self.ledger.entries())

    def _trial(self, entry: Entry) -> Entry:
        """One pass: distil, measure, tell."""
        try:
            record = self._distil(entry.architecture, self.run.train.flash_tokens)
            for target in self.targets:
                target.measure(self.meters[target.objective], [entry.architecture], self.progress)
        except TrialError as error:
            again = error.transient and not self._failed_before(entry.architecture)
            self.engine.fail(entry.architecture, str(error), again)
            return self.ledger.fail(entry, str(error), again)
        done = self._enter(entry, record, "trained")
        self._tell(done)
        for target in self.targets:
            target.learn(entry.architecture)
        return done

    def _failed_before(self, architecture: Architecture) -> bool:
        """Whether it has failed already: what kills its child twice is no accident."""
        return any(e.state == "failed" and e.architecture == architecture for e in self.ledger.entries())

    def _distil(self, architecture: Architecture, tokens: int) -> Record:
        """A student from the shared trials, or distilled now in the training child."""
        context = self.prepared.context(tokens)
        if (known := trials.find(context.key(architecture))) is not None:
            return known
        asked = {
            "teacher": self.run.teacher,
            "text": list(self.run.text),
            "architecture": architecture.to_json(),
            "recipe": self.prepared.recipe.to_json(),
            "context": asdict(context),
            "device": self.run.train.device,
            "cache_limit": int(self.run.storage.cache_limit_gb * 1e9),
        }
        return Record.from_json(self.trainer.call("distil", asked, self.progress))

    def _enter(self, entry: Entry | None, record: Record, source: str) -> Entry:
        """A finished trial into the ledger. Predictions are those of before its measurement is learnt from."""
        latencies = {t.objective: t.latency(record.architecture) for t in self.targets}
        values = [record.loss, *(latency.best for latency in latencies.values())]
        facts = {
            "source": source,
            "trial": record.key,
            "tokens": record.tokens,
            "seconds": record.seconds,
            "parameters": record.parameters,
            "curve": [list(point) for point in record.curve],
            "latencies": {name: asdict(latency) for name, latency in latencies.items()},
        }
        if entry is None:
            return self.ledger.add(record.architecture, values, facts)
        return self.ledger.complete(entry, values, facts)

    def _tell(self, entry: Entry) -> None:
        told = {"loss": entry.values[0]}
        for target in self.targets:
            known = entry.facts["latencies"][target.objective]["measured"]
            if (measured := target.recall(entry.architecture, known)) is not None:
                told[target.objective] = measured
        self.engine.tell(entry.architecture, told, fidelity=float(entry.facts["tokens"]))

    # Finish

    def _measure_front(self) -> None:
        """Measure teacher and front side by side, once for a set of trials; the ledger keeps what came out.

        A measurement may open the front to students not measured yet, so this goes on until none is left.
        """
        done = sum(e.state == "complete" for e in self.ledger.entries())
        if self.ledger.noted("measured_after") == done:
            return
        for target in self.targets:
            meter, models = self.meters[target.objective], [self.teacher]
            while models and target.local:
                target.measure(meter, [*models, *(e.architecture for e in self._front())], self.progress)
                models = [e.architecture for e in self._front() if not target.knows(e.architecture)]
        self.ledger.note("measured", {t.objective: t.measured for t in self.targets})
        self.ledger.note("slowness", {t.objective: t.slowness for t in self.targets})
        self.ledger.note("measured_after", done)

    def _finish(self) -> None:
        """Distil the chosen students fully."""
        front = self._front()
        for entry in front:  # what another run has finished costs nothing
            if (known := trials.find(self._final_context.key(entry.architecture))) is not None:
                self.finals[entry.architecture.key] = known
        for i, entry in enumerate(chosen := self._chosen(front)):
            self.progress("finishing", i, len(chosen))
            self.finals[entry.architecture.key] = self._distil(entry.architecture, self.run.train.final_tokens)

    def _front(self) -> list[Entry]:
        return results.front(self.ledger.entries(), self.targets)

    def _chosen(self, front: list[Entry]) -> list[Entry]:
        """The members of the front that are distilled fully."""
        train = self.run.train
        if train.finish == "none" or train.final_tokens <= train.flash_tokens:
            return []
        knee = results.knee(front, self.targets, self.run.loss_at_most)
        return front if train.finish == "front" else [knee] if knee else []

    @property
    def _final_context(self) -> trials.Context:
        return self.prepared.context(self.run.train.final_tokens)

    def teacher_loss(self) -> float:
        """The teacher's own loss: nothing against itself for an embedding teacher; asked of the child once else."""
        if self.prepared.teacher.kind == "embedding":
            return 0.0
        if (known := self.ledger.noted("teacher_loss")) is None:
            known = self.trainer.call("teacher_loss", {"teacher": self.run.teacher, "text": list(self.run.text)})
            self.ledger.note("teacher_loss", known)
        return float(known)

    def record(self, entry: Entry) -> Record | None:
        """The finished trial of an entry, if it is still kept."""
        return trials.find(entry.facts["trial"]) if "trial" in entry.facts else None

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
