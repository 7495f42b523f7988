"""A student whose layers are left open starts from the best measured cut, or goes on as the one in its folder does."""

from dataclasses import replace
from pathlib import Path

import pytest

from distilsearch.distill.cuts import judging
from distilsearch.distill.material import Material
from distilsearch.distill.store import deliver as module
from distilsearch.distill.store.deliver import Order, deliver


@pytest.fixture
def order(teacher, text_file: Path, make_architecture, tmp_path: Path) -> Order:
    recipe = tmp_path / "mine.toml"
    recipe.write_text('base = "embedding"\nbatch_tokens = 256\n')
    material = Material(str(teacher.folder), [str(text_file)], recipe=str(recipe), text_block=32)
    return Order(material, {make_architecture(teacher): {}}, 1_000, precision="float32", open=True)


def test_the_best_measured_cut_is_taken_and_said(order: Order, tmp_path: Path) -> None:
    said: list[str] = []
    (made,) = deliver(order, tmp_path / "out", progress=lambda what, done, total: said.append(what))
    teacher, text, _ = order.material.opened()
    (best,) = judging.judged_cuts(teacher, text, [2]).best(2)
    assert made.trial.architecture["inherit"] == best
    assert any(f"start from the teacher's {best}" in words for words in said)


def test_what_lies_in_the_folder_goes_on_with_its_own_layers(
    order: Order, make_architecture, teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = replace(order, cards={make_architecture(teacher, inherit="first"): {}}, open=False)
    deliver(named, tmp_path / "out")
    monkeypatch.setattr(module, "judged_cuts", None)
    (longer,) = deliver(replace(order, tokens=2_000), tmp_path / "out")
    assert longer.trial.architecture["inherit"] == "0,1"
