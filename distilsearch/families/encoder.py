"""What encoders of BERT's kind share: post-norm layers with learned positions, a pooler, a tied output table.

Genes: `layers`, `width`, `heads`, `ffn`, `activation`, and `inherit`, the rule for which teacher layers a student
starts from ("none": random weights). Constants, taken from the teacher so that an architecture alone fixes every
shape: `vocabulary`, `positions`, `types`, `head` (what is served: "embedding" or "mlm") and `pool`.

Notable: `Encoder` is abstract. Each family is a final class of its own file, which says what is not shared: its
genes, its configuration and models, its head.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..architecture import Architecture, Value
from ..operators import Operator, Serving, Size, canonical_activation
from ..sites import Site, only, repeated
from ..space import Constraint, SearchSpace
from .family import Layer, Projection, TeacherFacts
from .shared import (
    INHERIT,
    POOLS,
    TIMED,
    Genes,
    best,
    check_activation,
    check_head,
    check_settings,
    check_type,
    copy_parts,
    head_rows,
    layer_named,
    no_generation,
    only_encodes,
    pooled,
    pooling_cost,
)

if TYPE_CHECKING:
    from torch import Tensor

CHOICES: dict[str, tuple[Value, ...]] = {
    "layers": (1, 2, 3, 4, 6, 8, 12),
    "width": (128, 192, 256, 320, 384, 512, 640, 768),
    "heads": (2, 3, 4, 5, 6, 8, 10, 12, 16),
    "ffn": (256, 384, 512, 768, 1024, 1536, 2048, 3072),
    "inherit": ("even", "first", "last"),
    "activation": ("gelu",),
    "vocabulary": (30522,),
    "positions": (512,),
    "types": (2,),
    "head": ("embedding",),
    "pool": ("mean",),
}
HEADS = ("embedding", "mlm")
CONSTANTS = ("vocabulary", "positions", "types", "head", "pool")
MIN_HEAD_SIZE, MAX_HEAD_SIZE = 16, 64
WORDS: dict[str, tuple[Value, ...]] = {"inherit": INHERIT, "head": HEADS, "pool": POOLS, "activation": TIMED}
KEPT = ("layer_norm_eps", "initializer_range", "pad_token_id", "bos_token_id", "eos_token_id")
ONLY = {"is_decoder": False, "add_cross_attention": False, "position_embedding_type": "absolute"}
BEFORE = "encoder.layer."  # what stands before the number of a layer in the names of parameters
AXES: dict[str, tuple[str, ...]] = {  # what each axis of a weight runs over: (rows, columns), or (rows,) of a bias
    "attention.self.": ("inner", "residual"),
    "attention.output.dense.": ("residual", "inner"),
    "intermediate.dense.": ("ffn", "residual"),
    "output.dense.": ("residual", "ffn"),
    "pooler.dense.": ("residual", "residual"),
    "transform.dense.": ("residual", "residual"),
    "_embeddings.": ("all", "residual"),
}


class Encoder(ABC):
    """A family of encoders; final classes say what is their own."""

    name: str
    teachers: tuple[str, ...]
    choices: Mapping[str, tuple[Value, ...]] = CHOICES
    only: Mapping[str, Any] = ONLY  # of a teacher's settings that no gene stands for, the values that students have
    rotates = True
    sliced: tuple[str, ...] = ("layers", "width", "ffn")
    axes: Mapping[str, tuple[str, ...]] = AXES  # of the parts of a parameter's name, the first that fits counts

    @property
    def genes(self) -> Genes:
        """The genes, and what a teacher decides of them."""
        return Genes(self.name, self.choices, ("layers", "width", "ffn"), CONSTANTS, WORDS)

    def space(
        self, choices: Mapping[str, Sequence[Value]] | None = None, teacher: TeacherFacts | None = None
    ) -> SearchSpace:
        """The space of students; with a teacher, constants are its own and no student is larger than it."""
        fits = Constraint(
            ("width", "heads"),
            lambda width, heads: width % heads == 0 and MIN_HEAD_SIZE <= width // heads <= MAX_HEAD_SIZE,
            f"heads must divide width into heads of size {MIN_HEAD_SIZE} to {MAX_HEAD_SIZE}",
        )
        return self.genes.space(choices, teacher, [fits])

    def sites(self, serving: Serving) -> tuple[Site, ...]:
        """Embedding, `layers` x (projections, attention, norms, feed-forward), then pooling or the output head."""
        only_encodes(self.name, serving)
        b, s = serving.batch, serving.sequence

        def linear(inputs: int, outputs: int, activation: str = "none", tokens: int = s) -> Operator:
            sizes: dict[str, Size] = {"inputs": inputs, "outputs": outputs, "bias": 1}
            sizes |= {"activation": canonical_activation(activation)}
            return Operator("linear", {"batch": b, "sequence": tokens, **sizes})

        def embedding(width: int, vocabulary: int, positions: int, types: int) -> Operator:
            sizes = {"width": width, "vocabulary": vocabulary, "positions": positions, "types": types}
            return Operator("embedding", {"batch": b, "sequence": s, "norm": "layer", **sizes})

        def attention(width: int, heads: int) -> Operator | None:
            if width % heads:
                return None
            sizes = {"heads": heads, "kv_heads": heads, "head_size": width // heads, "causal": 0, "cached": 0}
            return Operator("attention", {"batch": b, "sequence": s, **sizes})

        def norm(width: int) -> Operator:
            return Operator("norm", {"batch": b, "sequence": s, "width": width, "norm": "layer", "residual": 1})

        def pooling(width: int, pool: str) -> Operator:
            sizes: dict[str, Size] = {"width": width, "pool": pooling_cost(pool), "normalize": 1}
            return Operator("pooling", {"batch": b, "sequence": s, **sizes})

        def mlm(width: int, vocabulary: int) -> Operator:
            sizes = {"width": width, "vocabulary": vocabulary, "transform": 1, "tied": 1}
            return Operator("head", {"batch": b, "sequence": s, **sizes})

        return (
            Site("embedding", ("width", "vocabulary", "positions", "types"), embedding),
            repeated("query, key, value, output", ("width",), lambda w: linear(w, w), 4),
            repeated("attention", ("width", "heads"), attention),
            repeated("norms", ("width",), norm, 2),
            repeated("up", ("width", "ffn", "activation"), linear),
            repeated("down", ("width", "ffn"), lambda w, f: linear(f, w)),
            only("head", "embedding", "pooler", ("width",), lambda w: linear(w, w, "tanh", 1)),
            only("head", "embedding", "pooling", ("width", "pool"), pooling),
            only("head", "mlm", "head", ("width", "vocabulary"), mlm),
        )

    def facts(self, config: Any, name: str, head: str, pool: str = "mean") -> TeacherFacts:
        """The facts of a teacher of this family."""
        check_type(config, name, self.teachers)
        check_head(config, name, head, HEADS)
        check_activation(config, name)
        check_settings(config, name, self.only)
        return TeacherFacts(
            name=name,
            family=self.name,
            layers=config.num_hidden_layers,
            width=config.hidden_size,
            heads=config.num_attention_heads,
            ffn=config.intermediate_size,
            vocabulary=config.vocab_size,
            positions=config.max_position_embeddings,
            types=config.type_vocab_size,
            activation=config.hidden_act,
            head=head,
            pool=pool,
        )

    def architecture(self, facts: TeacherFacts) -> Architecture:
        """The teacher as an architecture of this family."""
        values: dict[str, Value] = {gene: facts[gene] for gene in self.choices if gene != "inherit"}
        return Architecture(self.name, values | {"inherit": "even"})

    def longest(self, config: Any) -> int:
        """As many tokens as there are positions."""
        return int(config.max_position_embeddings)

    @abstractmethod
    def config(self, architecture: Architecture, teacher_config: Any = None) -> Any:
        """The configuration of a student; what is no gene (special tokens, norm epsilon) is the teacher's."""

    def settings(self, architecture: Architecture) -> dict[str, Any]:
        """What the genes fix in a configuration."""
        a: Mapping[str, Any] = architecture.values
        return {
            "num_hidden_layers": a["layers"],
            "hidden_size": a["width"],
            "num_attention_heads": a["heads"],
            "intermediate_size": a["ffn"],
            "hidden_act": a["activation"],
            "vocab_size": a["vocabulary"],
            "max_position_embeddings": a["positions"],
            "type_vocab_size": a["types"],
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        }

    @abstractmethod
    def build(self, architecture: Architecture, teacher_config: Any = None) -> Any:
        """A model without a head for embedding students, else one that fills in words."""

    def layers(self, model: Any) -> list[Layer]:
        """The layers of a model of this family, teacher or student."""
        return [
            Layer(
                Projection(layer.attention.self.query),
                Projection(layer.attention.self.key),
                Projection(layer.attention.self.value),
                Projection(layer.attention.output.dense),
                Projection(layer.output.dense),
            )
            for layer in model.base_model.encoder.layer
        ]

    def layer_of(self, parameter: str) -> int | None:
        """The layer that a parameter belongs to."""
        return layer_named(parameter, BEFORE)

    def idle(self, parameter: str) -> bool:
        """The pooler's: what is served is pooled otherwise."""
        return "pooler." in parameter

    def words_inherited(self, architecture: Architecture, teacher: TeacherFacts) -> bool:
        """Unless everything is random."""
        return architecture["inherit"] != "none"

    def words_mapped(self, architecture: Architecture, teacher: TeacherFacts) -> bool:
        """Of embedding students of the teacher's own family; in others the table is the output head too."""
        return teacher.head == "embedding" and teacher.family == self.name and architecture["inherit"] != "none"

    def encode(self, model: Any, inputs: Mapping[str, Any], every_layer: bool = False) -> Any:
        """What the model makes of its inputs before its head."""
        return model.base_model(**inputs, **({"output_hidden_states": True} if every_layer else {}))

    @abstractmethod
    def transform(self, model: Any, hidden: Any) -> Any:
        """What the output table is multiplied with: hidden states (k, w) -> (k, w)."""

    @abstractmethod
    def decode(self, model: Any, transformed: Any) -> Any:
        """Logits (k, vocabulary) of transformed states (k, w)."""

    def serve(self, model: Any, architecture: Architecture, input_ids: Any, attention_mask: Any) -> Any:
        """Normalised pooled embeddings (batch, width), or masked-LM logits (batch, sequence, vocabulary)."""
        output = model(input_ids=input_ids, attention_mask=attention_mask)
        if architecture["head"] == "mlm":
            return output.logits
        return pooled(output.last_hidden_state, attention_mask, str(architecture["pool"]))

    def prefill(self, model: Any, input_ids: Any) -> tuple[Any, Any]:
        """Refused: an encoder reads no prompt."""
        raise no_generation(self.name, "prefill")

    def decode_step(self, model: Any, token: Any, cache: Any) -> Any:
        """Refused: an encoder writes no text."""
        raise no_generation(self.name, "decode")

    def inherit(
        self, student: Any, teacher: Any, architecture: Architecture, guide: "Mapping[str, Tensor] | None" = None
    ) -> None:
        """Cut the chosen teacher layers to the student's sizes, in place.

        `guide` says what to keep: "basis" (teacher width, width) maps the residual stream, "gain" is the scale of
        its norms, "heads" (layers, heads) and "ffn" (layers, ffn) are importances; where "ordered" is true, heads and
        units stand in their order, the most important one first. Without a guide: what comes first.
        """

        def cut(name: str, weight: Any, shape: Sequence[int], layer: int) -> Any:
            return _cut(name, weight, _maps(student.config, teacher.config, guide, layer), self.axes)

        copy_parts(student, teacher, architecture, BEFORE, cut)


