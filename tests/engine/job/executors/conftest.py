"""Locks and a home of the test's own, a teacher so small that a training takes a second, work for other machines."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizer

from distilsearch.architecture import Architecture
from distilsearch.distill.job import Training
from distilsearch.distill.recipes import default_recipe
from distilsearch.distill.store.depot import Depot
from distilsearch.distill.teachers.teacher import Teacher, load_teacher
from distilsearch.distill.texts.data import Text, load_text
from distilsearch.engine.job.jobs import Distil

WORDS = [a + b + c for a in "abcdef" for b in "abcde" for c in "abcde"]


@pytest.fixture(autouse=True)
def own_places(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests on this machine are not waited for; those of one session, whose children outlive a test, are."""
    monkeypatch.setenv("TMPDIR", str(tmp_path_factory.getbasetemp()))
    monkeypatch.setattr(tempfile, "tempdir", None)  # what this process remembers of it
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


@contextmanager
def home_at(folder: Path) -> Iterator[None]:
    """This process, and those it starts meanwhile, have their home there."""
    former = os.environ.get("DISTILSEARCH_HOME", "")
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["DISTILSEARCH_HOME"] = str(folder)
    try:
        yield
    finally:
        os.environ["DISTILSEARCH_HOME"] = former


@dataclass(frozen=True)
class Work:
    """What there is to do on other machines: all of them see `depot`, the driver alone his `folder`."""

    folder: Path
    depot: str
    training: Training
    vocabulary: int

    def student(self, layers: int = 1) -> Architecture:
        """A student of the tiny teacher."""
        values: dict[str, Any] = {"layers": layers, "width": 16, "heads": 2, "ffn": 32, "inherit": "even"}
        values |= {"activation": "gelu", "vocabulary": self.vocabulary, "positions": 64, "types": 2}
        return Architecture("bert", values | {"head": "embedding", "pool": "mean"})

    def distil(self, layers: int = 1, tokens: int = 4096, **changes: Any) -> Distil:
        """A job that trains one student."""
        asked: dict[str, Any] = {"depot": self.depot, "threads": 1} | changes
        return Distil(self.training.at(tokens), default_recipe("embedding"), (self.student(layers),), **asked)

    def begun(self, home: Path, layers: int, tokens: int) -> bool:
        """Whether a training has begun on the machine of a home."""
        return any((home / "trials" / ".claims" / self.training.at(tokens).key(self.student(layers))).glob("*"))


@pytest.fixture(scope="session")
def work(teacher: Teacher, words: Path, tmp_path_factory: pytest.TempPathFactory) -> Work:
    """Work whose teacher and text have been put into the depot."""
    folder, depot = tmp_path_factory.mktemp("driver"), f"file://{tmp_path_factory.mktemp('depot')}"
    with home_at(folder / "home"):
        text = load_text([str(words)], teacher, block=32, heldout_fraction=0.2)
        training = Training.of(teacher, text, default_recipe("embedding"), 4096, 0, "float32")
        Depot(depot).put_teacher(teacher)
        Depot(depot).put_text(text)
    return Work(folder, depot, training, teacher.facts.vocabulary)


@pytest.fixture(scope="session")
def machine() -> Callable[[Path], AbstractContextManager[None]]:
    """`machine(folder)`: this process, and those it starts meanwhile, have their home there."""
    return home_at


@pytest.fixture
def driver_home(work: Work, own_places: None) -> Iterator[None]:
    """This process is the driver."""
    with home_at(work.folder / "home"):
        yield
