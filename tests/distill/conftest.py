"""A tiny random teacher on disk, as its owner would have saved it, and text in its vocabulary."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertModel, BertTokenizer

from distilsearch.architecture import Architecture
from distilsearch.distill.data import Text, load_text
from distilsearch.distill.teacher import Teacher, load_teacher

LETTERS = "abcdefghij"
WORDS = [a + b + c for a in LETTERS[:6] for b in LETTERS[:5] for c in LETTERS[:5]]  # 150 three-letter words


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Tiny models are slower on many threads, and so are the other tests of a shared machine."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test caches in a folder of its own."""
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path_factory.mktemp("home")))


def write_teacher(folder: Path, kind: str = "embedding", words: list[str] = WORDS, **changes: Any) -> Path:
    """A random BERT of 3 layers, width 64, with its tokenizer."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {token: i for i, token in enumerate(special + words)}
    BertTokenizer(vocab=vocabulary, do_lower_case=True).save_pretrained(str(folder))
    values = {
        "vocab_size": len(vocabulary),
        "hidden_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 128,
        "max_position_embeddings": 64,
        "initializer_range": 0.2,
    }
    config = BertConfig(**(values | changes))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = BertForMaskedLM(config) if kind == "mlm" else BertModel(config)
    model.save_pretrained(str(folder))
    if kind == "embedding":
        prefix = "sentence_transformers.models"
        modules = [{"idx": 0, "name": "0", "path": "", "type": f"{prefix}.Transformer"}]
        modules += [{"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{prefix}.Pooling"}]
        modules += [{"idx": 2, "name": "2", "path": "2_Normalize", "type": f"{prefix}.Normalize"}]
        (folder / "modules.json").write_text(json.dumps(modules))
        (folder / "1_Pooling").mkdir()
        pooling = {"word_embedding_dimension": 64, "pooling_mode_mean_tokens": True}
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return folder


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    """A tiny embedding teacher."""
    return load_teacher(str(write_teacher(tmp_path_factory.mktemp("teacher"))))


@pytest.fixture(scope="session")
def mlm_teacher(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    """A tiny masked-LM teacher."""
    return load_teacher(str(write_teacher(tmp_path_factory.mktemp("mlm"), "mlm")))


@pytest.fixture(scope="session")
def text_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """6,000 words of a Zipf-like draw."""
    generator = np.random.default_rng(0)
    chances = 1 / np.arange(1, len(WORDS) + 1)
    drawn = generator.choice(WORDS, 6000, p=chances / chances.sum())
    path = tmp_path_factory.mktemp("text") / "words.txt"
    path.write_text("\n".join(" ".join(drawn[i : i + 20]) for i in range(0, 6000, 20)))
    return path


@pytest.fixture
def text(teacher: Teacher, text_file: Path) -> Text:
    """The words in blocks of 32."""
    return load_text([str(text_file)], teacher, block=32, heldout_fraction=0.2)


def student_of(teacher: Teacher, **genes: Any) -> Architecture:
    """A student of the tiny teacher: 2 layers, width 32, unless told otherwise."""
    facts = teacher.facts
    values = {"layers": 2, "width": 32, "heads": 2, "ffn": 64, "inherit": "even", "activation": "gelu"}
    values |= {name: getattr(facts, name) for name in ("vocabulary", "positions", "types", "head", "pool")}
    return Architecture("bert", values | genes)


@pytest.fixture(scope="session")
def make_architecture() -> Any:
    """`make_architecture(teacher, **genes)`: a student's architecture."""
    return student_of


@pytest.fixture(scope="session")
def make_teacher() -> Any:
    """`make_teacher(folder, kind, **config)`: a tiny random teacher on disk."""
    return write_teacher
