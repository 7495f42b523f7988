"""Locks and a home of the test's own, and a teacher so small that a training takes a second."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizer

from distilsearch.distill.data import Text, load_text
from distilsearch.distill.teacher import Teacher, load_teacher

WORDS = [a + b + c for a in "abcdef" for b in "abcde" for c in "abcde"]


@pytest.fixture(autouse=True)
def own_places(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests on this machine are not waited for; those of one session, whose children outlive a test, are."""
    monkeypatch.setenv("TMPDIR", str(tmp_path_factory.getbasetemp()))
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    """A random BERT of 2 layers, width 32, for embeddings."""
    folder = tmp_path_factory.mktemp("teacher")
    vocabulary = {token: i for i, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])}
    BertTokenizer(vocab=vocabulary, do_lower_case=True).save_pretrained(str(folder))
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = BertConfig(vocab_size=len(vocabulary), max_position_embeddings=64, initializer_range=0.2, **sizes)
        BertModel(config).save_pretrained(str(folder))
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    modules += [{"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return load_teacher(str(folder))


@pytest.fixture(scope="session")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 6,000 words."""
    path = tmp_path_factory.mktemp("text") / "words.txt"
    drawn = np.random.default_rng(0).choice(WORDS, 6000)
    path.write_text("\n".join(" ".join(drawn[i : i + 20]) for i in range(0, 6000, 20)))
    return path


@pytest.fixture
def text(teacher: Teacher, words: Path) -> Text:
    """The words in blocks of 32."""
    return load_text([str(words)], teacher, block=32, heldout_fraction=0.2)
