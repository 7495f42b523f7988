"""The model families: all that is known of one family is in its one file.

A new family is a new file of the same shape and one line in `FAMILIES`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..architecture import Architecture, Value
from ..errors import unknown
from ..operators import Serving
from ..sites import Site
from ..space import SearchSpace


@dataclass(frozen=True)
class TeacherFacts:
    """What a family needs to know of a teacher. `head`: "embedding", "mlm" or "causal"; `pool`: "mean" or "cls"."""

    name: str
    family: str
    layers: int
    width: int
    heads: int
    ffn: int
    vocabulary: int
    positions: int
    types: int
    activation: str = "gelu"
    head: str = "embedding"
    pool: str = "mean"


class Family(Protocol):
    """Everything the rest of the house asks of a family of models."""

    name: str

    def space(
        self, choices: Mapping[str, Sequence[Value]] | None = None, teacher: TeacherFacts | None = None
    ) -> SearchSpace:
        """The search space with the given choices; omitted genes take their default choices."""

    def sites(self, serving: Serving) -> tuple[Site, ...]:
        """Where operators stand in a model of this family."""

    def facts(self, config: Any, name: str, head: str, pool: str = "mean") -> TeacherFacts:
        """The facts of a teacher from its transformers configuration."""

    def architecture(self, facts: TeacherFacts) -> Architecture:
        """The teacher's own architecture, so that it can be lowered and measured like a student."""

    def config(self, architecture: Architecture, teacher_config: Any = None) -> Any:
        """The transformers configuration of a student."""

    def build(self, architecture: Architecture, teacher_config: Any = None) -> Any:
        """A transformers model with fresh random weights, in evaluation mode."""

    def serve(self, model: Any, architecture: Architecture, input_ids: Any, attention_mask: Any) -> Any:
        """What is served: normalised embeddings (batch, width), or logits (batch, sequence, vocabulary)."""

    def inherit(
        self, student: Any, teacher: Any, architecture: Architecture, guide: Mapping[str, Any] | None = None
    ) -> None:
        """Cut the teacher's weights to the student's sizes, in place; `guide` says which parts matter most."""


def family(name: str) -> Family:
    """The family of that name; an `InputError` names the nearest known one."""
    if name not in FAMILIES:
        raise unknown("family", name, FAMILIES)
    return FAMILIES[name]


from .bert import BERT  # noqa: E402  (families are written in terms of what stands above)

FAMILIES: dict[str, Family] = {BERT.name: BERT}
