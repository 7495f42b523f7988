"""Jobs about super-networks: to train one, and to score its sub-networks without training any of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from distilsearch.progress import Between, Progress

from ..work.of_students import CACHE_LIMIT, Needs, OfStudents, given
from ..work.wire import failure, plain_failure

if TYPE_CHECKING:  # a child answers for what it needs, and starts in no time
    from distilsearch.distill.recipes import Recipe
    from distilsearch.distill.store.trial import Trial
    from distilsearch.distill.supernets.subspaces import SubSpace
    from distilsearch.distill.supernets.training import SuperTraining
    from distilsearch.errors import TrialError


@dataclass(frozen=True)
class TrainSuper:
    """Train a super-network, or go on with it; answers its key. `part` and `genes` make the space of its shapes."""

    kind: ClassVar[str] = "train_super"
    training: "SuperTraining"
    recipe: "Recipe"
    part: "SubSpace"
    genes: Mapping[str, Any]
    depot: str = ""
    device: str = "cpu"
    threads: int | None = None
    cache_limit: int = CACHE_LIMIT
    plugins: tuple[str, ...] = ()

    @property
    def needs(self) -> Needs:
        """The device and threads that it trains with."""
        return Needs(self.device, self.threads)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, by field."""
        parts = {name: getattr(self, name).to_json() for name in ("training", "recipe", "part")}
        return vars(self) | parts | {"genes": {gene: list(choices) for gene, choices in self.genes.items()}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "TrainSuper":
        """The inverse of `to_json`."""
        from distilsearch.distill.recipes import Recipe
        from distilsearch.distill.supernets.subspaces import SubSpace
        from distilsearch.distill.supernets.training import SuperTraining

        genes = {gene: tuple(choices) for gene, choices in data["genes"].items()}
        made = {"training": SuperTraining.from_json(data["training"]), "recipe": Recipe.from_json(data["recipe"])}
        return cls(**given(data, **made, part=SubSpace.from_json(data["part"]), genes=genes))

    def run(self, progress: Progress, between: Between) -> str:
        """Train it, unless it is here."""
        from .work import trained

        return trained(self, progress, between)

    def read(self, data: Any) -> str:
        """The key."""
        return str(data)


@dataclass(frozen=True)
class Score(OfStudents):
    """Score sub-networks of the super-network that the training starts from; answers a trial or an error for each.

    Nothing is trained, and no student is written: one is cut when it is asked for, by a `Distil` of no tokens.
    """

    kind: ClassVar[str] = "score"

    def run(self, progress: Progress, between: Between) -> list[dict[str, Any]]:
        """Evaluate what has no score yet."""
        from distilsearch.errors import TrialError

        from .work import scored

        made = scored(self, between)
        return [plain_failure(one) if isinstance(one, TrialError) else one.to_json() for one in made]

    def read(self, data: Any) -> "list[Trial | TrialError]":
        """The trials, or the errors."""
        from distilsearch.distill.store.trial import Trial

        return [failure(one) if "cause" in one else Trial.from_json(one) for one in data]
