"""The contract of every preset. Inherit it and give the fixture `name`:

    class TestMine(PresetContract):
        @pytest.fixture
        def name(self):
            load(["my_preset"])
            return "mine"

A preset is defaults of a run file in its own words, so it is tried under run files.
"""

import json
import tomllib
from typing import Any

import pytest

from ..distill.losses import KINDS, LOSSES
from ..distill.recipes import BY_KIND, recipe
from ..engine.job.runfile.config import WHOLE_FILE, Run
from ..engine.job.runfile.presets import Preset, preset


class PresetContract:
    """What a run relies on in a preset."""

    @pytest.fixture
    def name(self) -> str:
        """The name that it is listed under, its plugin and those that it chooses from loaded."""
        raise NotImplementedError("give the fixture `name`: of your preset")

    @pytest.fixture
    def chosen(self, name: str) -> Preset:
        """The preset."""
        return preset(name)

    @pytest.fixture
    def shortest(self, name: str) -> dict[str, Any]:
        """A run file that leaves open all that a preset may say."""
        return {"teacher": "a teacher", "text": ["a text"], "preset": name}

    def test_it_is_plain_values(self, chosen: Preset) -> None:
        assert json.loads(json.dumps(chosen.sections())) == chosen.sections()

    def test_its_recipe_is_there(self, chosen: Preset) -> None:
        assert chosen.recipe in BY_KIND or recipe(chosen.recipe).weights

    def test_it_serves_kinds_of_teacher_that_its_recipe_can_be_asked_of(self, chosen: Preset) -> None:
        assert chosen.kinds
        assert set(chosen.kinds) <= set(KINDS)
        weights = () if chosen.recipe in BY_KIND else recipe(chosen.recipe).weights
        assert all(set(chosen.kinds) <= set(LOSSES[loss].kinds) for loss, weight in weights if weight)

    def test_a_run_file_may_leave_all_of_it_open(self, chosen: Preset, shortest: dict[str, Any]) -> None:
        run = Run.parse(shortest)
        assert run.train.recipe == chosen.recipe
        assert run.strategy.name == chosen.strategy["name"]
        assert run.source.name == chosen.source["name"]
        assert run.space_for().space.size > 0
        assert {key: getattr(run.train, key) for key in chosen.train} == {
            key: tuple(value) if isinstance(value, list) else value for key, value in chosen.train.items()
        }

    def test_it_is_written_out_whole(self, shortest: dict[str, Any]) -> None:
        run = Run.parse(shortest)
        assert Run.parse(tomllib.loads(run.to_toml()), WHOLE_FILE) == run

    def test_what_the_run_file_says_wins(self, chosen: Preset, shortest: dict[str, Any]) -> None:
        run = Run.parse(shortest | {"train": {"recipe": "relation"}})
        assert run.train == Run.parse(shortest).train.model_copy(update={"recipe": "relation"})
        another = "enumerate" if chosen.strategy["name"] != "enumerate" else "ehvi"
        run = Run.parse(shortest | {"strategy": another})
        assert run.strategy == Run.parse({**shortest, "preset": "default", "strategy": another}).strategy
