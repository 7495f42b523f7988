"""Training a super-network: its steps sum their gradients, and a kill changes nothing."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from distilsearch.distill.recipes import AUTODISTIL, EMBEDDING, RELATION, Recipe, View
from distilsearch.distill.store.trial import TRUNK
from distilsearch.distill.supernets.superlm import FILE, SuperLM, train_superlm
from distilsearch.distill.targets.objective import Objective
from distilsearch.distill.teachers.teacher import Teacher
from distilsearch.distill.texts.data import Text
from distilsearch.errors import RunError
from distilsearch.home import targets_folder

from .steps import TINY, run_of, super_of


@pytest.mark.parametrize("rule", ["sandwich", "nested"])
def test_the_gradient_of_a_step_is_the_sum_of_those_of_separate_stock_models(
    teacher: Teacher, text: Text, rule: str
) -> None:
    run = run_of(teacher, text, replace(TINY, embeddings="all", clip=1e9), 1_000, rule)
    run.step = 2
    members, batch = run.members(2), run.targets.batch(2)
    start = {name: parameter.detach().clone() for name, parameter in run.model.named_parameters()}
    expected = {name: torch.zeros_like(weight) for name, weight in start.items()}
    for one in members:
        alone = run.shared.cut(one).requires_grad_(True)
        basis = run.shared.basis_of(one)
        loss = sum(Objective(teacher, one, run.recipe, alone, basis, "float32")(batch).values())
        loss.backward()
        deep = [i * 3 // int(one["layers"]) for i in range(int(one["layers"]))]
        for name, parameter in alone.named_parameters():
            head, mark, tail = name.partition("encoder.layer.")
            place, _, rest = tail.partition(".")
            theirs = f"{head}{mark}{deep[int(place)]}.{rest}" if mark else name
            if parameter.grad is not None:
                expected[theirs][tuple(slice(0, n) for n in parameter.shape)] += parameter.grad
    run.advance()
    assert len(members) >= 3
    for name, parameter in run.model.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-5, atol=1e-6)
        assert (parameter.grad is None) == ("pooler" in name)
        assert torch.equal(parameter, start[name]) == ("pooler" in name)


def test_what_no_sub_network_reaches_is_left_as_it_was(teacher: Teacher, text: Text) -> None:
    """The relations of the last layer say nothing of what follows its projections."""
    run = run_of(teacher, text, replace(AUTODISTIL, batch_tokens=256), 1_000)
    before = {name: parameter.detach().clone() for name, parameter in run.model.named_parameters()}
    run.advance()
    moved = {name for name, parameter in run.model.named_parameters() if not torch.equal(parameter, before[name])}
    assert "encoder.layer.2.attention.self.value.weight" in moved
    assert "encoder.layer.1.output.dense.weight" in moved
    assert not [name for name in moved if name.startswith("encoder.layer.2.output")]


def test_a_step_asks_the_teacher_once_and_slices_take_no_memory_of_their_own(teacher: Teacher, text: Text) -> None:
    run = run_of(teacher, text, TINY, 1_000)
    for _ in range(3):
        run.advance()
    assert len(list(targets_folder().glob("set-*/*.safetensors"))) == 3
    weights = {parameter.untyped_storage().data_ptr() for parameter in run.model.parameters()}
    for one in run.members(2):
        view = run.shared.view(one)
        assert {parameter.untyped_storage().data_ptr() for parameter in view.parameters()} <= weights
    moments = [state[name] for state in run.optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")]
    held = sum(x.numel() for x in (*run.parameters, *run.gradients.values(), *moments))
    assert held == 4 * sum(parameter.numel() for parameter in run.parameters)


class StopError(Exception):
    """Stands for a kill."""


def test_killed_anywhere_it_ends_with_the_weights_of_an_undisturbed_one(
    teacher: Teacher, text: Text, tmp_path: Path
) -> None:
    job = super_of(teacher, text, TINY, 2_000, seed=3)
    whole = train_superlm(*job, tmp_path / "whole", checkpoint_seconds=0.0)
    for stop in (0.2, 0.5, 0.8):

        def kill(what: str, done: float, total: float, stop: float = stop) -> None:
            if done > total * stop:
                raise StopError

        with pytest.raises(StopError):
            train_superlm(*job, tmp_path / "killed", progress=kill, checkpoint_seconds=0.0)
    seen: list[float] = []
    again = train_superlm(*job, tmp_path / "killed", progress=lambda w, d, t: seen.append(d), checkpoint_seconds=0.0)
    assert min(seen) > 0.5 * 2_000
    assert again.curve == whole.curve
    assert _bytes(again) == _bytes(whole)
    loaded = SuperLM.load(tmp_path / "killed")
    assert _bytes(loaded) == _bytes(whole)
    assert loaded.training == job[-1]


def test_a_longer_training_goes_on_from_a_shorter_one(teacher: Teacher, text: Text, tmp_path: Path) -> None:
    whole = train_superlm(*super_of(teacher, text, TINY, 2_048), tmp_path / "whole")
    train_superlm(*super_of(teacher, text, TINY, 1_024), tmp_path / "grown")
    seen: list[float] = []
    job = super_of(teacher, text, TINY, 2_048)
    grown = train_superlm(*job, tmp_path / "grown", progress=lambda w, d, t: seen.append(d))
    assert seen[0] > 0
    assert (tmp_path / "grown" / TRUNK).exists()
    assert _bytes(grown) == _bytes(whole)


def test_one_that_is_there_is_not_trained_again_and_another_one_is_not_written_over(
    teacher: Teacher, text: Text, tmp_path: Path
) -> None:
    train_superlm(*super_of(teacher, text, TINY, 500), tmp_path)
    written = (tmp_path / FILE).read_bytes()

    def never(what: str, done: float, total: float) -> None:
        raise AssertionError("nothing is left to do")

    train_superlm(*super_of(teacher, text, TINY, 500), tmp_path, progress=never)
    with pytest.raises(RunError, match="holds another super-network"):
        train_superlm(*super_of(teacher, text, TINY, 500, "nested"), tmp_path)
    assert (tmp_path / FILE).read_bytes() == written


def _bytes(superlm: SuperLM) -> dict[str, bytes]:
    model = superlm.model(superlm.training.largest)
    return {name: weight.numpy().tobytes() for name, weight in model.state_dict().items()}


@pytest.mark.parametrize("rule", ["sandwich", "nested"])
def test_training_lowers_what_a_recipe_weighs_of_all_sizes(teacher: Teacher, text: Text, rule: str) -> None:
    run = run_of(teacher, text, TINY, 4_096, rule)
    batch, sizes = run.targets.batch(0), run.nest.sizes(4)

    def weighed() -> list[float]:
        parts = [run._objective(one)(batch) for one in sizes]
        return [float(run._weighed(one, None).detach()) for one in parts]

    before = weighed()
    while run.step < run.steps:
        run.advance()
    assert all(after < 0.9 * first for after, first in zip(weighed(), before, strict=True))


@pytest.mark.parametrize("recipe", [AUTODISTIL, RELATION, EMBEDDING], ids=lambda r: r.name)
def test_every_recipe_without_heads_trains(teacher: Teacher, text: Text, recipe: Recipe) -> None:
    run = run_of(teacher, text, replace(recipe, batch_tokens=256, views=(View(),)), 512)
    run.advance()
    assert all(parameter.isfinite().all() for parameter in run.parameters)
