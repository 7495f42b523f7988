"""The contract of every recipe."""

import pytest

from distilsearch.distill.recipes import RECIPES, Recipe
from distilsearch.testing.recipes import RecipeContract


class TestRecipes(RecipeContract):
    @pytest.fixture(params=sorted(RECIPES))
    def chosen(self, request: pytest.FixtureRequest) -> Recipe:
        return RECIPES[request.param]
