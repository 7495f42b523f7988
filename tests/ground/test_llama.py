"""What decoders alone promise: phases, exact rotation, grouped heads, other teachers of the kind."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Qwen2Config, Qwen2ForCausalLM

from distilsearch import Serving
from distilsearch.errors import InputError
from distilsearch.families import family, family_of
from distilsearch.lowering import operators

KIND = family("llama")
SIZES = {
    "vocab_size": 97,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "max_position_embeddings": 40,
    "initializer_range": 0.2,
}


def teacher_of(config_type=LlamaConfig, model_type=LlamaForCausalLM, **changes):
    torch.manual_seed(0)
    model = model_type(config_type(**(SIZES | changes))).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.uniform_(0.5, 1.5)
    return model


def logits_of(model):
    ids = torch.randint(97, (2, 12), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model(input_ids=ids).logits


def test_decoding_runs_one_token_over_the_cache() -> None:
    space = KIND.space({g: [v] for g, v in KIND.architecture(facts_of(teacher_of())).values.items()})
    architecture = space.decode(space.grid(10))[0]
    full, step = (dict(operators(architecture, Serving(phase=p, sequence=32))) for p in ("prefill", "decode"))
    attention = next(o for o in step if o.kind == "attention")
    assert (attention.sizes["sequence"], attention.sizes["cached"], attention.sizes["kv_heads"]) == (1, 32, 2)
    assert next(o for o in full if o.kind == "head").sizes["sequence"] == 1
    assert next(o for o in full if o.kind == "linear").sizes["sequence"] == 32


def facts_of(model, name="t"):
    return KIND.facts(model.config, name, "causal")


def test_prefill_and_decode_answer_what_the_whole_text_does() -> None:
    model = teacher_of()
    ids = torch.randint(97, (2, 12), generator=torch.Generator().manual_seed(0))
    expected = logits_of(model)
    with torch.no_grad():
        logits, cache = KIND.prefill(model, ids[:, :11])
        torch.testing.assert_close(logits, expected[:, 10], rtol=1e-4, atol=1e-4)
        for _ in range(2):  # the cache is as before
            torch.testing.assert_close(
                KIND.decode_step(model, ids[:, 11:], cache), expected[:, 11], rtol=1e-4, atol=1e-4
            )


@pytest.mark.parametrize(
    ("config_type", "model_type"), [(Qwen2Config, Qwen2ForCausalLM), (MistralConfig, MistralForCausalLM)]
)
def test_teachers_of_the_kind_become_stock_llamas_with_the_same_outputs(config_type, model_type) -> None:
    teacher = teacher_of(config_type, model_type)
    with torch.no_grad():
        for name, parameter in teacher.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.2)
    architecture = KIND.architecture(facts_of(teacher))
    student = KIND.build(architecture, teacher.config)
    KIND.inherit(student, teacher, architecture)
    assert student.config.model_type == "llama"
    assert family_of(teacher.config.model_type) is KIND
    torch.testing.assert_close(logits_of(student), logits_of(teacher), rtol=1e-4, atol=1e-4)


def test_a_rotated_stream_speaks_the_same() -> None:
    """With as many directions as the stream really has, a cut width changes nothing."""
    teacher = teacher_of(num_hidden_layers=1)
    basis = torch.linalg.qr(torch.randn(64, 32, generator=torch.Generator().manual_seed(1))).Q
    with torch.no_grad():  # a teacher that writes into 32 directions only
        for name, weight in teacher.named_parameters():
            if "embed_tokens" in name:
                weight.copy_(weight @ basis @ basis.T)
            if "o_proj" in name or "down_proj" in name:
                weight.copy_(basis @ basis.T @ weight)
    facts = facts_of(teacher)
    values = dict(KIND.architecture(facts).values) | {"width": 32}
    space = KIND.space({g: [v] for g, v in values.items()})
    architecture = space.decode(space.grid(10))[0]
    student = KIND.build(architecture, teacher.config)
    guide = {"basis": basis, "gain": 2**0.5, "heads": torch.rand(1, 4), "ffn": torch.rand(1, 96)}
    KIND.inherit(student, teacher, architecture, guide)
    torch.testing.assert_close(logits_of(student), logits_of(teacher), rtol=1e-3, atol=1e-3)


def test_the_most_important_groups_of_heads_are_kept() -> None:
    teacher = teacher_of(num_hidden_layers=1)
    values = dict(KIND.architecture(facts_of(teacher)).values) | {"heads": 2, "kv_heads": 1}
    space = KIND.space({g: [v] for g, v in values.items()})
    architecture = space.decode(space.grid(10))[0]
    student = KIND.build(architecture, teacher.config)
    guide = {
        "basis": torch.eye(64),
        "gain": 1.0,
        "heads": torch.tensor([[0.1, 0.1, 2.0, 1.0]]),
        "ffn": torch.rand(1, 96),
    }
    KIND.inherit(student, teacher, architecture, guide)
    mine, theirs = KIND.layers(student)[0], KIND.layers(teacher)[0]
    assert torch.equal(mine.query.weight, theirs.query.weight[32:])
    assert torch.equal(mine.key.weight, theirs.key.weight[16:])


def test_fewer_keys_a_query_are_averaged_and_smaller_heads_keep_rotary_pairs() -> None:
    teacher = teacher_of(num_hidden_layers=1)
    values = dict(KIND.architecture(facts_of(teacher)).values)
    space = KIND.space({g: [v] for g, v in (values | {"kv_heads": 1}).items()})
    merged = space.decode(space.grid(10))[0]
    student = KIND.build(merged, teacher.config)
    KIND.inherit(student, teacher, merged)
    expected = teacher.model.layers[0].self_attn.k_proj.weight.view(2, 16, 64).mean(0)
    torch.testing.assert_close(student.model.layers[0].self_attn.k_proj.weight, expected)
    space = KIND.space({g: [v] for g, v in (values | {"head_size": 8}).items()})
    small = space.decode(space.grid(10))[0]
    student = KIND.build(small, teacher.config)
    KIND.inherit(student, teacher, small)
    kept = torch.tensor([0, 2, 4, 6, 8, 10, 12, 14])
    rows = teacher.model.layers[0].self_attn.k_proj.weight[:16][kept]
    torch.testing.assert_close(student.model.layers[0].self_attn.k_proj.weight[:8], rows)
    inverse = [m.model.rotary_emb.inv_freq for m in (student, teacher)]
    torch.testing.assert_close(inverse[0], inverse[1][::2])


def test_senseless_heads_are_refused() -> None:
    with pytest.raises(InputError, match="kv_heads must divide heads"):
        KIND.space({"heads": [4], "kv_heads": [3]})
    facts = replace(facts_of(teacher_of()), heads=4)
    with pytest.raises(InputError, match="more than the teacher's 2"):
        KIND.space({"kv_heads": [4]}, facts)
    drawn = KIND.space({"width": [48, 64], "heads": [4, 6]}).sample(5, np.random.default_rng(0))
    assert len(drawn) == 5
