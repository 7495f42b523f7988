"""An uncut student computes what its teacher does, of whatever kind that is, or the teacher is refused by name."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    BertConfig,
    LlamaConfig,
    MistralConfig,
    MobileBertConfig,
    PretrainedConfig,
    Qwen2Config,
    RobertaConfig,
    XLMRobertaConfig,
)

from distilsearch import Architecture
from distilsearch.errors import InputError, TeacherError
from distilsearch.families import family_of
from distilsearch.families.shared import TIMED

LENGTH = 48
AUTO: Mapping[str, Any] = {"causal": AutoModelForCausalLM, "embedding": AutoModel, "mlm": AutoModelForMaskedLM}
ENCODER: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "initializer_range": 0.3,
}
DECODER = ENCODER | {"num_key_value_heads": 2, "sliding_window": None}
SHAPES: Mapping[Any, dict[str, Any]] = {
    BertConfig: ENCODER,
    RobertaConfig: ENCODER | {"pad_token_id": 1, "type_vocab_size": 1},
    XLMRobertaConfig: ENCODER | {"pad_token_id": 1, "type_vocab_size": 1},
    MobileBertConfig: ENCODER | {"embedding_size": 16, "intra_bottleneck_size": 16, "num_feedforward_networks": 2},
    LlamaConfig: DECODER,
    Qwen2Config: DECODER,
    MistralConfig: DECODER,
}
DECODERS = (LlamaConfig, Qwen2Config, MistralConfig)
ENCODERS = tuple(kind for kind in SHAPES if kind not in DECODERS)
ROPES: Mapping[str, dict[str, Any]] = {
    "default": {"rope_theta": 500.0},
    "linear": {"factor": 4.0},
    "dynamic": {"factor": 4.0},
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 16},
    "llama3": {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    },
    "longrope": {
        "factor": 4.0,
        "short_factor": [1.0, 1.5, 2.0, 3.0],
        "long_factor": [1.0, 2.0, 4.0, 8.0],
        "original_max_position_embeddings": 16,
    },
}
OTHERS: Mapping[str, Any] = {  # of every setting that a configuration has for itself, another value than the usual one
    "vocab_size": 70, "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 8, "intermediate_size": 64,
    "num_key_value_heads": 1, "head_dim": 16, "hidden_act": "gelu_new", "max_position_embeddings": 80,
    "type_vocab_size": 3, "initializer_range": 0.2, "layer_norm_eps": 1e-2, "rms_norm_eps": 1e-2, "pad_token_id": 3,
    "bos_token_id": 5, "eos_token_id": 6, "tie_word_embeddings": None, "attention_bias": True, "mlp_bias": True,
    "is_decoder": True, "add_cross_attention": True, "embedding_size": 24, "intra_bottleneck_size": 24,
    "num_feedforward_networks": 3, "trigram_input": False, "use_bottleneck": False, "use_bottleneck_attention": True,
    "key_query_shared_bottleneck": False, "normalization_type": "layer_norm", "sliding_window": 8,
    "use_sliding_window": True, "max_window_layers": 1, "pretraining_tp": 2, "classifier_activation": False,
    "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 300.0},
}  # fmt: skip
REFUSED = (
    "is_decoder", "add_cross_attention", "trigram_input", "use_bottleneck", "use_bottleneck_attention",
    "key_query_shared_bottleneck", "normalization_type",
)  # fmt: skip
IDLE = (  # settings that change no output of a teacher that is evaluated
    "hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout", "attention_dropout", "use_cache",
    "layer_types", "true_hidden_size",
)  # fmt: skip


def difference(config: Any, head: str, **genes: Any) -> float:
    """The largest one between the outputs of a random teacher and its uncut student, as a share of large outputs."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        teacher = AUTO[head].from_config(config).eval()
        with torch.no_grad():
            for parameter in teacher.parameters():  # biases and norms too
                parameter.add_(torch.randn_like(parameter) * 0.05)
        ids = torch.randint(7, 60, (2, LENGTH))
    kind = family_of(config.model_type)
    own = kind.architecture(kind.facts(config, "t", head))
    student = kind.build(Architecture(own.family, {**own.values, **genes}), config)
    kind.inherit(student, teacher, own)
    with torch.inference_mode():
        outputs = [model(input_ids=ids) for model in (teacher, student)]
    first, second = (getattr(one, "logits" if head != "embedding" else "last_hidden_state") for one in outputs)
    return float((first - second).abs().max() / first.abs().max().clamp(min=1))


def head_of(kind: Any) -> str:
    """What a model is with everything that it has."""
    return "causal" if kind in DECODERS else "mlm"


def settings() -> Iterator[tuple[Any, str]]:
    general = set(PretrainedConfig().to_dict())
    for kind in (one for one in SHAPES if one is not XLMRobertaConfig):  # which is RoBERTa's
        special = {"tie_word_embeddings", "pad_token_id", "bos_token_id", "eos_token_id"}
        for setting in sorted((set(kind().to_dict()) - general | special) - set(IDLE)):
            yield kind, setting


