"""Tiny random teachers on disk, as their owners would have saved them, and text in their vocabulary."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

LETTERS = "abcdefghij"
WORDS = [a + b + c for a in LETTERS[:6] for b in LETTERS[:5] for c in LETTERS[:5]]  # 150 three-letter words
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def write_teacher(folder: Path, kind: str = "embedding", words: Sequence[str] = WORDS, **changes: Any) -> Path:
    """A random model of 3 layers, width 64, with its tokenizer: a BERT, or for the kind "causal" a Llama.

    Args:
        kind: of teacher; "pretraining" is a masked-LM teacher that also judges next sentences.
        changes: of its transformers configuration.
    """
    import torch
    from transformers import (
        BertConfig,
        BertForMaskedLM,
        BertForPreTraining,
        BertModel,
        BertTokenizer,
        LlamaConfig,
        LlamaForCausalLM,
    )

    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *words])}
    tokenizer = BertTokenizer(vocab=vocabulary, do_lower_case=True)
    values: dict[str, Any] = {
        "vocab_size": len(vocabulary),
        "hidden_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 128,
        "max_position_embeddings": 64,
        "initializer_range": 0.2,
    }
    models: dict[str, Any] = {"embedding": BertModel, "mlm": BertForMaskedLM, "causal": LlamaForCausalLM}
    models["pretraining"] = BertForPreTraining
    if kind == "causal":
        tokenizer.eos_token, tokenizer.bos_token = "[SEP]", "[CLS]"
        values |= {"num_key_value_heads": 2, "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    tokenizer.save_pretrained(str(folder))
    config = (LlamaConfig if kind == "causal" else BertConfig)(**(values | changes))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = models[kind](config)
    model.save_pretrained(str(folder))
    if kind == "embedding":
        _write_sentence_files(folder)
    return folder


def write_text(path: Path, words: Sequence[str] = WORDS, count: int = 6000, seed: int = 0) -> Path:
    """Words of a Zipf-like draw, twenty a line."""
    generator = np.random.default_rng(seed)
    chances = 1 / np.arange(1, len(words) + 1)
    drawn = generator.choice(words, count, p=chances / chances.sum())
    path.write_text("\n".join(" ".join(drawn[i : i + 20]) for i in range(0, count, 20)))
    return path


def dress(folder: Path, modules: Sequence[str], files: Mapping[str, Mapping[str, Any]], cased: bool = False) -> Path:
    """Other files of sentence-transformers for a teacher that `write_teacher` has made, of any kind of module.

    Args:
        modules: kinds of modules after the Transformer, such as "Pooling"; a "Dense" one has 24 outputs.
        files: what is changed or added in JSON files, by their paths in the folder.
        cased: whether its tokenizer tells FEE from fee.
    """
    paths = ["", *(f"{place}_{name}" for place, name in enumerate(modules, 1))]
    prefix = "sentence_transformers.models"
    listed = [
        {"idx": place, "name": str(place), "path": path, "type": f"{prefix}.{name}"}
        for place, (path, name) in enumerate(zip(paths, ["Transformer", *modules], strict=True))
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    for path, name in zip(paths[1:], modules, strict=True):
        (folder / path).mkdir(exist_ok=True)
        if name == "Dense":
            _write_dense(folder / path)
        if name == "Pooling":
            _change(folder / path / "config.json", {"word_embedding_dimension": 64})
    for path, change in files.items():
        _change(folder / path, change)
    if cased:
        normalizer = json.loads((folder / "tokenizer.json").read_text())["normalizer"]
        _change(folder / "tokenizer.json", {"normalizer": normalizer | {"lowercase": False}})
        _change(folder / "tokenizer_config.json", {"do_lower_case": False})
    return folder


def _write_dense(folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    weight = torch.randn(24, 64, generator=torch.Generator().manual_seed(1)) / 8
    save_file({"linear.weight": weight, "linear.bias": torch.ones(24) / 4}, str(folder / "model.safetensors"))
    _change(folder / "config.json", {"in_features": 64, "out_features": 24, "bias": True})


def _change(path: Path, change: Mapping[str, Any]) -> None:
    former = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(former | dict(change)))


def _write_sentence_files(folder: Path) -> None:
    prefix = "sentence_transformers.models"
    names = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"{prefix}.{name}"} for i, (path, name) in enumerate(names)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 64, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
