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
from .common import Layer


@dataclass(frozen=True)
class TeacherFacts:
    """What a family needs to know of a teacher. `head`: "embedding", "mlm" or "causal"; `pool`: "mean" or "cls".

    The last ones matter to some families only; 0 where a teacher has no such thing.
    """

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
    kv_heads: int = 0  # 0: as many as heads
    head_size: int = 0  # 0: width / heads
    bias: int = 0  # 1: the decoder's projections have biases
    tied: int = 0  # 1: the decoder's output table is its embedding table
    bottleneck: int = 0  # MobileBERT's inner width
    stacks: int = 0  # feed-forward networks a layer
    embedding: int = 0  # width of a factorised embedding table


class Family(Protocol):
    """Everything the rest of the house asks of a family of models."""

    name: str

    @property
    def teachers(self) -> tuple[str, ...]:
        """The model types of teachers whose students this family makes; those of its own kind first."""

    @property
    def rotates(self) -> bool:
        """Whether a teacher's stream between layers can be cut along any directions; else along its coordinates."""

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

    def layers(self, model: Any) -> list[Layer]:
        """The modules of each layer that statistics and losses look at."""

    def transform(self, model: Any, hidden: Any) -> Any:
        """Hidden states (k, w) of the last layer as the output table takes them."""

    def decode(self, model: Any, transformed: Any) -> Any:
        """Logits (k, vocabulary) of transformed states."""

    def inherit(
        self, student: Any, teacher: Any, architecture: Architecture, guide: Mapping[str, Any] | None = None
    ) -> None:
        """Cut the teacher's weights to the student's sizes, in place; `guide` says which parts matter most."""


def family(name: str) -> Family:
    """The family of that name; an `InputError` names the nearest known one."""
    if name not in FAMILIES:
        raise unknown("family", name, FAMILIES)
    return FAMILIES[name]


def family_of(model_type: str) -> Family:
    """The family whose teachers are of a transformers model type."""
    for known in FAMILIES.values():
        if known.teachers[0] == model_type:
            return known
    for known in FAMILIES.values():
        if model_type in known.teachers:
            return known
    raise unknown("model type of a teacher", model_type, {t for f in FAMILIES.values() for t in f.teachers})


from .bert import BERT  # noqa: E402  (families are written in terms of what stands above)
from .llama import LLAMA  # noqa: E402
from .mobilebert import MOBILEBERT  # noqa: E402
from .roberta import ROBERTA  # noqa: E402

FAMILIES: dict[str, Family] = {f.name: f for f in (BERT, LLAMA, MOBILEBERT, ROBERTA)}
