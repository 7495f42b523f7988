"""The facts of a run that its result is made of: values, taken when the search has ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distilsearch.architecture import Architecture
from distilsearch.distill.quality import LOSS
from distilsearch.distill.store.trial import Trial
from distilsearch.operators import Serving

from ...report.schema import ProxyEntry, RankFidelity
from ..ledger import Entry
from ..serving.judging import Judging
from ..serving.losses import TRAINED, Losses
from ..serving.served import served_of

if TYPE_CHECKING:
    from ..machines.machines import Latency


@dataclass(frozen=True)
class MachineFacts:
    """One serving machine at the end of a run.

    `limit` is how the run file says `limit_ms` where it names a share of the teacher's latency. `latencies` are of the
    teacher and of every trial, by key of the architecture; so is `slowness`, how many times slower than when quiet the
    machine ran (by the sentinel) while one was measured, and `repeats`, the factor between two sessions of one; `table`
    is the folder of its latency table, `tables` those of further runtimes, by name; `beyond` the keys of those that
    break its limits on parameters or memory.
    """

    objective: str
    device: str
    serving: Mapping[str, Any]
    local: bool
    latencies: Mapping[str, "Latency"]
    limit_ms: float | None = None
    limit: str | None = None
    noise_floor: float | None = None
    table: str | None = None
    slowness: Mapping[str, float] = field(default_factory=dict)
    repeats: Mapping[str, float] = field(default_factory=dict)
    beyond: frozenset[str] = frozenset()
    tables: Mapping[str, str] = field(default_factory=dict)

    def keeps(self, architecture: Architecture) -> bool:
        """Whether a student keeps the limits on parameters and memory."""
        return architecture.key not in self.beyond

    def latency(self, architecture: Architecture) -> "Latency":
        """What is predicted and measured of a student, or of the teacher."""
        return self.latencies[architecture.key]


@dataclass(frozen=True)
class Final:
    """The longest training of a student: key and length of its trial, the loss it came to, and what that is made of.

    `untrained`: the loss before its first step, and on how many held-out blocks alone that was taken; None where it is
    not known, or where on all. `served`: its losses as it is served, where it was judged so.
    """

    trial: str
    tokens: int
    loss: float
    parts: Mapping[str, float] = field(default_factory=dict)
    served: Losses | None = None
    untrained: tuple[float | None, int | None] = (None, None)

    def losses_of(self, entry: Entry) -> Losses:
        """Its losses, as far as the trial of a pair was judged as it is served."""
        return self.served if self.served is not None and TRAINED in entry.facts else Losses(self.loss)


def finals_of(trials: Mapping[str, Trial], judging: Judging | None) -> dict[str, Final]:
    """The trainings that finished students, by the key of each, judged as they are served where that is asked for."""
    losses = judging.of(list(trials.values())) if judging else [None] * len(trials)
    pairs = zip(trials.items(), losses, strict=True)
    return {
        key: Final(
            trial.key, trial.tokens, trial.loss, trial.parts, own, (trial.untrained_loss, trial.untrained_blocks)
        )
        for (key, trial), own in pairs
    }


@dataclass(frozen=True)
class RunFacts:
    """All that a result is made of. Losses are to be minimised, latencies in ms, phases in seconds.

    `entries` are the ledger's; `choose` names one of `choice.CHOICES`; `finals` are the trainings that finished
    students, by the key of the architecture; `unfinished` says why others were not, by the key of the pair; `students`
    the exported folders by the key of the pair, relative to `folder`, and `handing` what is to be said of those whose
    files were damaged; `proxy` what candidates came to on the proxy task; `diagnostics` the engine's;
    `fidelity` what `distilsearch fidelity` has measured for this run; `quality` what the losses are, of
    `distill.quality.QUALITIES`; `teacher_parts` what the teacher's is made of;
    `remarks` what a reader must know of how the teacher was asked; `shortened` what phases had no time for.
    """

    folder: Path
    name: str
    teacher: str
    teacher_kind: str
    teacher_architecture: Architecture
    teacher_loss: float | None
    entries: Sequence[Entry]
    machines: Sequence[MachineFacts]
    reference: Mapping[str, float]
    choose: str = "knee"
    loss_at_most: float | None = None
    finals: Mapping[str, Final] = field(default_factory=dict)
    unfinished: Mapping[str, str] = field(default_factory=dict)
    students: Mapping[str, str] = field(default_factory=dict)
    handing: Sequence[str] = ()
    proxy: ProxyEntry | None = None
    diagnostics: Mapping[str, Any] | None = None
    fidelity: RankFidelity | None = None
    phases: Mapping[str, float] = field(default_factory=dict)
    shortened: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    quality: str = LOSS
    teacher_parts: Mapping[str, float] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    def serving_of(self, entry: Entry) -> Serving:
        """How the pair of a trial is served on the first machine."""
        return Serving.from_json({**self.machines[0].serving, **served_of(entry.architecture)})

    def artefact_of(self, entry: Entry) -> str:
        """What a trial was judged as; "" where that is the student as it was trained."""
        return self.serving_of(entry).artefact if TRAINED in entry.facts else ""

    def said_of(self, entry: Entry) -> dict[str, Any]:
        """What a card says of how a pair is served; nothing where no more than the trained student is."""
        chosen, serving = served_of(entry.architecture), self.serving_of(entry)
        if not chosen and not serving.artefact:
            return {}
        judged = {"held-out loss": f"{entry.values[0]:.4f}"} if TRAINED in entry.facts else {}
        return {"runtime": serving.runtime, "dtype": serving.dtype, **chosen, **judged}
