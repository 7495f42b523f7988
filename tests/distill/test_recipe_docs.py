"""The page on recipes names every recipe, key and loss there is."""

from dataclasses import fields
from pathlib import Path

import pytest

from distilsearch.distill.losses import LOSSES
from distilsearch.distill.recipes import RECIPES, Recipe

PAGE = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [*RECIPES, *LOSSES, *(field.name for field in fields(Recipe))])
def test_the_page_on_recipes_is_complete(name: str) -> None:
    assert f"`{name}`" in PAGE
