"""MobileBERT encoders: thin layers between wide ones, several feed-forward networks each, no layer norm.

AutoDistill's space (arXiv 2201.08539) is the default: `width` between layers, `bottleneck` within, `heads`, `ffn`,
`stacks` of feed-forward networks, 24 layers. Teachers are MobileBERTs, or BERTs with the same vocabulary (of those
a student inherits the word embeddings only, by their principal directions). Students: `MobileBertForMaskedLM`,
or `MobileBertModel` for embeddings.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, final

from ..architecture import Architecture, Value
from ..operators import Operator, Serving, Size, canonical_activation
from ..sites import Site, only, repeated
from ..space import Constraint, SearchSpace
from .encoder import Encoder
from .family import Layer, Projection, TeacherFacts
from .mobilebert_cut import cut_weights, feed_forward
from .shared import POOLS, TIMED, Genes, check_type, kept_settings, only_encodes, pooling_cost

CHOICES: dict[str, tuple[Value, ...]] = {
    "layers": (24,),
    "width": (128, 256, 384, 512),
    "bottleneck": (64, 96, 128, 160),
    "heads": (1, 2, 4, 8),
    "ffn": (384, 512, 640),
    "stacks": (2, 4, 6),
    "embedding": (128,),
    "inherit": ("even",),
    "activation": ("relu",),
    "vocabulary": (30522,),
    "positions": (512,),
    "types": (2,),
    "head": ("mlm",),
    "pool": ("mean",),
}
BOUNDED = ("layers", "width", "bottleneck", "ffn", "stacks")
CONSTANTS = ("embedding", "vocabulary", "positions", "types", "head", "pool")
WORDS: dict[str, tuple[Value, ...]] = {
    "inherit": ("even", "none"),
    "head": ("embedding", "mlm"),
    "pool": POOLS,
    "activation": TIMED,
}
ONLY = {
    "trigram_input": True,
    "use_bottleneck": True,
    "use_bottleneck_attention": False,
    "key_query_shared_bottleneck": True,
    "normalization_type": "no_norm",
}
KEPT = ("layer_norm_eps", "initializer_range", "pad_token_id")


@final
class MobileBert(Encoder):
    """The family of MobileBERT encoders; it is served, watched and read as other encoders are."""

    name = "mobilebert"
    teachers = ("mobilebert", "bert")
    choices = CHOICES
    only = ONLY
    rotates = False
    sliced = ()

    @property
    def genes(self) -> Genes:
        """The genes, and what a teacher decides of them."""
        return Genes(self.name, CHOICES, BOUNDED, CONSTANTS, WORDS)

    def space(
        self, choices: Mapping[str, Sequence[Value]] | None = None, teacher: TeacherFacts | None = None
    ) -> SearchSpace:
        """The space of students; without choices the 576 of AutoDistill."""
        rules = [
            Constraint(("bottleneck", "heads"), lambda b, heads: b % heads == 0, "heads must divide bottleneck"),
            Constraint(
                ("width", "embedding", "head"),
                lambda width, embedding, head: head == "embedding" or width >= embedding,
                "width must be at least the embedding's: the output table extends it",
            ),
        ]
        return self.genes.space(choices, teacher, rules)

    def sites(self, serving: Serving) -> tuple[Site, ...]:
        """Trigram embedding, `layers` x (bottlenecks, attention, stacked feed-forward), then pooling or the head."""
        only_encodes(self.name, serving)
        b, s = serving.batch, serving.sequence

        def of(kind: str, tokens: int = s, **sizes: Size) -> Operator:
            return Operator(kind, {"batch": b, "sequence": tokens, **sizes})

        def linear(inputs: int, outputs: int, activation: str = "none", tokens: int = s) -> Operator:
            return of(
                "linear", tokens, inputs=inputs, outputs=outputs, bias=1, activation=canonical_activation(activation)
            )

        def norm(width: int, residual: int) -> Operator:
            return of("norm", width=width, norm="none", residual=residual)

        def lookup(width: int, vocabulary: int, positions: int = 0) -> Operator:
            return of("embedding", width=width, vocabulary=vocabulary, positions=positions, types=0, norm="none")

        def attention(inner: int, heads: int) -> Operator | None:
            if inner % heads:
                return None
            return of("attention", heads=heads, kv_heads=heads, head_size=inner // heads, causal=0, cached=0)

        def pooling(w: int, pool: str) -> Operator:
            return of("pooling", width=w, pool=pooling_cost(pool), normalize=1)

        def head(w: int, v: int, e: int) -> Operator | None:
            return of("head", width=w, vocabulary=v, transform=1, tied=1 if w == e else e) if w >= e else None

        each_stack = ("layers", "stacks")
        return (
            Site("words", ("embedding", "vocabulary"), lookup),
            Site("types, positions", ("width", "types", "positions"), lookup),
            Site("trigram", ("embedding", "width"), lambda e, w: linear(3 * e, w)),
            Site("embedding norm", ("width",), lambda w: norm(w, 1)),
            repeated("bottlenecks in", ("width", "bottleneck"), linear, 2),
            repeated("bottleneck norms", ("bottleneck",), lambda i: norm(i, 0), 2),
            repeated("query, key, output", ("bottleneck",), lambda i: linear(i, i), 3),
            repeated("value", ("width", "bottleneck"), linear),
            repeated("attention", ("bottleneck", "heads"), attention),
            repeated("attention norm", ("bottleneck",), lambda i: norm(i, 1)),
            repeated("up", ("bottleneck", "ffn", "activation"), linear, times=each_stack),
            repeated("down", ("bottleneck", "ffn"), lambda i, f: linear(f, i), times=each_stack),
            repeated("stack norms", ("bottleneck",), lambda i: norm(i, 1), times=each_stack),
            repeated("bottleneck out", ("width", "bottleneck"), lambda w, i: linear(i, w)),
            repeated("layer norm", ("width",), lambda w: norm(w, 1)),
            only("head", "embedding", "pooler", ("width",), lambda w: linear(w, w, "tanh", 1)),
            only("head", "embedding", "pooling", ("width", "pool"), pooling),
            only("head", "mlm", "head", ("width", "vocabulary", "embedding"), head),
        )

    def facts(self, config: Any, name: str, head: str, pool: str = "mean") -> TeacherFacts:
        """The facts of a MobileBERT teacher."""
        check_type(config, name, ("mobilebert",))
        return replace(
            super().facts(config, name, head, pool),
            bottleneck=config.true_hidden_size,
            stacks=config.num_feedforward_networks,
            embedding=config.embedding_size,
        )

    def config(self, architecture: Architecture, teacher_config: Any = None) -> Any:
        """A `MobileBertConfig`; special tokens and norm epsilon are the teacher's. No dropout."""
        from transformers import MobileBertConfig

        return MobileBertConfig(**kept_settings(teacher_config, KEPT), **self.settings(architecture))

    def settings(self, architecture: Architecture) -> dict[str, Any]:
        """What the genes fix in a configuration."""
        a = architecture.values
        own = {"intra_bottleneck_size": a["bottleneck"], "num_feedforward_networks": a["stacks"]}
        return super().settings(architecture) | own | {"embedding_size": a["embedding"]}

    def build(self, architecture: Architecture, teacher_config: Any = None) -> Any:
        """A `MobileBertForMaskedLM`, or a `MobileBertModel` for embeddings, with fresh random weights."""
        import warnings

        from transformers import MobileBertForMaskedLM, MobileBertModel

        config = self.config(architecture, teacher_config)
        kind: Any = MobileBertModel if architecture["head"] == "embedding" else MobileBertForMaskedLM
        with warnings.catch_warnings():  # a width equal to the embedding's leaves the table's own columns empty
            warnings.filterwarnings("ignore", "Initializing zero-element tensors", UserWarning)
            return kind(config).eval()

    def layers(self, model: Any) -> list[Layer]:
        """Every encoder's, and who reads the bottleneck, the shared input of attention and each stacked network."""
        encoder = model.base_model.encoder.layer
        return [one._replace(inner=_inner(layer)) for one, layer in zip(super().layers(model), encoder, strict=True)]

    def words_inherited(self, architecture: Architecture, teacher: TeacherFacts) -> bool:
        """Cut from the teacher's where that is as wide; a wider one begins at random."""
        wide = int(architecture["embedding"]) > (teacher.embedding or teacher.width)
        return not wide and super().words_inherited(architecture, teacher)

    def words_mapped(self, architecture: Architecture, teacher: TeacherFacts) -> bool:
        """Never: three neighbouring words make a token's input, and the table has a width of its own."""
        return False

    def transform(self, model: Any, hidden: Any) -> Any:
        """What the output table is multiplied with: hidden states (k, w) -> (k, w)."""
        return model.cls.predictions.transform(hidden)

    def decode(self, model: Any, transformed: Any) -> Any:
        """Logits (k, vocabulary): the table is the word embeddings, widened by columns of its own."""
        import torch

        head = model.cls.predictions
        table = torch.cat([head.decoder.weight.t(), head.dense.weight], dim=0)  # (w, vocabulary)
        return transformed @ table + head.decoder.bias

    def inherit(
        self, student: Any, teacher: Any, architecture: Architecture, guide: Mapping[str, Any] | None = None
    ) -> None:
        """Cut a MobileBERT teacher to the student's sizes, in place (see `mobilebert_cut`); of a BERT, its words."""
        if teacher.config.model_type != "mobilebert":
            _inherit_words(student, teacher)
            return
        cut_weights(student, teacher, architecture, guide)


def _inner(layer: Any) -> dict[str, tuple[Projection, ...]]:
    stacked = list(getattr(layer, "ffn", ()))
    ups = [network.intermediate.dense for network in (*stacked, layer)]
    queried = layer.attention.self
    modules = {"bottleneck": (*ups, layer.output.bottleneck.dense), "shared": (queried.query, queried.key)}
    names = feed_forward(len(stacked) + 1)
    modules |= {name: (network.output.dense,) for name, network in zip(names, stacked, strict=False)}
    return {name: tuple(map(Projection, readers)) for name, readers in modules.items()}


def _inherit_words(student: Any, teacher: Any) -> None:
    """The principal directions of the teacher's word embeddings, at the size of fresh ones; same vocabulary only."""
    import torch

    table = teacher.get_input_embeddings().weight
    words = student.get_input_embeddings().weight
    if table.shape[0] != words.shape[0] or table.shape[1] < words.shape[1]:
        return
    with torch.no_grad():
        vectors = torch.linalg.eigh((table.T @ table).double()).eigenvectors
        cut = table @ vectors.flip(1)[:, : words.shape[1]].float()
        words.copy_(cut * (words.std() / cut.std()))


MOBILEBERT = MobileBert()
