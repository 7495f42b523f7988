"""Layers that sub-networks have in common run once, and give the very same losses."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distilsearch.architecture import Architecture
from distilsearch.distill.heldout.heldout import heldout_loss
from distilsearch.distill.supernets.depths import Given, blocks, in_turn, scores
from distilsearch.distill.supernets.slices import Shared, sliced_layers
from distilsearch.distill.teachers.teacher import Teacher
from distilsearch.distill.texts.data import Text
from distilsearch.families import family

PATHS = st.lists(st.integers(1, 12), min_size=1, max_size=6).map(lambda d: sorted(d, reverse=True))


class Layer(torch.nn.Module):
    """Notes what it is asked, and gives the path of who asked."""

    def __init__(self, number: int, runs: list[Any]) -> None:
        super().__init__()
        self.number, self.runs = number, runs

    def forward(self, hidden: Any) -> tuple[Any, torch.Tensor]:
        self.runs.append((*hidden[0], self.number))
        return (*hidden[0], self.number), torch.zeros(8)


@given(PATHS, st.integers(1, 3), st.sampled_from([0, 40, 100, 10**6]))
def test_whatever_the_depths_and_the_room_each_path_gives_what_it_would_alone(
    depths: list[int], batches: int, room: int
) -> None:
    given_, runs = Given(room), list[Any]()
    paths = [tuple(sliced_layers(depth, 12)) for depth in depths]
    for turn, path in enumerate(paths):
        layers = [Layer(number, runs) for number in path]
        given_.take_part(layers, path, paths[turn + 1 :])
        for batch in range(batches):
            hidden: Any = ((f"batch {batch}",), None)
            for layer in layers:
                hidden = layer(hidden)
            assert hidden[0] == (f"batch {batch}", *path)
        given_.forget_all_but(paths[turn + 1 :])
    distinct = {path[:end] for path in paths for end in range(1, len(path) + 1)}
    if room == 10**6:
        assert len(runs) == batches * len(distinct)
    assert given_._room == room
    assert not given_._outputs


def test_those_that_differ_in_depth_alone_come_together_the_deepest_first() -> None:
    ones = [Architecture("bert", {"layers": d, "width": w}) for d, w in ((1, 32), (3, 48), (2, 32), (3, 32))]
    assert sorted(in_turn(ones)) == [[1], [3, 2, 0]]


@pytest.mark.parametrize("name", ["teacher", "mlm_teacher"])
def test_losses_are_those_of_models_that_run_alone(
    name: str, text: Text, make_architecture: Any, request: pytest.FixtureRequest
) -> None:
    teacher: Teacher = request.getfixturevalue(name)
    largest = make_architecture(teacher, layers=3, width=64, heads=4, ffn=128)
    shared = Shared(largest, teacher.model(), torch.eye(64))
    ones = [make_architecture(teacher, layers=d, width=w, heads=2) for w in (32, 48) for d in (1, 2, 3)]

    def score(model: Any, one: Architecture) -> float:
        return heldout_loss(teacher, text, model, one)

    made = dict(scores(shared, ones, score))
    assert made == {one: score(shared.cut(one), one) for one in ones}


def test_the_module_of_each_layer_is_found_by_its_parameters(teacher: Teacher, mlm_teacher: Teacher) -> None:
    for one in (teacher, mlm_teacher):
        model = one.model()
        assert blocks(family("bert"), model) == list(model.base_model.encoder.layer)
