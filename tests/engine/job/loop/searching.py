"""What tests of the search loop share: a trainer, a meter and executors that answer by architecture."""

import math
import random
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

from distilsearch.architecture import Architecture
from distilsearch.distill.job import Training
from distilsearch.distill.recipes import EMBEDDING
from distilsearch.distill.store.trial import Trial
from distilsearch.engine.engine import Engine
from distilsearch.engine.job.executors.persistent import Persistent
from distilsearch.engine.job.jobs import Measure
from distilsearch.engine.job.ledger import Ledger, open_storage
from distilsearch.engine.job.loop.search import Search
from distilsearch.engine.job.machines.machines import Latency
from distilsearch.engine.job.serving.served import ServedSpace
from distilsearch.engine.objectives import Expensive, Known
from distilsearch.errors import TrialError
from distilsearch.families import family
from distilsearch.operators import Serving

GENES = {"layers": [1, 2, 3, 4], "width": [128, 192, 256], "heads": [4], "ffn": [256, 512], "inherit": ["even"]}
SPACE = family("bert").space(GENES)
SERVING = Serving(threads=1)
SERVED = ServedSpace(SPACE, SPACE, {}, (SERVING,))


def milliseconds(architecture: Architecture) -> float:
    """Students take as long as they have layers."""
    return float(architecture["layers"]) + architecture["width"] / 1000


class Machine:
    """A serving machine whose predictions are off by a factor that it learns from what it measures."""

    objective = "latency_ms"

    def __init__(self) -> None:
        self.measured: dict[str, float] = {}
        self.slowness: dict[str, float] = {}
        self.requests: dict[str, list[float]] = {}
        self.seen: list[str] = []

    @property
    def learnt(self) -> dict:
        return {"seen": list(self.seen)}

    def relearn(self, learnt) -> None:
        self.seen = list(learnt["seen"])

    def latency(self, architecture) -> Latency:
        ms = milliseconds(architecture) * (1 + 0.5 / (1 + len(self.seen)))
        return Latency(ms, 0.9 * ms, 1.1 * ms, self.measured.get(architecture.key))

    def complete(self, architecture) -> bool:
        return architecture.key in self.measured

    def jobs(self, members):
        return [(tuple(members), Measure(tuple(members), "cpu", SERVING))] if members else []

    def take(self, architectures, measurements) -> None:
        self.measured |= {a.key: one for a, one in zip(architectures, measurements, strict=True)}

    def noted(self, architecture):
        return {"measured": self.measured.get(architecture.key)}

    def recall(self, architecture, noted):
        if noted["measured"] is not None:
            self.measured[architecture.key] = noted["measured"]
        return noted["measured"]

    def learn(self, architecture) -> None:
        self.seen.append(architecture.key)


class Source:
    """Trials that are made at once; longer training is worth `worth` for each factor of e, some never come back."""

    def __init__(self, worth: float = 0.0, broken=lambda genes, tokens: False) -> None:
        self.worth, self.broken = worth, broken
        self.asked: list[tuple[tuple, int]] = []

    def trial(self, architecture, tokens):
        self.asked.append((tuple(architecture.values.values()), tokens))

        def run():
            if self.broken(architecture.values, tokens):
                return [TrialError("it diverged")]
            genes = architecture.values
            loss = 1 / genes["layers"] + 20 / genes["width"] + self.worth * math.log(1000 / tokens)
            training = Training("t", "t", "x", "r", tokens, 0, "float32")
            curve = ((tokens // 4, 2 * loss), (tokens, loss))
            return [Trial("none", architecture, training, loss, 10, tokens + 7, 1.0, curve)]

        return run


class AtOnce:
    """An executor that has done everything when it returns; after so many trainings it is killed."""

    workers = 1

    def __init__(self, killed_after: float = math.inf) -> None:
        self.left, self.measured = killed_after, 0

    def submit(self, job, progress=None):
        future: Future = Future()
        if isinstance(job, Measure):
            self.measured += 1
            future.set_result([milliseconds(a) for a in job.architectures])
        elif self.left <= 0:
            raise KeyboardInterrupt
        else:
            self.left -= 1
            future.set_result(job())
        return future


class Deadly(AtOnce):
    """Each so-manieth training, or each measurement of some models, is lost with its worker."""

    def __init__(self, each: float, models=lambda models: False) -> None:
        super().__init__()
        self.each, self.models, self.count = each, models, 0

    def submit(self, job, progress=None):
        if isinstance(job, Measure):
            return lost() if self.models(job.architectures) else super().submit(job, progress)
        self.count += 1
        future = super().submit(job, progress)
        return lost() if self.count % self.each == 0 else future


def lost() -> Future:
    future: Future = Future()
    future.set_exception(TrialError("the child was killed by SIGKILL; the end of log 1:\nwords", transient=True))
    return future


class Several:
    """An executor of some threads that end in any order."""

    def __init__(self, workers: int, seed: int) -> None:
        self.workers = workers
        self._pool = ThreadPoolExecutor(2 * workers)
        self._random, self._lock = random.Random(seed), threading.Lock()

    def submit(self, job, progress=None):
        with self._lock:
            delay = self._random.random() / 200

        def run():
            time.sleep(delay)
            return [milliseconds(a) for a in job.architectures] if isinstance(job, Measure) else job()

        return self._pool.submit(run)


def new_engine(machine, initial: int = 4, served: ServedSpace = SERVED) -> Engine:
    cost = Known("latency_ms", lambda codes: [machine.latency(a).predicted for a in served.space.decode(codes)])
    loss = Expensive("loss", ignores=served.names)
    return Engine(served.space, [loss, cost], reference={"latency_ms": 5.0}, initial=initial)


def new_search(folder, source, executor=None, longer=(), initial: int = 4, served: ServedSpace = SERVED) -> Search:
    machine = Machine()
    folder.mkdir(exist_ok=True)
    ledger = Ledger(open_storage("", folder), "run", ["loss", "latency_ms"], served.space)
    shared = EMBEDDING.shared
    return Search(
        new_engine(machine, initial, served),
        ledger,
        [machine],
        Persistent(executor or AtOnce()),
        source,
        served,
        (100, *longer),
        shared,
        lambda *_: None,
    )


def die(search: Search) -> None:
    """Leave the leases of a search behind as a killed process would."""
    storage = open_storage("", search.ledger._storage._backend.path.parent)
    for entry in search.ledger.entries():
        if entry.state == "running":
            storage.set_trial_user_attr(entry.id, "lease", entry.lease | {"started": "0"})
