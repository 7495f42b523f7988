"""The contract of every recipe. Inherit it and give the fixture `chosen`:

    class TestMine(RecipeContract):
        @pytest.fixture
        def chosen(self): return MINE

A recipe is a value that names equal trainings; it is tried on tiny random teachers of every kind that can give its
losses.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from distilsearch.distill.teachers.teacher import load_teacher
from distilsearch.distill.texts.data import load_text

from ..distill.losses import KINDS, LOSSES
from ..distill.recipes import Recipe
from ..distill.targets.targets import recipe_losses
from ..distill.training import distill_student
from ..families import family
from .teachers import write_teacher, write_text

SIZES = {"layers": [2], "width": [32], "heads": [2], "ffn": [48]}
DECODER = {"kv_heads": [1], "head_size": [16]}
TOKENS = 2_000


class RecipeContract:
    """What the house relies on in a recipe."""

    @pytest.fixture
    def chosen(self) -> Recipe:
        """The recipe."""
        raise NotImplementedError("give the fixture `chosen`: your recipe")

    @pytest.fixture(params=KINDS)
    def teacher_kind(self, request: pytest.FixtureRequest, chosen: Recipe) -> str:
        """Each kind of teacher that can give all losses of the recipe."""
        kind = str(request.param)
        if any(kind not in LOSSES[name].kinds for name, weight in chosen.weights if weight):
            pytest.skip(f"{chosen.name} asks for what teachers of kind {kind} cannot give")
        return kind

    def test_some_kind_of_teacher_gives_all_its_losses(self, chosen: Recipe) -> None:
        assert set(KINDS).intersection(*(LOSSES[name].kinds for name, weight in chosen.weights if weight))
        assert recipe_losses(chosen)

    def test_it_survives_json_and_its_name_is_no_part_of_its_key(self, chosen: Recipe) -> None:
        again = Recipe.from_json(json.loads(json.dumps(chosen.to_json())))
        assert again == chosen
        assert again.key == replace(chosen, name="another").key
        assert again.key != replace(chosen, learning_rate=chosen.learning_rate * 1.5).key

    def test_its_rates_and_trunks_are_within_bounds(self, chosen: Recipe) -> None:
        for share in np.linspace(0, 1, 5):
            assert 0 < chosen.rate(float(share)) <= chosen.learning_rate
        for steps in (1, 10, 1000):
            assert 0 <= chosen.fall(steps) < steps
        for since, tokens in ((10_000, 20_000), (160_000, 320_000), (160_000, 2_000_000)):
            assert 0 <= chosen.shared(since, tokens) <= since

    def test_equal_trainings_give_equal_students(
        self, chosen: Recipe, teacher_kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path / "home"))
        teacher = load_teacher(str(write_teacher(tmp_path / "teacher", teacher_kind)))
        text = load_text([str(write_text(tmp_path / "words.txt"))], teacher, block=32, heldout_fraction=0.2)
        short = tuple(replace(view, length=min(view.length, 32)) for view in chosen.views)
        small = replace(chosen, batch_tokens=256, views=short)
        genes = SIZES | (DECODER if teacher_kind == "causal" else {})
        space = family(teacher.facts.family).space(genes, teacher.facts)
        architecture = space.decode(space.sample(1, np.random.default_rng(0)))[0]
        first, again = (
            distill_student(teacher, architecture, text, small, TOKENS, precision="float32") for _ in range(2)
        )
        assert np.isfinite(first.loss)
        assert first.loss == again.loss
        for name, value in first.model.state_dict().items():
            assert value.isfinite().all()
            assert torch.equal(value, again.model.state_dict()[name])
