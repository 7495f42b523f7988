"""A tiny random teacher on disk, as its owner would have saved it, and text in its vocabulary."""

from pathlib import Path
from typing import Any

import pytest
import torch

from distilsearch.architecture import Architecture
from distilsearch.distill.store.archive import Archive
from distilsearch.distill.teachers.teacher import Teacher, load_teacher
from distilsearch.distill.texts.data import Text, load_text
from distilsearch.testing.teachers import write_teacher, write_text


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Tiny models are slower on many threads, and so are the other tests of a shared machine."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test caches in a folder of its own."""
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path_factory.mktemp("home")))


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
    return write_text(tmp_path_factory.mktemp("text") / "words.txt")


@pytest.fixture
def text(teacher: Teacher, text_file: Path) -> Text:
    """The words in blocks of 32."""
    return load_text([str(text_file)], teacher, block=32, heldout_fraction=0.2)


@pytest.fixture
def archive() -> Archive:
    """The archive of the test's own home."""
    return Archive()


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
