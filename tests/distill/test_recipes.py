"""A recipe is a value: the same key for the same training, files beside names, senseless ones refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from distilsearch.distill.recipes import (
    ANCHORED,
    EMBEDDING,
    MLM,
    MOORED,
    RECIPES,
    SENTENCES,
    default_recipe,
    recipe,
    recipe_for,
)
from distilsearch.errors import InputError


def test_keys_do_not_change_between_versions() -> None:
    assert EMBEDDING.key == "eaef7b668f53"
    assert replace(EMBEDDING, name="other").key == EMBEDDING.key
    assert replace(EMBEDDING, temperature=2.0).key != EMBEDDING.key
    assert ANCHORED.key == "a40254622670"
    assert MOORED.key == "23ed58941041"
    views = MOORED.views
    for changes in ({"sentences": True}, {"ends": True}):
        assert replace(MOORED, views=(replace(views[0], **changes), *views[1:])).key != MOORED.key
    assert len({known.key for known in RECIPES.values()}) == len(RECIPES)


def test_students_near_the_teacher_learn_at_a_lower_rate() -> None:
    assert EMBEDDING.rate(0.0) == EMBEDDING.learning_rate
    assert EMBEDDING.rate(1.0) == pytest.approx(EMBEDDING.near * EMBEDDING.learning_rate)
    assert EMBEDDING.rate(1.0) < EMBEDDING.rate(0.5) < EMBEDDING.rate(0.1) < EMBEDDING.rate(0.0)
    assert replace(EMBEDDING, near=1.0).rate(1.0) == EMBEDDING.learning_rate


def test_the_default_changes_for_new_runs_and_stays_for_those_that_were_started_with_it() -> None:
    assert recipe_for("embedding") == recipe_for("embedding", "") == recipe_for("embedding", "auto") == SENTENCES
    assert recipe_for("embedding", "default") == recipe_for("embedding", "embedding") == EMBEDDING
    assert recipe_for("embedding", "moored") == MOORED
    assert recipe_for("embedding", "default-2") == recipe_for("embedding", "anchored") == ANCHORED
    assert recipe_for("mlm", "default") == recipe_for("mlm") == MLM
    with pytest.raises(InputError, match="did you mean 'anchored'"):
        recipe_for("embedding", "anchord")


def test_recipes_come_from_files(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('base = "embedding"\nweights = { tokens = 1, similarity = 5.0 }\nlearning_rate = 5e-4\n')
    mine = recipe(str(path))
    assert (mine.name, dict(mine.weights)) == ("mine", {"tokens": 1.0, "similarity": 5.0})
    assert mine.views == EMBEDDING.views
    whole = tmp_path / "whole.json"
    whole.write_text(json.dumps(mine.to_json()))
    assert recipe(str(whole)) == mine


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("weights = { tokns = 1.0 }", "did you mean 'tokens'"),
        ("weigths = { tokens = 1.0 }", "did you mean 'weights'"),
        ('base = "embeding"', "did you mean 'embedding'"),
        ("base = 3", "name of another"),
        ('weights = { tokens = "much" }', "needs a name, weights"),
        ("learning_rate = 1.0", "needs a name, weights"),
        ("not toml", "not valid TOML"),
        ('base = "mlm"\nmapping = "evenly"', "mapping of layers"),
        ('base = "mlm"\nlearning_rate = nan', "learning_rate must be positive, got nan"),
        ('base = "mlm"\nlearning_rate = "fast"', "learning_rate must be positive, got 'fast'"),
        ('base = "mlm"\nprogressive = 1.0', "progressive must be in"),
        ('base = "mlm"\nnear = 0.0', "near must be in"),
        ('base = "mlm"\nanchor = 1.0', "anchor must be in"),
        ('base = "mlm"\nanchor_from = 0.0', "anchor_from must be in"),
        ('base = "mlm"\ndecay = 0.0', "decay must be in"),
        ('base = "embedding"\nword_rate = 0.0', "word_rate must be positive"),
        ('base = "embedding"\nwarmup_tokens = -1', "warmup_tokens must be 0 or more"),
        ("weights = { tokens = 0.0 }", "a loss that weighs something"),
        ('base = "mobilebert"\nmapping = "final"', "transfers every layer"),
        (
            'base = "relation"\nviews = [{ ends = true }]',
            "'relation' would count padding; weigh tokens, embedding, sim",
        ),
        ('base = "embedding"\nprogressive = 0.3\nviews = [{ ends = true }]', "set progressive = 0"),
        ('base = "embedding"\nviews = [{ ends = 1 }]', "a view's ends must be true or false, got 1"),
        ('base = "embedding"\nviews = [{ sentences = "yes" }]', "a view's sentences must be true or false, got 'yes'"),
        ('base = "embedding"\nviews = [{ noise = 1.0 }]', r"a view's noise must be a share in \[0, 1\), got 1.0"),
        ('base = "embedding"\nviews = [{ length = 3.5 }]', "a view's length must be a number of tokens"),
    ],
)
def test_senseless_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        recipe(str(path))


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match="did you mean 'relation'"):
        recipe("relatoin")
    with pytest.raises(InputError, match="cannot read"):
        recipe("absent.toml")
    with pytest.raises(InputError, match="kind of teacher"):
        default_recipe("vision")