@pytest.mark.parametrize(("kind", "setting"), list(settings()))
def test_every_setting_of_a_teacher_is_kept_or_refused_by_name(kind: Any, setting: str) -> None:
    shape = SHAPES[kind]
    other = not shape.get(setting, kind().tie_word_embeddings) if OTHERS[setting] is None else OTHERS[setting]
    config = kind(**(shape | {setting: other}))
    head = head_of(kind)
    if setting in REFUSED:
        with pytest.raises(TeacherError, match=f"{setting} = {other!r}"):
            family_of(config.model_type).facts(config, "t", head)
    elif setting != "tie_word_embeddings" or head == "causal":  # else it is refused where the teacher is opened
        assert difference(config, head) < 1e-5


@pytest.mark.parametrize("rope", ROPES)
@pytest.mark.parametrize("kind", DECODERS)
def test_every_way_of_turning_positions_is_kept(kind: Any, rope: str) -> None:
    turning = {"rope_theta": 10_000.0, "rope_type": rope} | ROPES[rope]
    assert difference(kind(**(DECODER | {"rope_parameters": turning})), "causal") < 1e-5


@pytest.mark.parametrize("rope", ROPES)
def test_smaller_heads_turn_positions_too(rope: str) -> None:
    turning = {"rope_theta": 10_000.0, "rope_type": rope} | ROPES[rope]
    config = LlamaConfig(**(DECODER | {"rope_parameters": turning}))
    assert 0 < difference(config, "causal", head_size=4) < 100
    assert config.rope_parameters.get("long_factor", [0] * 4)[1:] == turning.get("long_factor", [0] * 4)[1:]


@pytest.mark.parametrize("activation", TIMED)
def test_every_activation_is_kept(activation: str) -> None:
    assert difference(LlamaConfig(**(DECODER | {"hidden_act": activation})), "causal") < 1e-5


@pytest.mark.parametrize("kind", ENCODERS)
def test_encoders_without_a_head_are_kept(kind: Any) -> None:
    assert difference(kind(**SHAPES[kind]), "embedding") < 1e-5


def test_settings_of_old_files_are_kept() -> None:
    old = {"rope_scaling": {"type": "linear", "factor": 4.0}, "rope_theta": 300.0}
    assert difference(LlamaConfig(**(DECODER | old)), "causal") < 1e-5
    with pytest.raises(TeacherError, match="position_embedding_type = 'relative_key'"):
        difference(BertConfig(**ENCODER, position_embedding_type="relative_key"), "mlm")


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_biases_of_decoders_are_kept(attention: bool, tied: bool) -> None:
    biases = {"attention_bias": attention, "mlp_bias": True, "tie_word_embeddings": tied}
    assert difference(LlamaConfig(**(DECODER | biases)), "causal") < 1e-5


@pytest.mark.parametrize("window", [1, 8, 47, 48, 63, 64, 100])
def test_a_window_of_attention_is_kept(window: int) -> None:
    config = MistralConfig(**(DECODER | {"sliding_window": window}))
    assert difference(config, "causal") < 1e-5
    kind = family_of("mistral")
    own = kind.architecture(kind.facts(config, "t", "causal"))
    student = kind.build(own)
    assert (student.config.model_type == "mistral") == (own["window"] > 0) == (window < 64)
    assert getattr(student.config, "sliding_window", None) == (own["window"] or None)


def test_windows_of_some_layers_are_refused_where_they_matter() -> None:
    windowed = DECODER | {"use_sliding_window": True, "max_window_layers": 1}
    with pytest.raises(TeacherError, match=r"look back at 8 tokens only .* of 64"):
        difference(Qwen2Config(**(windowed | {"sliding_window": 8})), "causal")
    for harmless in ({"sliding_window": 64}, {"sliding_window": 8, "use_sliding_window": False}):
        assert difference(Qwen2Config(**(windowed | harmless)), "causal") < 1e-5


@pytest.mark.parametrize("prompt", [4, 8, 20])
def test_a_windowed_student_generates_token_by_token(prompt: int) -> None:
    kind = family_of("mistral")
    config = MistralConfig(**(DECODER | {"sliding_window": 8}))
    student = kind.build(kind.architecture(kind.facts(config, "t", "causal")))
    ids = torch.randint(7, 60, (2, prompt + 1), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        whole = student(input_ids=ids).logits
        first, cache = kind.prefill(student, ids[:, :-1])
        torch.testing.assert_close(first, whole[:, -2])
        for _ in range(3):  # the cache is as long as before
            torch.testing.assert_close(kind.decode_step(student, ids[:, -1:], cache), whole[:, -1])


def test_a_window_beside_biases_is_no_student() -> None:
    kind = family_of("llama")
    own = kind.architecture(kind.facts(LlamaConfig(**(DECODER | {"mlp_bias": True})), "t", "causal"))
    with pytest.raises(InputError, match="decoders with a window have no biases"):
        kind.build(Architecture("llama", {**own.values, "window": 8}))
