"""Strangers' families and losses at work: a real teacher, a real distillation, a stock student."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, ElectraConfig, ElectraModel

from distilsearch.distill.losses import LOSSES
from distilsearch.distill.recipes import RECIPES, recipe
from distilsearch.distill.targets.targets import target_names
from distilsearch.distill.teachers.teacher import Teacher, load_teacher
from distilsearch.distill.texts.data import Text, load_text
from distilsearch.distill.training import distill_student, start
from distilsearch.errors import InputError, TeacherError
from distilsearch.families import FAMILIES, family
from distilsearch.plugins import load

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
MODULES = dict(re.findall(r"```python\n# (\w+_(?:loss|recipe|family))\.py\n(.*?)```", PAGE.read_text(), re.DOTALL))


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The modules that the page on extending shows, outside of the tree; what they add is gone after the test."""
    (tmp_path / "site").mkdir()
    for name, content in MODULES.items():
        (tmp_path / "site" / f"{name}.py").write_text(content)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    before = [(known, dict(known)) for known in (LOSSES, RECIPES, FAMILIES)]
    yield
    for known, entries in before:
        known.clear()
        known.update(entries)
    for name in MODULES:
        sys.modules.pop(name, None)


def test_a_loss_and_its_recipe_train_a_student(teacher: Teacher, text: Text, make_architecture) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match="unknown recipe 'margin'"):
        recipe("margin")
    load(["margin_recipe", "margin_loss"])  # the recipe weighs a loss of the one that comes after it
    load(["margin_loss"])
    chosen = recipe("margin", batch_tokens=256)
    assert target_names(chosen) == ("hidden", "pooled")
    run = start(teacher, make_architecture(teacher), text, chosen, 6_000, precision="float32")
    batch = run.targets.batch(0)
    before = run.losses(batch)
    while run.step < run.steps:
        run.advance()
    after = run.losses(batch)
    assert all(after[name] < before[name] for name in ("margin", "tokens"))


def test_a_family_opens_a_teacher_and_trains_a_stock_student(teacher: Teacher, text_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "electra"
    sizes = {"hidden_size": 64, "embedding_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
    config = ElectraConfig(
        vocab_size=teacher.facts.vocabulary, intermediate_size=96, max_position_embeddings=64, **sizes
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        ElectraModel(config).save_pretrained(str(folder))
    teacher.tokenizer.save_pretrained(str(folder))
    with pytest.raises(TeacherError, match="model type 'electra'"):
        load_teacher(str(folder))
    load(["electra_family"])
    electra = load_teacher(str(folder))
    assert (electra.facts.family, electra.longest) == ("electra", 64)
    text = load_text([str(text_file)], electra, block=32, heldout_fraction=0.2)
    space = family("electra").space({"layers": [2], "width": [32], "heads": [2], "ffn": [48]}, electra.facts)
    architecture = space.decode(space.sample(1, np.random.default_rng(0)))[0]
    student = distill_student(
        electra, architecture, text, recipe("embedding", batch_tokens=256), 4_000, precision="float32"
    )
    stock = AutoModel.from_pretrained(str(student.save(tmp_path / "s")))
    assert isinstance(stock, ElectraModel)
    assert student.loss < 1
