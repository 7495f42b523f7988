"""Weights that are not those of their configuration are refused by name before they are read; what fits is not."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from distilsearch.distill.teachers import fit
from distilsearch.distill.teachers import teacher as module
from distilsearch.distill.teachers.checkpoint import headers, weight_files
from distilsearch.distill.teachers.teacher import load_teacher
from distilsearch.errors import TeacherError
from distilsearch.testing.teachers import write_teacher

Weights = dict[str, Tensor]


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A good checkpoint of every kind."""
    kinds = ("embedding", "mlm", "causal")
    return {kind: write_teacher(tmp_path_factory.mktemp(kind), kind) for kind in kinds}


@pytest.fixture(autouse=True)
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is refused is refused before its weights are read."""

    def read(weights: object) -> str:
        raise AssertionError("the weights were read")

    monkeypatch.setattr(module, "weights_digest", read)


def altered(original: Path, place: Path, change: Callable[[Weights], Weights], **config: Any) -> str:
    """A copy of a checkpoint with other weights, or with another configuration."""
    shutil.copytree(original, place)
    path = place / "model.safetensors"
    weights = {name: value.contiguous() for name, value in change(load_file(str(path))).items()}
    save_file(weights, str(path), {"format": "pt"})
    content = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps(content | config))
    return str(place)


def behind(prefix: str) -> Callable[[Weights], Weights]:
    return lambda weights: {prefix + name: value for name, value in weights.items()}


def renamed(old: str, new: str) -> Callable[[Weights], Weights]:
    return lambda weights: {name.replace(old, new): value for name, value in weights.items()}


def without(part: str) -> Callable[[Weights], Weights]:
    return lambda weights: {name: value for name, value in weights.items() if part not in name}


def halved(part: str) -> Callable[[Weights], Weights]:
    return lambda weights: {n: v[: len(v) // 2].clone() if part in n else v for n, v in weights.items()}


def with_another(name: str) -> Callable[[Weights], Weights]:
    return lambda weights: weights | {name: torch.zeros(4, 4)}


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "base_model.model.", "0.auto_model.", "x"])
@pytest.mark.parametrize("kind", ["embedding", "mlm", "causal"])
def test_names_behind_a_wrappers_prefix_are_refused(
    kind: str, prefix: str, originals: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(TeacherError, match=rf"are missing: .*behind '{prefix}'.*save the model inside"):
        load_teacher(altered(originals[kind], tmp_path / "t", behind(prefix)))


@pytest.mark.parametrize(
    ("kind", "change", "says"),
    [
        ("embedding", renamed("encoder.layer", "transformer.block"), "there are instead transformer.block"),
        ("embedding", without("layer.1."), "encoder.layer.1.attention.output.LayerNorm.bias, .* and 13 more"),
        ("embedding", without("word_embeddings"), "1 are missing: embeddings.word_embeddings.weight"),
        ("mlm", without("cls.predictions"), "cls.predictions"),
        ("mlm", without("transform.dense.weight"), "cls.predictions.transform.dense.weight"),
        ("causal", without("lm_head"), "1 are missing: lm_head.weight"),
        ("causal", without("layers.2."), r"model.layers.2.input_layernorm.weight, .* and 6 more"),
        ("causal", renamed("mlp.gate_proj", "mlp.w1"), "gate_proj.weight.*instead model.layers.0.mlp.w1.weight"),
        ("embedding", halved("layer.0.intermediate"), r"dense.bias has the shape \(64,\) .*\(128,\)"),
        ("causal", halved("embed_tokens"), r"embed_tokens.weight has the shape \(77, 64\)"),
        ("causal", with_another("model.layers.0.self_attn.q_norm.weight"), "no place for .*q_norm"),
        ("embedding", with_another("encoder.layer.0.attention.self.query.lora_A.weight"), "no place for .*lora_A"),
        ("embedding", with_another("encoder.layer.7.output.dense.weight"), "no place for encoder.layer.7"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(
    kind: str, change: Callable[[Weights], Weights], says: str, originals: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(TeacherError, match=says):
        load_teacher(altered(originals[kind], tmp_path / "t", change))


def test_a_configuration_of_fewer_layers_than_there_are_is_refused(originals: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match=r"no place for encoder\.layer\.2\."):
        load_teacher(altered(originals["embedding"], tmp_path / "t", dict, num_hidden_layers=2))


def test_a_shard_without_its_weights_is_refused(originals: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(altered(originals["causal"], tmp_path / "t", dict))
    weights = load_file(str(folder / "model.safetensors"))
    (folder / "model.safetensors").unlink()
    halves = {"a": [n for n in weights if "layers" in n], "b": [n for n in weights if "layers" not in n]}
    shards = {name: f"model-{part}.safetensors" for part, names in halves.items() for name in names}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    for part, names in halves.items():
        content = {name: weights[name] for name in names if name != "model.layers.1.mlp.up_proj.weight"}
        save_file(content, str(folder / f"model-{part}.safetensors"), {"format": "pt"})
    with pytest.raises(TeacherError, match=r"1 are missing: model\.layers\.1\.mlp\.up_proj\.weight"):
        load_teacher(str(folder))


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("embedding", dict),
        ("embedding", without("pooler")),
        ("embedding", behind("bert.")),
        ("embedding", lambda weights: weights | {"embeddings.position_ids": torch.arange(64)[None]}),
        ("embedding", with_another("cls.predictions.transform.dense.weight")),
        ("embedding", renamed("LayerNorm.weight", "LayerNorm.gamma")),
        ("mlm", dict),
        ("mlm", with_another("cls.seq_relationship.weight")),
        ("mlm", lambda w: w | {"cls.predictions.decoder.weight": w["bert.embeddings.word_embeddings.weight"].clone()}),
        ("causal", dict),
        ("causal", lambda weights: weights | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)}),
    ],
)
def test_what_fits_is_read(
    kind: str, change: Callable[[Weights], Weights], originals: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(AssertionError, match="the weights were read"):
        load_teacher(altered(originals[kind], tmp_path / "t", change))


def test_tied_weights_may_have_one_name(tmp_path: Path) -> None:
    folder = write_teacher(tmp_path / "tied", "causal", tie_word_embeddings=True)
    assert "lm_head.weight" not in load_file(str(folder / "model.safetensors"))
    with pytest.raises(AssertionError, match="the weights were read"):
        load_teacher(str(folder))


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_single_weight_is_missing_is_named(data: st.DataObject, originals: dict[str, Path]) -> None:
    folder = originals["causal"]
    weights = headers(weight_files(folder))
    name = data.draw(st.sampled_from(sorted(weights)))
    rest = {other: header for other, header in weights.items() if other != name}
    config = module.AutoConfig.from_pretrained(str(folder))
    with pytest.raises(TeacherError, match=f"1 are missing: {name};"):
        fit.check_fit(folder, module.AutoModelForCausalLM, config, rest, module.family("llama"))
