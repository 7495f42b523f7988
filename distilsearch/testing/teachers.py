"""Tiny random teachers on disk, as their owners would have saved them, and text in their vocabulary."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

LETTERS = "abcdefghij"
WORDS = [a + b + c for a in LETTERS[:6] for b in LETTERS[:5] for c in LETTERS[:5]]  # 150 three-letter words
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def write_teacher(folder: Path, kind: str = "embedding", words: Sequence[str] = WORDS, **changes: Any) -> Path:
    """A random model of 3 layers, width 64, with its tokenizer: a BERT, or for the kind "causal" a Llama.

    Args:
        changes: of its transformers configuration.
    """
    import torch
    from transformers import BertConfig, BertForMaskedLM, BertModel, BertTokenizer, LlamaConfig, LlamaForCausalLM

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


def write_text(path: Path, words: Sequence[str] = WORDS, count: int = 6000) -> Path:
    """Words of a Zipf-like draw, twenty a line."""
    generator = np.random.default_rng(0)
    chances = 1 / np.arange(1, len(words) + 1)
    drawn = generator.choice(words, count, p=chances / chances.sum())
    path.write_text("\n".join(" ".join(drawn[i : i + 20]) for i in range(0, count, 20)))
    return path


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
