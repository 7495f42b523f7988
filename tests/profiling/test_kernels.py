"""Each operator computes what the transformers module it stands for computes, in the same dtype."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import nn
from transformers import BertConfig, LlamaConfig
from transformers.models.bert import modeling_bert
from transformers.models.llama import modeling_llama

from distilsearch.families.shared import TIMED
from distilsearch.operators import Operator, canonical_activation
from distilsearch.profiling.kernels import Kernel, kernel

BATCH, SEQUENCE, WIDTH, HEADS, FFN, VOCABULARY = 2, 8, 32, 4, 64, 100
BERT = BertConfig(
    hidden_size=WIDTH,
    num_attention_heads=HEADS,
    intermediate_size=FFN,
    vocab_size=VOCABULARY,
    max_position_embeddings=16,
    attn_implementation="sdpa",
)
LLAMA = LlamaConfig(
    hidden_size=WIDTH,
    num_attention_heads=HEADS,
    num_key_value_heads=2,
    intermediate_size=FFN,
    attn_implementation="sdpa",
)


def make(kind: str, **sizes: int | str) -> Kernel:
    return kernel(Operator(kind, {"batch": BATCH, "sequence": SEQUENCE, **sizes}))


def inputs(module: Kernel) -> tuple[torch.Tensor, ...]:
    return module.inputs(torch.Generator().manual_seed(0))


def load(module: nn.Module, source: nn.Module, names: Mapping[str, str]) -> None:
    """Copy weights; `names` maps prefixes of the source to prefixes of the operator."""
    state = source.state_dict()
    for old, new in names.items():
        part = {k.removeprefix(old + "."): v for k, v in state.items() if k.startswith(old + ".")}
        module.get_submodule(new).load_state_dict(part)


def same(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def evaluated(module: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module.eval()


@pytest.fixture(autouse=True)
def own_random_state() -> Any:
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        yield


def test_embedding() -> None:
    theirs = evaluated(modeling_bert.BertEmbeddings(BERT))
    ours = make("embedding", width=WIDTH, vocabulary=VOCABULARY, positions=16, types=2, norm="layer")
    names = {"word_embeddings": "tokens", "position_embeddings": "positions", "token_type_embeddings": "types"}
    load(ours, theirs, names | {"LayerNorm": "norm"})
    (ids,) = inputs(ours)
    same(ours(ids), theirs(input_ids=ids))


def test_plain_token_embedding() -> None:
    ours = make("embedding", width=WIDTH, vocabulary=VOCABULARY, positions=0, types=0, norm="none")
    (ids,) = inputs(ours)
    same(ours(ids), ours.get_submodule("tokens")(ids))


@pytest.mark.parametrize("activation", TIMED)
def test_intermediate(activation: str) -> None:
    config = BertConfig(**{**BERT.to_dict(), "hidden_act": activation})
    theirs = evaluated(modeling_bert.BertIntermediate(config))
    ours = make("linear", inputs=WIDTH, outputs=FFN, bias=1, activation=canonical_activation(activation))
    load(ours, theirs, {"dense": "dense"})
    same(ours(*inputs(ours)), theirs(*inputs(ours)))


def test_output_is_linear_then_norm_with_residual() -> None:
    theirs = evaluated(modeling_bert.BertOutput(BERT))
    linear = make("linear", inputs=FFN, outputs=WIDTH, bias=1, activation="none")
    norm = make("norm", width=WIDTH, norm="layer", residual=1)
    load(linear, theirs, {"dense": "dense"})
    load(norm, theirs, {"LayerNorm": "norm"})
    (hidden,), (_, residual) = inputs(linear), inputs(norm)
    same(norm(linear(hidden), residual), theirs(hidden, residual))


def test_pooler_is_linear_with_tanh_of_the_first_token() -> None:
    theirs = evaluated(modeling_bert.BertPooler(BERT))
    sizes = {"batch": BATCH, "sequence": 1, "inputs": WIDTH, "outputs": WIDTH, "bias": 1, "activation": "tanh"}
    ours = kernel(Operator("linear", sizes))
    load(ours, theirs, {"dense": "dense"})
    hidden = torch.randn(BATCH, SEQUENCE, WIDTH)
    same(ours(hidden[:, :1])[:, 0], theirs(hidden))


def test_self_attention() -> None:
    theirs = evaluated(modeling_bert.BertSelfAttention(BERT))
    sizes = {"heads": HEADS, "kv_heads": HEADS, "head_size": WIDTH // HEADS, "causal": 0, "cached": 0}
    ours = make("attention", **sizes)
    hidden = torch.randn(BATCH, SEQUENCE, WIDTH)
    projected = [getattr(theirs, name)(hidden) for name in ("query", "key", "value")]
    same(ours(*projected), theirs(hidden)[0])


@pytest.mark.parametrize("cached", [0, 5])
def test_causal_attention_of_grouped_heads(cached: int) -> None:
    """Against a naive softmax of all scores, over a cache too."""
    size = WIDTH // HEADS
    ours = make("attention", heads=HEADS, kv_heads=2, head_size=size, causal=1, cached=cached)
    q, k, v, *cache = inputs(ours)
    q, k, v = (x.view(BATCH, SEQUENCE, -1, size).transpose(1, 2) for x in (q, k, v))
    if cache:
        k, v = torch.cat([cache[0], k], 2), torch.cat([cache[1], v], 2)
    k, v = (x.repeat_interleave(HEADS // 2, dim=1) for x in (k, v))
    scores = q @ k.transpose(2, 3) * size**-0.5
    late = torch.arange(SEQUENCE + cached)[None] > cached + torch.arange(SEQUENCE)[:, None]
    expected = scores.masked_fill(late, float("-inf")).softmax(-1) @ v
    same(ours(*inputs(ours)), expected.transpose(1, 2).reshape(BATCH, SEQUENCE, WIDTH))


def test_rms_norm() -> None:
    theirs = evaluated(modeling_llama.LlamaRMSNorm(WIDTH))
    ours = make("norm", width=WIDTH, norm="rms", residual=0)
    ours.load_state_dict({"norm." + k: v for k, v in theirs.state_dict().items()})
    same(ours(*inputs(ours)), theirs(*inputs(ours)))


def test_no_norm() -> None:
    from transformers.models.mobilebert.modeling_mobilebert import NoNorm

    theirs = evaluated(NoNorm(WIDTH))
    ours = make("norm", width=WIDTH, norm="none", residual=0)
    ours.load_state_dict({"norm." + k: v for k, v in theirs.state_dict().items()})
    same(ours(*inputs(ours)), theirs(*inputs(ours)))


@pytest.mark.parametrize("activation", ["silu", "swish", "gelu_new", "gelu_pytorch_tanh", "relu2", "linear"])
def test_gate(activation: str) -> None:
    theirs = evaluated(modeling_llama.LlamaMLP(LlamaConfig(**{**LLAMA.to_dict(), "hidden_act": activation})))
    ours = make("gate", width=FFN, activation=canonical_activation(activation))
    hidden = torch.randn(BATCH, SEQUENCE, WIDTH)
    same(theirs.down_proj(ours(theirs.gate_proj(hidden), theirs.up_proj(hidden))), theirs(hidden))


def test_rotary() -> None:
    size = WIDTH // HEADS
    ours = make("rotary", heads=HEADS, kv_heads=2, head_size=size)
    q, k, cos, sin = inputs(ours)
    heads = [x.view(BATCH, SEQUENCE, -1, size).transpose(1, 2) for x in (q, k)]
    for a, b in zip(ours(q, k, cos, sin), modeling_llama.apply_rotary_pos_emb(*heads, cos, sin), strict=True):
        same(a, b)


def test_masked_lm_head() -> None:
    theirs = evaluated(modeling_bert.BertLMPredictionHead(BERT))
    ours = make("head", width=WIDTH, vocabulary=VOCABULARY, transform=1, tied=1)
    names = {"transform.dense": "transform", "transform.LayerNorm": "norm"}
    load(ours, theirs, names | {"decoder": "decoder"})
    same(ours(*inputs(ours)), theirs(*inputs(ours)))


@pytest.mark.parametrize("pool", ["mean", "cls"])
def test_pooling_is_what_the_family_serves(pool: str) -> None:
    from types import SimpleNamespace

    from distilsearch.architecture import Architecture
    from distilsearch.families import family

    ours = make("pooling", width=WIDTH, pool=pool, normalize=1)
    hidden, mask = inputs(ours)
    architecture = Architecture("bert", {"head": "embedding", "pool": pool})
    served = family("bert").serve(lambda **_: SimpleNamespace(last_hidden_state=hidden), architecture, mask, mask)
    same(ours(hidden, mask), served)


def test_a_whole_model_is_its_operators() -> None:
    """The lowering and the kernels together hold exactly the weights of the transformers model."""
    from distilsearch.families import family
    from distilsearch.lowering import operators
    from distilsearch.operators import Serving

    values = {"layers": [2], "width": [32], "heads": [2], "ffn": [64], "vocabulary": [100], "inherit": ["even"]}
    space = family("bert").space(values)
    architecture = space.decode(space.grid(10))[0]
    parts = [(kernel(o), o, n) for o, n in operators(architecture, Serving(sequence=8))]
    assert all(sum(p.numel() for p in module.parameters()) == o.parameters for module, o, _ in parts)
    whole = sum(p.numel() for p in family("bert").build(architecture).parameters())
    assert whole == sum(o.parameters * n for _, o, n in parts)
