"""Jobs: frozen values that say what to do, as strict JSON the same on both ends of the wire.

`perform` is what every executor calls on the other end: one text in, one text out, errors included. No local path
crosses: teachers and texts are named by content and come from a `Depot`, what a job leaves goes to the archive or the
table of the machine that ran it, and from there to the depot.
"""

import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from distilsearch import plugins
from distilsearch.architecture import Architecture
from distilsearch.disks import disk_full, is_full
from distilsearch.distill.quality import LOSS, Held
from distilsearch.errors import DistilSearchError, RunError, TrialError, unknown
from distilsearch.home import written_folders
from distilsearch.operators import Serving
from distilsearch.progress import Between, Progress, nothing, silent

from .serving.losses import ServedLoss
from .supernets.jobs import Score, TrainSuper
from .work.cuts import Cut
from .work.evaluating import Evaluate
from .work.of_students import Needs as Needs
from .work.of_students import OfStudents, architectures_in, given
from .work.wire import failure, parsed, plain_error, plain_failure, rebuilt, strict

if TYPE_CHECKING:  # a child answers for what it needs, and starts in no time
    from distilsearch.distill.rehearsal import Rehearsal
    from distilsearch.distill.store.trial import Trial
    from distilsearch.profiling.clock import Measured


class Job(Protocol):
    """What an executor runs. `plugins`: modules that are loaded first, wherever it runs."""

    kind: ClassVar[str]

    @property
    def plugins(self) -> tuple[str, ...]:
        """Modules that are loaded first."""

    @property
    def needs(self) -> Needs:
        """What it asks of a machine."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, by field."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""

    def run(self, progress: Progress, between: Between) -> Any:
        """Do it, where it was sent to, and answer in plain JSON; `between` is called where nothing is half done."""

    def read(self, data: Any) -> Any:
        """The answer of `run` as a value."""


@dataclass(frozen=True)
class Distil(OfStudents):
    """Distil students side by side, or go on with them; answers a trial or a `TrialError` for each."""

    kind: ClassVar[str] = "distil"

    def run(self, progress: Progress, between: Between) -> list[dict[str, Any]]:
        """Train what is not in the archive yet."""
        from .work.work import distilled

        made = distilled(self, progress, between)
        return [plain_failure(one) if isinstance(one, TrialError) else one.to_json() for one in made]

    def read(self, data: Any) -> "list[Trial | TrialError]":
        """The trials, brought into this machine's archive, or the errors that they failed with."""
        from distilsearch.distill.store.trial import Trial

        from .work.work import fetched

        return [failure(one) if "cause" in one else fetched(Trial.from_json(one), self.depot) for one in data]


@dataclass(frozen=True)
class Measure:
    """Measure whole models, all in one pause of those who train; answers a `Measured` for each."""

    kind: ClassVar[str] = "measure"
    architectures: tuple[Architecture, ...]
    device: str
    serving: Serving
    depot: str = ""
    plugins: tuple[str, ...] = ()

    @property
    def needs(self) -> Needs:
        """The device, alone."""
        return Needs(self.device, self.serving.threads, exclusive=True)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, by field."""
        parts = {"architectures": [a.to_json() for a in self.architectures], "serving": self.serving.to_json()}
        return vars(self) | parts

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Measure":
        """The inverse of `to_json`."""
        serving = Serving.from_json(data["serving"])
        return cls(**given(data, architectures=architectures_in(data), serving=serving))

    def run(self, progress: Progress, between: Between) -> list[dict[str, Any]]:
        """Time them; the table of this machine keeps the rounds."""
        from .work.work import measured

        return [one.to_json() for one in measured(self, progress)]

    def read(self, data: Any) -> "list[Measured]":
        """What was measured."""
        from distilsearch.profiling.clock import Measured

        return [Measured.from_json(one) for one in data]


@dataclass(frozen=True)
class Profile:
    """Time what the table of a device lacks of a space; answers the fingerprints of device and stack.

    `genes`, `facts`: choices and teacher facts that make the space of a family, as plain JSON; `source`: the name and
    options of a source that bounds it. `budget_seconds`: that it may take, the most valuable first; None is as long as
    it needs.
    """

    kind: ClassVar[str] = "profile"
    family: str
    genes: Mapping[str, Any]
    facts: Mapping[str, Any] | None
    device: str
    serving: Serving
    depot: str = ""
    plugins: tuple[str, ...] = ()
    budget_seconds: float | None = None
    source: Mapping[str, Any] | None = None

    @property
    def needs(self) -> Needs:
        """The device, alone."""
        return Needs(self.device, self.serving.threads, exclusive=True)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, by field."""
        facts = None if self.facts is None else dict(self.facts)
        return (
            vars(self)
            | {"genes": dict(self.genes), "facts": facts, "serving": self.serving.to_json()}
            | ({"source": dict(self.source)} if self.source else {})
        )

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Profile":
        """The inverse of `to_json`."""
        return cls(**given(data, serving=Serving.from_json(data["serving"])))

    def run(self, progress: Progress, between: Between) -> list[str]:
        """Time what the table lacks; nothing where it covers the space."""
        from .work.work import profiled

        return list(profiled(self, progress, between))

    def read(self, data: Any) -> tuple[str, str]:
        """Fingerprints of device and stack: the table's folder in a store."""
        device, stack = data
        return str(device), str(stack)


