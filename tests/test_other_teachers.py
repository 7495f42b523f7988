"""The main job with teachers that do not embed: a masked language model, and a decoder served token by token."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    BertConfig,
    BertForMaskedLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from distilsearch.architecture import Architecture
from distilsearch.engine.job.run import search
from distilsearch.engine.job.runfile.config import Run

WORDS = [a + b for a in "bdfgk" for b in "aeiou"]
SPECIAL = {name: f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
SHAPE: dict[str, Any] = {
    "vocab_size": len(SPECIAL) + len(WORDS),
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "max_position_embeddings": 128,
}
SPACES: dict[str, dict[str, Any]] = {
    "mlm": {"family": "bert", "layers": [1, 2], "width": [32, 64], "heads": [2], "ffn": [48]},
    "causal": {
        "family": "llama",
        "layers": [1, 2],
        "width": [32, 64],
        "heads": [2],
        "kv_heads": [1],
        "head_size": [16],
        "ffn": [48],
    },
}
FINISH = {"mlm": "knee", "causal": "front"}
PHASES = {"mlm": "encode", "causal": "decode"}
LOADERS = {"mlm": AutoModelForMaskedLM, "causal": AutoModelForCausalLM}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def _teacher(folder: Path, kind: str) -> Path:
    vocabulary = {word: i for i, word in enumerate([*SPECIAL.values(), *WORDS])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token=SPECIAL["unk"]))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    named = {f"{name}_token": token for name, token in SPECIAL.items()} | {"eos_token": SPECIAL["sep"]}
    PreTrainedTokenizerFast(tokenizer_object=backend, **named).save_pretrained(str(folder))
    torch.manual_seed(0)
    model: Any
    if kind == "mlm":
        model = BertForMaskedLM(BertConfig(**SHAPE))
    else:
        model = LlamaForCausalLM(LlamaConfig(**SHAPE, num_key_value_heads=2, head_dim=16, eos_token_id=3))
    model.save_pretrained(str(folder))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mlm", "causal"])
def test_a_search_ends_with_stock_students(kind: str, tmp_path: Path) -> None:
    rng = random.Random(0)
    (tmp_path / "words.txt").write_text(" ".join(rng.choices(WORDS, k=20_000)))
    (tmp_path / "short.toml").write_text(f'base = "{kind}"\nwarmup_tokens = 1_024\n')
    serving = {"batch": 1, "sequence": 16, "threads": 1, "phase": PHASES[kind]}
    asked = {
        "teacher": str(_teacher(tmp_path / "teacher", kind)),
        "text": [str(tmp_path / "words.txt")],
        "trials": 2,
        "space": SPACES[kind] | {"inherit": ["even"]},
        "train": {
            "recipe": str(tmp_path / "short.toml"),
            "flash_tokens": 4_096,
            "final_tokens": 8_192,
            "finish": FINISH[kind],
            "threads": 1,
        },
        "target": [{"device": "cpu", "serving": serving}],
    }
    result = search(Run.parse(asked), tmp_path / "run")
    assert result.front
    assert result.data["quality"] == {"mlm": "masked-LM loss", "causal": "next-token loss"}[kind]
    assert all(member.latencies["latency_ms"].measured > 0 for member in result.front)
    student = LOADERS[kind].from_pretrained(str(result.student(result.front[0].key)))
    assert student(torch.tensor([[6, 7, 8]])).logits.shape == (1, 3, SHAPE["vocab_size"])
    finished = [result.knee] if FINISH[kind] == "knee" else [m.key for m in result.front]
    _check_trunks(tmp_path / "home" / "trials", finished)
    kept = json.loads((tmp_path / "run" / "result.json").read_text())
    assert kept["targets"][0]["serving"]["phase"] == PHASES[kind]


def _check_trunks(trials: Path, finished: list[str]) -> None:
    """Each student keeps its longest trial's; the finished ones went on from their flashes'."""
    left = [json.loads((path.parent / "trial.json").read_text()) for path in trials.glob("*/trunk.safetensors")]
    lengths = {Architecture.from_json(record["architecture"]).key: record["training"]["tokens"] for record in left}
    assert len(left) == len(lengths)
    assert {key for key, tokens in lengths.items() if tokens == 8_192} == set(finished)
    assert set(lengths.values()) <= {4_096, 8_192}
    assert len(lengths) == 2
