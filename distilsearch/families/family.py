"""What the rest of the house asks of a family of models, and nothing else is ever asked.

Whoever distils, profiles or serves reads this and no family's file: names of parameters, positions of padding, fused
projections and what of a model is never trained are the family's own to know.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from ..architecture import Architecture, Value
from ..operators import Serving
from ..sites import Site
from ..space import SearchSpace


@dataclass(frozen=True)
class TeacherFacts:
    """What a family needs to know of a teacher. `head`: "embedding", "mlm" or "causal"; `pool`: of `shared.POOLS`.

    The last ones matter to some families only; 0 where a teacher has no such thing. `extra` is for genes that no field
    here stands for; `facts[gene]` reads either.
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
    bias: int = 0  # 1: the decoder's projections of queries, keys and values have biases
    mlp_bias: int = 0  # 1: the decoder's feed-forward projections have biases
    window: int = 0  # tokens that each token of a decoder looks back at; 0: all
    tied: int = 0  # 1: the decoder's output table is its embedding table
    bottleneck: int = 0  # MobileBERT's inner width
    stacks: int = 0  # feed-forward networks a layer
    embedding: int = 0  # width of a factorised embedding table
    extra: Mapping[str, Value] = field(default_factory=dict, hash=False)

    def __getitem__(self, gene: str) -> Any:
        """The teacher's own value of a gene; a `KeyError` where it has none."""
        if gene in self.extra:
            return self.extra[gene]
        if gene not in self.__dataclass_fields__:
            raise KeyError(f"the facts of a {self.family} teacher say nothing of {gene!r}")
        return getattr(self, gene)


@dataclass(frozen=True, eq=False)
class Projection:
    """A linear map of a layer: a module of its own, or some of the outputs of a module that computes several at once.

    `rows` (a slice or an index tensor) picks its outputs from the module's; None is all of them.
    """

    module: Any
    rows: Any = None

    def of(self, output: Any) -> Any:
        """Its part (..., outputs) of what the module has given (..., o)."""
        return output if self.rows is None else output[..., self.rows]

    @property
    def weight(self) -> Any:
        """(outputs, inputs)."""
        return self.module.weight if self.rows is None else self.module.weight[self.rows]

    @property
    def outputs(self) -> int:
        """How many numbers it gives a token."""
        return int(self.weight.shape[0])

    @property
    def inputs(self) -> int:
        """How many numbers of a token it reads."""
        return int(self.module.weight.shape[1])


class Layer(NamedTuple):
    """The projections of one layer that statistics and losses look at."""

    query: Projection
    key: Projection
    value: Projection
    output: Projection  # from the heads back to the residual stream
    down: Projection  # from the feed-forward units back to the residual stream
    inner: Mapping[str, tuple[Projection, ...]] = {}  # what else can be cut: its name, and who reads it


class Family(Protocol):
    """Everything the rest of the house asks of a family of models."""

    name: str

    @property
    def teachers(self) -> tuple[str, ...]:
        """The model types of teachers whose students this family makes; those of its own kind first."""

    @property
    def rotates(self) -> bool:
        """Whether a teacher's stream between layers can be cut along any directions; else along its coordinates."""

    @property
    def sliced(self) -> tuple[str, ...]:
        """The genes by which the top-left slices of one model's weights are the smaller models of the family.

        A super-network shares weights along them. Empty where slices are no models, or nobody has tried: queries that
        share keys in groups, or bottlenecks between layers, are more than their first rows and columns.
        """

    # What there is to choose, and what it costs

    def space(
        self, choices: Mapping[str, Sequence[Value]] | None = None, teacher: TeacherFacts | None = None
    ) -> SearchSpace:
        """The search space with the given choices; omitted genes take their default choices."""

    def sites(self, serving: Serving) -> tuple[Site, ...]:
        """Where operators stand in a model of this family."""

    # Teachers

    def facts(self, config: Any, name: str, head: str, pool: str = "mean") -> TeacherFacts:
        """The facts of a teacher from its transformers configuration."""

    def architecture(self, facts: TeacherFacts) -> Architecture:
        """The teacher's own architecture, so that it can be lowered and measured like a student."""

    def longest(self, config: Any) -> int:
        """The most tokens of a text that a model of this configuration reads."""

    # Models, and how they are run

    def config(self, architecture: Architecture, teacher_config: Any = None) -> Any:
        """The transformers configuration of a student."""

    def build(self, architecture: Architecture, teacher_config: Any = None) -> Any:
        """A transformers model with fresh random weights, in evaluation mode."""

    def serve(self, model: Any, architecture: Architecture, input_ids: Any, attention_mask: Any) -> Any:
        """What is served: normalised embeddings (batch, width), or logits (batch, sequence, vocabulary)."""

    def prefill(self, model: Any, input_ids: Any) -> tuple[Any, Any]:
        """The logits (batch, vocabulary) after a prompt (batch, sequence), and the cache.

        Families that do not generate refuse it, as `sites` refuses their phases, with an `InputError`.
        """

    def decode_step(self, model: Any, token: Any, cache: Any) -> Any:
        """The logits (batch, vocabulary) after one more token (batch, 1); the cache is as long as before."""

    def encode(self, model: Any, inputs: Mapping[str, Any], every_layer: bool = False) -> Any:
        """What a model makes of its inputs before its head: `last_hidden_state` (batch, sequence, width).

        `every_layer` adds `hidden_states`: the embeddings, then the same of each layer.
        """

    def transform(self, model: Any, hidden: Any) -> Any:
        """Hidden states (k, w) of the last layer as the output table takes them."""

    def decode(self, model: Any, transformed: Any) -> Any:
        """Logits (k, vocabulary) of transformed states."""

    # Models, and what they are made of

    def layers(self, model: Any) -> list[Layer]:
        """The projections of each layer that statistics and losses look at."""

    def layer_of(self, parameter: str) -> int | None:
        """The layer that a parameter of a model belongs to, by its name; none where it stands outside of them."""

    def idle(self, parameter: str) -> bool:
        """Whether a parameter, by its name, has no part in what is served, and so is never trained."""

    def words_inherited(self, architecture: Architecture, teacher: TeacherFacts) -> bool:
        """Whether a student's word table is cut from its teacher's; else it starts at random."""

    def words_mapped(self, architecture: Architecture, teacher: TeacherFacts) -> bool:
        """Whether the teacher's word table times a matrix can stand for the student's own while it is trained."""

    def inherit(
        self, student: Any, teacher: Any, architecture: Architecture, guide: Mapping[str, Any] | None = None
    ) -> None:
        """Cut the teacher's weights to the student's sizes, in place; `guide` says which parts matter most.

        In a family that is `sliced`, a guide whose "ordered" is true asks for heads and units in their order, so that
        the first ones are the best of any smaller cut too.
        """
