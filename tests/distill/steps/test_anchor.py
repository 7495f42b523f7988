"""Students that start near their teacher are handed back some of the way back to where they started."""

from dataclasses import replace

import pytest
import torch

from distilsearch.distill.heldout.heldout import heldout_loss
from distilsearch.distill.recipes import ANCHORED, EMBEDDING, View
from distilsearch.distill.steps.anchor import Anchor
from distilsearch.distill.training import distill_student, start
from distilsearch.errors import Interrupted

TOKENS = 6_000


@pytest.fixture
def recipe():
    views = (View(), View(16, 0.15))
    return replace(ANCHORED, views=views, batch_tokens=256, warmup_tokens=512, near=1.0)


@pytest.fixture
def whole(teacher, make_architecture):
    """A student of all that the teacher has."""
    facts = teacher.facts
    return make_architecture(teacher, layers=facts.layers, width=facts.width, heads=facts.heads, ffn=facts.ffn)


def test_the_average_is_a_share_of_the_way_back() -> None:
    weight = torch.tensor([1.0, 2.0])
    anchor = Anchor([weight], 0.25)
    weight += 4.0
    with anchor.pulled():
        assert torch.equal(weight, torch.tensor([4.0, 5.0]))
    assert torch.equal(weight, torch.tensor([5.0, 6.0]))
    anchor.pull()
    assert torch.equal(weight, torch.tensor([4.0, 5.0]))


def test_without_a_share_nothing_is_moved_or_held() -> None:
    weight = torch.tensor([1.0])
    anchor = Anchor([weight], 0.0)
    weight += 4.0
    with anchor.pulled():
        assert weight.item() == 5.0
    anchor.pull()
    assert weight.item() == 5.0


def test_a_student_is_what_training_made_with_half_of_the_start(teacher, text, whole, recipe) -> None:
    run = start(teacher, whole, text, recipe, TOKENS, precision="float32")
    run.steps = 0
    first = run.finish().model.state_dict()
    loose = distill_student(teacher, whole, text, replace(recipe, anchor=0.0), TOKENS, precision="float32")
    held = distill_student(teacher, whole, text, recipe, TOKENS, precision="float32")
    for name, value in held.model.state_dict().items():
        middle = (loose.model.state_dict()[name] + first[name]) / 2
        assert torch.allclose(value, middle, atol=1e-6), name
    assert held.loss == pytest.approx(heldout_loss(teacher, text, held.model, whole, ending=held.ending))
    assert held.curve[-1] != loose.curve[-1]


def test_a_killed_run_ends_as_one_that_was_not(teacher, text, whole, recipe, tmp_path) -> None:
    steps = 0

    def between() -> None:
        nonlocal steps
        steps += 1
        if steps == 15:
            raise Interrupted("now")

    order = (teacher, whole, text, recipe, TOKENS, 0, "float32")
    with pytest.raises(Interrupted):
        distill_student(*order, tmp_path / "run", between=between)
    again = distill_student(*order, tmp_path / "run")
    for name, value in distill_student(*order).model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name


def test_students_far_from_the_teacher_go_less_of_the_way_back() -> None:
    assert ANCHORED.start_share(0.0, 1.0) == EMBEDDING.start_share(1.0, 1.0) == 0.0
    assert ANCHORED.start_share(1.0, 1.0) == ANCHORED.start_share(0.5, 0.75) == ANCHORED.anchor
    assert ANCHORED.start_share(1 / 6, 1.0) == pytest.approx(ANCHORED.anchor / 2)
    assert ANCHORED.start_share(1 / 6, 0.5) == pytest.approx(ANCHORED.anchor / 4)


def test_from_which_share_of_the_teacher_on_all_of_it_is_kept_is_the_recipes_to_say() -> None:
    farther = replace(ANCHORED, anchor=0.75, anchor_from=0.5)
    assert farther.key != ANCHORED.key
    assert replace(farther, anchor=0.5, anchor_from=1 / 3).key == ANCHORED.key
    assert [farther.start_share(kept, 1.0) for kept in (0.5, 2 / 3, 1.0)] == [0.75, 0.75, 0.75]
    assert farther.start_share(1 / 3, 1.0) == pytest.approx(ANCHORED.start_share(1 / 3, 1.0))
