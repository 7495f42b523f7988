"""What is no teacher is refused by its own name, with what is supported, before a weight is read."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import BertConfig, LlamaConfig

from distilsearch.distill.teachers import teacher as module
from distilsearch.distill.teachers.teacher import load_teacher
from distilsearch.errors import TeacherError
from distilsearch.testing.teachers import write_teacher

SHAPE: dict[str, Any] = {
    "vocab_size": 155,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
}


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    kinds = ("embedding", "mlm", "causal")
    return {kind: write_teacher(tmp_path_factory.mktemp(kind), kind) for kind in kinds}


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(weights: object) -> str:
        raise AssertionError("the weights were read")

    monkeypatch.setattr(module, "weights_digest", read)


def changed(original: Path, place: Path, **config: Any) -> Path:
    """A copy of a checkpoint with other values in its configuration; None takes one out."""
    shutil.copytree(original, place)
    content = json.loads((place / "config.json").read_text()) | config
    written = {key: value for key, value in content.items() if value is not None or config.get(key, 0) is not None}
    (place / "config.json").write_text(json.dumps(written))
    return place


def with_weights(folder: Path, **weights: torch.Tensor) -> Path:
    path = str(folder / "model.safetensors")
    save_file(load_file(path) | {name.replace("__", "."): value for name, value in weights.items()}, path)
    return folder


# Tasks and families


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("BertForSequenceClassification", "a classifier, regressor or reranker"),
        ("BertForTokenClassification", "a token classifier"),
        ("BertForQuestionAnswering", "a question answerer"),
        ("BertForMultipleChoice", "a multiple-choice model"),
        ("BertForNextSentencePrediction", "a judge of sentence pairs"),
        ("LlamaForSequenceClassification", "a classifier, regressor or reranker"),
        ("LlamaForQuestionAnswering", "a question answerer"),
    ],
)
def test_models_for_other_tasks_are_refused_by_name(name: str, says: str, originals: Any, tmp_path: Path) -> None:
    folder = tmp_path / "t"
    config = (LlamaConfig if name.startswith("Llama") else BertConfig)(**SHAPE, pad_token_id=0)
    getattr(transformers, name)(config).save_pretrained(str(folder))
    with pytest.raises(TeacherError, match=rf"is {says}.*{name}.*embedding models, masked .*save that alone"):
        load_teacher(str(folder))


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize(
    ("weight", "says"),
    [
        ("classifier__weight", "a classifier or reranker"),
        ("score__weight", "a classifier or reranker"),
        ("qa_outputs__weight", "a question answerer"),
    ],
)
def test_a_head_that_no_architecture_mentions_is_refused(
    weight: str, says: str, originals: dict[str, Path], tmp_path: Path
) -> None:
    folder = changed(originals["embedding"], tmp_path / "t", architectures=None)
    (folder / "modules.json").unlink()
    with_weights(folder, **{weight: torch.zeros(2, 64)})
    with pytest.raises(TeacherError, match=f"{says}.* by its weight {weight.replace('__', '.')}"):
        load_teacher(str(folder))


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize("task", ["CrossEncoder", "SparseEncoder"])
def test_other_models_of_sentence_transformers_are_refused(
    task: str, originals: dict[str, Path], tmp_path: Path
) -> None:
    folder = changed(originals["embedding"], tmp_path / "t")
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"model_type": task}))
    with pytest.raises(TeacherError, match=f"is a sentence-transformers {task}"):
        load_teacher(str(folder))


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]}, r"'t5' \(T5ForConditionalGeneration\)"),
        ({"model_type": "vit", "architectures": ["ViTModel"]}, r"'vit' \(ViTModel\)"),
        ({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}, "'gpt2'"),
        ({"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]}, "'qwen3'"),
        ({"model_type": "modernbert", "architectures": ["ModernBertForMaskedLM"]}, "'modernbert'"),
        ({"model_type": "gemma2", "architectures": ["Gemma2ForCausalLM"]}, "'gemma2'"),
        ({"model_type": ["bert"], "architectures": "BertModel"}, r"\['bert'\]"),
        ({"model_type": None, "architectures": None}, "None"),
    ],
)
def test_what_is_of_no_family_is_refused_by_its_type(
    config: dict[str, Any], says: str, originals: dict[str, Path], tmp_path: Path
) -> None:
    folder = changed(originals["embedding"], tmp_path / "t", **config)
    with pytest.raises(TeacherError, match=rf"model type {says}.*made of: bert, llama, mistral"):
        load_teacher(str(folder))


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize("name", ["LlamaModel", "LlamaForCausalLM"])
def test_a_decoder_as_embedding_model_is_refused(name: str, originals: dict[str, Path], tmp_path: Path) -> None:
    folder = changed(originals["causal"], tmp_path / "t", architectures=[name])
    if name == "LlamaForCausalLM":
        shutil.copy(originals["embedding"] / "modules.json", folder)
        shutil.copytree(originals["embedding"] / "1_Pooling", folder / "1_Pooling")
    with pytest.raises(TeacherError, match=r"'llama' model that serves as an embedding model.* only be a causal"):
        load_teacher(str(folder))


@pytest.mark.usefixtures("unread")
def test_an_encoder_that_generates_is_refused(originals: dict[str, Path], tmp_path: Path) -> None:
    folder = changed(originals["mlm"], tmp_path / "t", architectures=["BertLMHeadModel"], is_decoder=True)
    with pytest.raises(TeacherError, match="'bert' model that serves as a causal language model"):
        load_teacher(str(folder))


@pytest.mark.parametrize("name", ["BertForMaskedLM", "BertForSequenceClassification", "SomebodysEncoder"])
def test_an_embedding_model_may_have_been_anything_before(
    name: str, originals: dict[str, Path], tmp_path: Path
) -> None:
    folder = changed(originals["embedding"], tmp_path / "t", architectures=[name])
    assert load_teacher(str(folder)).kind == "embedding"


# Weights and tokens


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize(
    ("key", "content", "says"),
    [
        ("quantization_config", {"quant_method": "bitsandbytes", "load_in_4bit": True}, "by bitsandbytes"),
        ("quantization_config", {"load_in_8bit": True}, "by bitsandbytes"),
        ("quantization_config", {"quant_method": "gptq", "bits": 4}, "by gptq"),
        ("quantization_config", {"quant_method": "awq", "bits": 4}, "by awq"),
        ("quantization_config", {"quant_method": "fp8"}, "by fp8"),
        ("quantization_config", {"quant_method": "mxfp4"}, "by mxfp4"),
        ("quantization_config", ["strange"], r"\(quantization_config"),
        ("compression_config", {"quant_method": "compressed-tensors"}, "by compressed-tensors"),
    ],
)
def test_quantised_teachers_are_refused(
    key: str, content: Any, says: str, originals: dict[str, Path], tmp_path: Path
) -> None:
    folder = changed(originals["causal"], tmp_path / "t", **{key: content})
    with pytest.raises(TeacherError, match=rf"quantised.*{says}.*give the model it was quantised from"):
        load_teacher(str(folder))


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("model__layers__0__self_attn__q_proj__qweight", torch.zeros(8, 64, dtype=torch.int32)),
        ("model__layers__0__mlp__up_proj__weight__absmax", torch.zeros(64)),
        ("model__layers__0__mlp__up_proj__weight_scale", torch.ones(1)),
        ("model__layers__0__mlp__up_proj__weight", torch.zeros(128, 64, dtype=torch.int8)),
        ("model__layers__0__mlp__up_proj__weight", torch.zeros(128, 64).to(torch.float8_e4m3fn)),
    ],
)
def test_weights_that_tell_of_quantisation_are_refused(
    name: str, tensor: torch.Tensor, originals: dict[str, Path], tmp_path: Path
) -> None:
    folder = with_weights(changed(originals["causal"], tmp_path / "t"), **{name: tensor})
    with pytest.raises(TeacherError, match=f"quantised.*such as {name.replace('__', '.')}"):
        load_teacher(str(folder))


def test_files_of_quantisers_are_refused(originals: dict[str, Path], tmp_path: Path) -> None:
    folder = changed(originals["causal"], tmp_path / "t")
    (folder / "quantize_config.json").write_text('{"bits": 4}')
    with pytest.raises(TeacherError, match=r"quantised \(quantize_config.json\)"):
        load_teacher(str(folder))


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize("kind", ["embedding", "mlm", "causal"])
@pytest.mark.parametrize("padding", [155, 30_522, -2])
def test_a_padding_token_outside_the_vocabulary_is_refused(
    kind: str, padding: int, originals: dict[str, Path], tmp_path: Path
) -> None:
    folder = changed(originals[kind], tmp_path / "t", pad_token_id=padding)
    with pytest.raises(TeacherError, match=rf"pad_token_id is {padding} in config.json.*vocabulary of 155; write 0"):
        load_teacher(str(folder))


@pytest.mark.parametrize(("kind", "padding"), [("embedding", 3), ("causal", -1), ("causal", None), ("mlm", 154)])
def test_other_padding_tokens_are_read(
    kind: str, padding: int | None, originals: dict[str, Path], tmp_path: Path
) -> None:
    assert load_teacher(str(changed(originals[kind], tmp_path / "t", pad_token_id=padding))).model()


@pytest.mark.usefixtures("unread")
def test_a_teacher_of_too_few_positions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match=r"texts of 8 tokens \(max_position_embeddings.* blocks of 16 or more"):
        load_teacher(str(write_teacher(tmp_path / "t", max_position_embeddings=8)))


def test_a_roberta_without_a_padding_token_is_refused(originals: dict[str, Path], tmp_path: Path) -> None:
    folder = changed(originals["embedding"], tmp_path / "t", model_type="roberta")
    content = json.loads((folder / "config.json").read_text()) | {"pad_token_id": None}
    (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(TeacherError, match=r"no pad_token_id in config\.json, after which its positions begin"):
        load_teacher(str(folder))


@pytest.mark.usefixtures("unread")
def test_a_token_numbered_beyond_the_embedding_is_refused(originals: dict[str, Path], tmp_path: Path) -> None:
    folder = changed(originals["embedding"], tmp_path / "t")
    content = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary["abc"] = 400
    (folder / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(TeacherError, match=r"155 tokens \(numbered up to 400\) but the model embeds 155"):
        load_teacher(str(folder))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_weights_that_are_not_finite_are_refused(
    value: float, dtype: torch.dtype, originals: dict[str, Path], tmp_path: Path
) -> None:
    folder = changed(originals["embedding"], tmp_path / "t")
    path = str(folder / "model.safetensors")
    weights = {name: tensor.to(dtype) for name, tensor in load_file(path).items()}
    weights["encoder.layer.1.output.dense.weight"][3, 5] = value
    save_file(weights, path)
    with pytest.raises(TeacherError, match=r"1 of the 8192 numbers of .*output\.dense\.weight are inf"):
        load_teacher(str(folder))


def test_large_weights_whose_sum_overflows_are_read(originals: dict[str, Path], tmp_path: Path) -> None:
    folder = changed(originals["embedding"], tmp_path / "t")
    with_weights(folder, pooler__dense__weight=torch.full((64, 64), 3e38))
    assert load_teacher(str(folder)).kind == "embedding"


# Configurations


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"hidden_size": "64"}, "hidden_size"),
        ({"num_hidden_layers": 1.5}, "num_hidden_layers"),
        ({"hidden_size": 63}, "not a multiple"),
        ({"num_attention_heads": 0}, "makes no model"),
        ({"vocab_size": -1}, "model embeds -1"),
        ({"vocab_size": None}, "has the shape"),
    ],
)
def test_a_configuration_of_wrong_values_is_refused(
    change: dict[str, Any], says: str, originals: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(TeacherError, match=says):
        load_teacher(str(changed(originals["embedding"], tmp_path / "t", **change)))


@pytest.mark.parametrize("content", ["[]", '"bert"', "{", "3", "", "[" * 100_000])
def test_a_configuration_that_is_no_table_is_refused(content: str, originals: dict[str, Path], tmp_path: Path) -> None:
    folder = changed(originals["embedding"], tmp_path / "t")
    (folder / "config.json").write_text(content)
    with pytest.raises(TeacherError, match=r"config\.json (must hold a table|cannot be read as JSON)"):
        load_teacher(str(folder))