@dataclass(frozen=True)
class TeacherLoss:
    """The teacher's own loss on the held-out blocks of a text, both by key; answers a `Held`.

    `quality` is what the loss is. A teacher that has no head for it is lent one, and that is said.
    """

    kind: ClassVar[str] = "teacher_loss"
    teacher: str
    text: str
    depot: str = ""
    threads: int | None = None
    plugins: tuple[str, ...] = ()
    quality: str = LOSS

    @property
    def needs(self) -> Needs:
        """A worker that trains."""
        return Needs(threads=self.threads)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, by field."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "TeacherLoss":
        """The inverse of `to_json`."""
        return cls(**given(data))

    def run(self, progress: Progress, between: Between) -> dict[str, Any]:
        """The loss, the parts it was made of, and what is to be said of them."""
        from .work.work import teacher_loss

        return asdict(teacher_loss(self))

    def read(self, data: Any) -> Held:
        """The loss, with its parts."""
        return Held(float(data["loss"]), dict(data["parts"]), str(data["said"]))


@dataclass(frozen=True)
class Rehearse(OfStudents):
    """Take some steps of trainings, so that a plan can be made of how long they take; answers a `Rehearsal` each.

    `probe`: blocks of the probe that students will be scored on.
    """

    kind: ClassVar[str] = "rehearse"
    probe: int = 0

    def run(self, progress: Progress, between: Between) -> list[dict[str, Any]]:
        """Take the steps; nothing of the students is kept."""
        from .work.work import rehearsed

        return [one.to_json() for one in rehearsed(self, between)]

    def read(self, data: Any) -> "list[Rehearsal]":
        """What was timed."""
        from distilsearch.distill.rehearsal import Rehearsal

        return [Rehearsal.from_json(one) for one in data]


@dataclass(frozen=True)
class Probe:
    """Train a small stand-in for some seconds, and resolve the precision that was asked for where it trains.

    Answers `{"precision", "steps_per_second", "tokens_per_second"}`.
    """

    kind: ClassVar[str] = "probe"
    device: str = "cpu"
    threads: int | None = None
    seconds: float = 2.0
    precision: str = "float32"
    plugins: tuple[str, ...] = ()

    @property
    def needs(self) -> Needs:
        """A worker that trains."""
        return Needs(self.device, self.threads)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, by field."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Probe":
        """The inverse of `to_json`."""
        return cls(**given(data))

    def run(self, progress: Progress, between: Between) -> dict[str, Any]:
        """Train the stand-in; its speed and precision."""
        from .work.probe import probed
        from .work.work import visible

        return probed(visible(self.device), self.seconds, self.precision, between)

    def read(self, data: Any) -> dict[str, Any]:
        """The answer of `run`, unchanged."""
        return dict(data)


OURS: tuple[type[Job], ...] = (
    Distil, Rehearse, Cut, TrainSuper, Score, Measure, Profile, TeacherLoss, Probe, Evaluate, ServedLoss,
)  # fmt: skip
JOBS: dict[str, type[Job]] = {job.kind: job for job in OURS}


def dumps(job: Job) -> str:
    """A job as one line of strict JSON."""
    return strict({"kind": job.kind, "plugins": list(job.plugins), "job": job.to_json()})


def loads(text: str) -> Job:
    """The inverse of `dumps`, after the job's plugins have been loaded; an `InputError` where no such job is known."""
    data = parsed(text)
    plugins.load(data["plugins"])
    if data["kind"] not in JOBS:
        raise unknown("job", data["kind"], JOBS)
    kind: Any = JOBS[data["kind"]]
    newer = sorted(set(data["job"]) - {field.name for field in fields(kind)})
    if newer:
        raise RunError(f"a job {data['kind']!r} with {', '.join(newer)} comes from a newer version of distilsearch")
    job: Job = kind.from_json(data["job"] | {"plugins": tuple(data["plugins"])})
    return job


def perform(text: str, progress: Progress = silent, between: Between = nothing) -> str:
    """Run a job that came as text and return its answer as text; whatever it raises is an answer too.

    The answer says how long it took, and how long it paused while others measured: `seconds`, `paused_seconds`.
    """
    from .executors.cores import held_for

    started = time.monotonic()
    try:
        job = loads(text)
        with held_for(job.needs, progress, between) as hold:
            result = job.run(hold.progress, hold.between)
            took = {"seconds": time.monotonic() - started, "paused_seconds": hold.paused_seconds}
        return strict({"answer": result, **took})
    except Exception as error:  # a trial must not kill the run: the cause goes to the ledger, the trace to the log
        return strict({"error": plain_error(_said(error))})


def _said(error: Exception) -> Exception:
    """What is answered of an error: a full disk is told from a trial's own failure."""
    if is_full(error):
        return disk_full(error, written_folders())
    if not isinstance(error, DistilSearchError):
        traceback.print_exc()
    return error


def answer(job: Job, text: str) -> Any:
    """The typed answer of a job.

    Raises:
        DistilSearchError: what the job raised, as the class of `distilsearch.errors` that it was; anything that is
            not ours is a transient `TrialError`.
    """
    data = parsed(text)
    if "error" in data:
        raise rebuilt(data["error"])
    return job.read(data["answer"])
