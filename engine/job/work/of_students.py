"""What jobs are made of: what they ask of a machine, and the fields of those that are about students in training."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from distilsearch.architecture import Architecture

if TYPE_CHECKING:  # a child answers for what it needs, and starts in no time
    from distilsearch.distill.job import Training
    from distilsearch.distill.recipes import Recipe

CACHE_LIMIT = 20_000_000_000  # bytes of teacher outputs kept on a machine


@dataclass(frozen=True)
class Needs:
    """What a job asks of a machine; an exclusive one is alone with as many cores as it has threads (None: all)."""

    device: str = "cpu"
    threads: int | None = None
    exclusive: bool = False


@dataclass(frozen=True)
class OfStudents:
    """A job about students in training: what they learn from, and where."""

    training: "Training"
    recipe: "Recipe"
    architectures: tuple[Architecture, ...]
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
        parts = {"training": self.training.to_json(), "recipe": self.recipe.to_json()}
        return vars(self) | parts | {"architectures": [a.to_json() for a in self.architectures]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        from distilsearch.distill.job import Training
        from distilsearch.distill.recipes import Recipe

        training, recipe = Training.from_json(data["training"]), Recipe.from_json(data["recipe"])
        return cls(**given(data, training=training, recipe=recipe, architectures=architectures_in(data)))


def architectures_in(data: Mapping[str, Any]) -> tuple[Architecture, ...]:
    return tuple(Architecture.from_json(one) for one in data["architectures"])


def given(data: Mapping[str, Any], **parts: Any) -> dict[str, Any]:
    """A job's fields out of plain JSON."""
    return dict(data) | {"plugins": tuple(data.get("plugins", ()))} | parts
