"""What a trained student loses in each way of serving: what a search is told of it.

In float32 it is the loss as it was trained, whoever runs it: runtimes change outputs by rounding, and what is handed
over is checked against torch. In any other precision it is taken of what is served, by `ServedLoss`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from distilsearch.operators import Serving
from distilsearch.progress import Between, Progress

if TYPE_CHECKING:
    from distilsearch.distill.job import Training

    from ..ledger import Entry
    from ..work.of_students import Needs

TRAINED, SERVED, UNSERVED = "trained_loss", "served_losses", "unserved"  # facts of a trial


@dataclass(frozen=True)
class Losses:
    """Of one student: as it was `trained`, and as it is `served`, by the name of the artefact (`Serving.artefact`).

    `causes`: why it cannot be served so.
    """

    trained: float
    served: Mapping[str, float] = field(default_factory=dict)
    causes: Mapping[str, str] = field(default_factory=dict)

    def of(self, artefact: str) -> float | None:
        """Its loss as an artefact; None where it cannot be served so. What nobody has judged is as it was trained."""
        return None if artefact in self.causes else self.served.get(artefact, self.trained)

    @property
    def facts(self) -> dict[str, Any]:
        """What the ledger keeps; nothing where nothing was judged."""
        if not (self.served or self.causes):
            return {}
        causes = {UNSERVED: dict(self.causes)} if self.causes else {}
        return {TRAINED: self.trained, SERVED: dict(self.served), **causes}

    @classmethod
    def noted(cls, entry: "Entry") -> "Losses | None":
        """What the ledger says of the student of a trial; None of one that was not trained."""
        facts = entry.facts
        if TRAINED in facts:
            return cls(float(facts[TRAINED]), facts[SERVED], facts.get(UNSERVED, {}))
        return cls(entry.values[0]) if entry.state == "complete" else None


def trained_loss(entry: "Entry") -> float:
    """The loss of a complete trial's student as it was trained, however it is served."""
    return float(entry.facts.get(TRAINED, entry.values[0]))


@dataclass(frozen=True)
class ServedLoss:
    """Take the held-out loss of a student of the archive as it is served; answers `Losses`, of its artefacts alone.

    `training` says teacher, text and what the loss is; `trial` is the key of the student's trial. The archive keeps
    each loss beside the student. A serving that the student cannot have costs that one alone.
    """

    kind: ClassVar[str] = "served_loss"
    training: "Training"
    trial: str
    servings: tuple[Serving, ...]
    depot: str = ""
    threads: int | None = None
    plugins: tuple[str, ...] = ()

    @property
    def needs(self) -> "Needs":
        """A worker that trains; what is served runs on its processor."""
        from ..work.of_students import Needs

        return Needs(threads=self.threads)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, by field."""
        servings = [serving.to_json() for serving in self.servings]
        return vars(self) | {"training": self.training.to_json(), "servings": servings}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "ServedLoss":
        """The inverse of `to_json`."""
        from distilsearch.distill.job import Training

        from ..work.of_students import given

        servings = tuple(Serving.from_json(one) for one in data["servings"])
        return cls(**given(data, training=Training.from_json(data["training"]), servings=servings))

    def run(self, progress: Progress, between: Between) -> dict[str, Any]:
        """Take them, or find those that were kept."""
        from ..work.work import served_losses

        losses = served_losses(self, progress, between)
        return {"trained": losses.trained, "served": dict(losses.served), "causes": dict(losses.causes)}

    def read(self, data: Any) -> Losses:
        """The losses."""
        served = {str(name): float(loss) for name, loss in data["served"].items()}
        return Losses(float(data["trained"]), served, {str(name): str(cause) for name, cause in data["causes"].items()})
