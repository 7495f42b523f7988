"""Llama decoders: pre-norm layers with rotary positions, gated feed-forward and grouped keys and values.

Teachers of the Llama, Qwen2 and Mistral kind; students are stock `LlamaForCausalLM` models (Qwen2's biases of
queries, keys and values become Llama's attention biases, the output's being zero), or `MistralForCausalLM` ones where
the teacher looks back at a window, which no operator's latency knows of. Genes: `layers`, `width`, `heads`, `kv_heads`,
`head_size`, `ffn`, `inherit`. Constants of the teacher: `vocabulary`, `positions`, `activation`, `bias`, `mlp_bias`,
`window`, `tied`, `head`.

Phases: "encode" scores every token, "prefill" reads a prompt and answers the next token's logits and the cache,
"decode" reads one token over a cache of `sequence`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, final

from ..architecture import Architecture, Value
from ..errors import InputError
from ..operators import Operator, Serving, Size, canonical_activation
from ..sites import Site, repeated
from ..space import Constraint, SearchSpace
from .family import Layer, Projection, TeacherFacts
from .llama_cut import BEFORE, cut_weights
from .llama_kinds import check_window, rope_of, window_of
from .shared import INHERIT, TIMED, Genes, check_activation, check_head, check_type, kept_settings, layer_named

CHOICES: dict[str, tuple[Value, ...]] = {
    "layers": (2, 4, 6, 8, 12, 16, 24, 32),
    "width": (256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096),
    "heads": (4, 6, 8, 12, 16, 24, 32),
    "kv_heads": (1, 2, 4, 8, 16, 32),
    "head_size": (32, 64, 128),
    "ffn": (512, 768, 1024, 1536, 2048, 2816, 4096, 5632, 8192, 11008, 14336),
    "inherit": ("even", "first", "last"),
    "activation": ("silu",),
    "vocabulary": (32000,),
    "positions": (2048,),
    "bias": (0,),
    "mlp_bias": (0,),
    "window": (0,),
    "tied": (0,),
    "head": ("causal",),
}
BOUNDED = ("layers", "width", "heads", "kv_heads", "head_size", "ffn")
CONSTANTS = ("vocabulary", "positions", "bias", "mlp_bias", "window", "tied", "head")
WORDS: dict[str, tuple[Value, ...]] = {
    "inherit": INHERIT,
    "head": ("causal",),
    "bias": (0, 1),
    "mlp_bias": (0, 1),
    "tied": (0, 1),
    "activation": TIMED,
}
KEPT = ("rms_norm_eps", "initializer_range", "pad_token_id", "bos_token_id", "eos_token_id")


@final
class Llama:
    """The family of Llama decoders."""

    name = "llama"
    teachers: tuple[str, ...] = ("llama", "qwen2", "mistral")
    rotates = True
    sliced = ()
    genes = Genes("llama", CHOICES, BOUNDED, CONSTANTS, WORDS)

    def space(
        self, choices: Mapping[str, Sequence[Value]] | None = None, teacher: TeacherFacts | None = None
    ) -> SearchSpace:
        """The space of students; with a teacher, constants are its own and no student is larger than it."""
        rules = [
            Constraint(("width", "heads"), lambda width, heads: width % heads == 0, "heads must divide width"),
            Constraint(
                ("heads", "kv_heads"),
                lambda heads, kv: heads % kv == 0,
                "kv_heads must divide heads: each serves as many query heads",
            ),
            Constraint(("head_size",), lambda size: size % 2 == 0, "head_size must be even: positions turn pairs"),
        ]
        return self.genes.space(choices, teacher, rules)

    def sites(self, serving: Serving) -> tuple[Site, ...]:
        """Embedding, `layers` x (norms, projections, rotary, attention, gated feed-forward), norm, output head."""
        b = serving.batch
        s, cached = (1, serving.sequence) if serving.phase == "decode" else (serving.sequence, 0)
        answered = s if serving.phase == "encode" else 1

        def of(kind: str, tokens: int = s, **sizes: Size) -> Operator:
            return Operator(kind, {"batch": b, "sequence": tokens, **sizes})

        def linear(inputs: int, outputs: int, bias: int = 0) -> Operator:
            return of("linear", inputs=inputs, outputs=outputs, bias=bias, activation="none")

        def attention(h: int, k: int, d: int) -> Operator:
            return of("attention", heads=h, kv_heads=k, head_size=d, causal=1, cached=cached)

        def gate(f: int, a: str) -> Operator:
            return of("gate", width=f, activation=canonical_activation(a))

        def rotary(h: int, k: int, d: int) -> Operator:
            return of("rotary", heads=h, kv_heads=k, head_size=d)

        def embedding(w: int, v: int) -> Operator:
            return of("embedding", width=w, vocabulary=v, positions=0, types=0, norm="none")

        def norm(w: int, residual: int) -> Operator:
            return of("norm", width=w, norm="rms", residual=residual)

        def head(w: int, v: int, tied: int) -> Operator:
            return of("head", answered, width=w, vocabulary=v, transform=0, tied=tied)

        def projection(w: int, heads: int, size: int, bias: int) -> Operator:
            return linear(w, heads * size, bias)

        shape = ("heads", "kv_heads", "head_size")
        return (
            Site("embedding", ("width", "vocabulary"), embedding),
            Site("first norm", ("width",), lambda w: norm(w, 0)),
            repeated("norms", ("width",), lambda w: norm(w, 1), 2),
            repeated("query", ("width", "heads", "head_size", "bias"), projection),
            repeated("key, value", ("width", "kv_heads", "head_size", "bias"), projection, 2),
            repeated("rotary", shape, lambda h, k, d: rotary(h, k, d) if h % k == 0 else None),
            repeated("attention", shape, lambda h, k, d: attention(h, k, d) if h % k == 0 else None),
            repeated("output", ("width", "heads", "head_size", "bias"), lambda w, h, d, c: linear(h * d, w, c)),
            repeated("gate, up", ("width", "ffn", "mlp_bias"), linear, 2),
            repeated(
                "gating", ("ffn", "activation"), lambda f, a: of("gate", width=f, activation=canonical_activation(a))
            ),
            repeated("down", ("width", "ffn", "mlp_bias"), lambda w, f, c: linear(f, w, c)),
            Site("head", ("width", "vocabulary", "tied"), head),
        )

    def facts(self, config: Any, name: str, head: str, pool: str = "mean") -> TeacherFacts:
        """The facts of a decoder teacher."""
        check_type(config, name, self.teachers)
        check_head(config, name, head, WORDS["head"])
        check_activation(config, name)
        check_window(config, name)
        heads = config.num_attention_heads
        return TeacherFacts(
            name=name,
            family=self.name,
            layers=config.num_hidden_layers,
            width=config.hidden_size,
            heads=heads,
            ffn=config.intermediate_size,
            vocabulary=config.vocab_size,
            positions=config.max_position_embeddings,
            types=0,
            activation=config.hidden_act,
            head=head,
            pool=pool,
            kv_heads=config.num_key_value_heads or heads,
            head_size=getattr(config, "head_dim", None) or config.hidden_size // heads,
            bias=int(config.model_type == "qwen2" or bool(getattr(config, "attention_bias", False))),
            mlp_bias=int(bool(getattr(config, "mlp_bias", False))),
            window=window_of(config),
            tied=int(config.tie_word_embeddings),
        )

    def architecture(self, facts: TeacherFacts) -> Architecture:
        """The teacher as an architecture of this family."""
        values: dict[str, Value] = {gene: facts[gene] for gene in CHOICES if gene != "inherit"}
        return Architecture(self.name, values | {"inherit": "even"})

    def longest(self, config: Any) -> int:
        """As many tokens as positions are turned for."""
        return int(config.max_position_embeddings)

    def config(self, architecture: Architecture, teacher_config: Any = None) -> Any:
        """A `LlamaConfig`, with a window a `MistralConfig`; rotary base, special tokens, epsilon are the teacher's."""
        from transformers import LlamaConfig, MistralConfig

        a: Mapping[str, Any] = architecture.values
        biases = {"attention_bias": bool(a["bias"]), "mlp_bias": bool(a["mlp_bias"])}
        if a["window"] and any(biases.values()):
            raise InputError("decoders with a window have no biases; make window or the biases 0")
        kept = kept_settings(teacher_config, KEPT) | rope_of(teacher_config, int(a["head_size"]))
        kind, own = (MistralConfig, {"sliding_window": a["window"]}) if a["window"] else (LlamaConfig, biases)
        return kind(
            **kept,
            **own,
            num_hidden_layers=a["layers"],
            hidden_size=a["width"],
            num_attention_heads=a["heads"],
            num_key_value_heads=a["kv_heads"],
            head_dim=a["head_size"],
            intermediate_size=a["ffn"],
            hidden_act=a["activation"],
            vocab_size=a["vocabulary"],
            max_position_embeddings=a["positions"],
            tie_word_embeddings=bool(a["tied"]),
        )

    def build(self, architecture: Architecture, teacher_config: Any = None) -> Any:
        """A `LlamaForCausalLM`, or with a window a `MistralForCausalLM`, with fresh random weights."""
        from transformers import AutoModelForCausalLM

        auto: Any = AutoModelForCausalLM
        return auto.from_config(self.config(architecture, teacher_config)).eval()

    def serve(self, model: Any, architecture: Architecture, input_ids: Any, attention_mask: Any) -> Any:
        """Next-token logits (batch, sequence, vocabulary)."""
        return model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits

    def prefill(self, model: Any, input_ids: Any) -> tuple[Any, Any]:
        """The logits (batch, vocabulary) after a prompt (batch, sequence), and the cache."""
        from transformers import DynamicCache

        # one that is told of a window forgets what lies before it, and cannot be cut back to where it was
        cache = DynamicCache() if getattr(model.config, "sliding_window", None) else None
        output = model(input_ids=input_ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return output.logits[:, -1], output.past_key_values

    def decode_step(self, model: Any, token: Any, cache: Any) -> Any:
        """The logits (batch, vocabulary) after one more token (batch, 1); the cache is as long as before."""
        logits = model(input_ids=token, past_key_values=cache, use_cache=True).logits[:, -1]
        cache.crop(-1)
        return logits

    def layers(self, model: Any) -> list[Layer]:
        """The layers of a model of this family, teacher or student."""
        return [
            Layer(
                Projection(layer.self_attn.q_proj),
                Projection(layer.self_attn.k_proj),
                Projection(layer.self_attn.v_proj),
                Projection(layer.self_attn.o_proj),
                Projection(layer.mlp.down_proj),
            )
            for layer in model.base_model.layers
        ]

    def layer_of(self, parameter: str) -> int | None:
        """The layer that a parameter belongs to."""
        return layer_named(parameter, BEFORE)

    def idle(self, parameter: str) -> bool:
        """Every parameter has a part."""
        return False

    def words_inherited(self, architecture: Architecture, teacher: TeacherFacts) -> bool:
        """Unless everything is random."""
        return architecture["inherit"] != "none"

    def words_mapped(self, architecture: Architecture, teacher: TeacherFacts) -> bool:
        """Never: the table may be the output head too."""
        return False

    def encode(self, model: Any, inputs: Mapping[str, Any], every_layer: bool = False) -> Any:
        """What the model makes of its inputs before its head; no cache is kept."""
        return model.base_model(**inputs, use_cache=False, output_hidden_states=every_layer)

    def transform(self, model: Any, hidden: Any) -> Any:
        """The hidden states (k, w) themselves: they are normed already."""
        return hidden

    def decode(self, model: Any, transformed: Any) -> Any:
        """Logits (k, vocabulary) of hidden states (k, w)."""
        return model.lm_head(transformed)

    def inherit(
        self, student: Any, teacher: Any, architecture: Architecture, guide: Mapping[str, Any] | None = None
    ) -> None:
        """Cut the chosen teacher layers to the student's sizes, in place; see `llama_cut`."""
        cut_weights(student, teacher, architecture, guide)


LLAMA = Llama()