def _cut(name: str, weight: Any, maps: Mapping[str, Any], parts: Mapping[str, tuple[str, ...]]) -> Any:
    """One teacher parameter, cut along its axes; norms take the diagonal of their cut matrix."""
    axes = next((axes for part, axes in parts.items() if part in name), ("all", "residual"))
    if axes == ("norm",) or "LayerNorm" in name:
        basis = maps["residual"]
        return basis.T @ weight if name.endswith("bias") else basis.square().T @ weight * maps["gain"]
    for axis, kind in enumerate(axes[: weight.dim()]):
        if kind == "residual":
            weight = (weight.movedim(axis, -1) @ maps[kind]).movedim(-1, axis)
        elif kind in maps:
            weight = weight.index_select(axis, maps[kind])
    return weight


def _maps(student: Any, teacher: Any, guide: "Mapping[str, Tensor] | None", layer: int) -> dict[str, Any]:
    """The residual stream's basis and gain, and which inner and feed-forward units of a teacher layer are kept."""
    import torch

    if guide is None:
        heads, units = -torch.arange(teacher.num_attention_heads), -torch.arange(teacher.intermediate_size)
        return {
            "residual": torch.eye(teacher.hidden_size)[:, : student.hidden_size],
            "gain": 1.0,
            "inner": head_rows(heads, student.hidden_size, teacher.hidden_size),
            "ffn": best(units, student.intermediate_size),
        }
    ordered = bool(guide.get("ordered", False))
    return {
        "residual": guide["basis"],
        "gain": guide["gain"],
        "inner": head_rows(guide["heads"][layer], student.hidden_size, teacher.hidden_size, ordered),
        "ffn": best(guide["ffn"][layer], student.intermediate_size, ordered),
    }
