"""The job that scores a model by an evaluation, and what comes of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from distilsearch.progress import Between, Progress

from .of_students import Needs

if TYPE_CHECKING:
    from distilsearch.distill.job import Training
    from distilsearch.distill.recipes import Recipe


@dataclass(frozen=True)
class Scored:
    """Scores by name, and how long they took; 0 where they were known."""

    values: Mapping[str, float]
    seconds: float = 0.0


@dataclass(frozen=True)
class Evaluate:
    """Score a student of the archive, which keeps its scores, or the teacher; answers a `Scored`.

    `training` says teacher and text, `data` is the key of what the evaluation is held against ("" where it needs
    nothing but those), `prompt` the name of a prompt, `trial` the key of the student's trial ("" for the teacher).
    `text` is the key of another text that the evaluation is on. With a `recipe`, that of its training, the student is
    scored as it was before its first step.
    """

    kind: ClassVar[str] = "evaluate"
    training: "Training"
    evaluation: str
    data: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    prompt: str = ""
    trial: str = ""
    depot: str = ""
    threads: int | None = None
    plugins: tuple[str, ...] = ()
    text: str = ""
    recipe: "Recipe | None" = None

    @property
    def needs(self) -> Needs:
        """A worker that trains; evaluations run on its processor."""
        return Needs(threads=self.threads)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, by field."""
        plain = vars(self) | {"training": self.training.to_json(), "options": dict(self.options)}
        plain |= {"recipe": self.recipe.to_json()} if self.recipe else {}
        return {name: value for name, value in plain.items() if value or name not in ("text", "recipe")}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Evaluate":
        """The inverse of `to_json`."""
        from distilsearch.distill.job import Training
        from distilsearch.distill.recipes import Recipe

        parts: dict[str, Any] = {
            "training": Training.from_json(data["training"]),
            "plugins": tuple(data.get("plugins", ())),
        }
        parts |= {"recipe": Recipe.from_json(data["recipe"])} if data.get("recipe") else {}
        return cls(**dict(data) | parts)

    def run(self, progress: Progress, between: Between) -> dict[str, Any]:
        """Score it, or find the score that was kept."""
        from .work import evaluated

        scored = evaluated(self, progress, between)
        return {"values": dict(scored.values), "seconds": scored.seconds}

    def read(self, data: Any) -> Scored:
        """The scores."""
        return Scored({str(name): float(value) for name, value in data["values"].items()}, float(data["seconds"]))
