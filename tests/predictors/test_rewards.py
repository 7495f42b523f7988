"""The predictor of rewards: what it is shown, one step a candidate, and files that say what they are."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from distilsearch.errors import InputError, TableError
from distilsearch.predictors.reading import checked
from distilsearch.predictors.rewards import Net, RewardPredictor, _sequences
from distilsearch.space import Parameter, SearchSpace

SPACE = SearchSpace(
    "generic",
    [Parameter("layers", (1, 2, 4)), Parameter("kind", ("a", "b"), ordered=False), Parameter("wide", (True, False))],
)
CODES = SPACE.grid(100)
COSTS = 1.0 + CODES[:, 0]
EPISODES = np.arange(len(CODES)) // 4


def fitted(steps: int = 5, targets: tuple[float, ...] = (2.0, 1.0), rate: float = 1e-2) -> RewardPredictor:
    rewards = np.column_stack([CODES[:, 0] + CODES[:, 1], -COSTS])
    return RewardPredictor.fit(
        SPACE, CODES, COSTS, rewards[:, : len(targets)], targets, EPISODES, steps=steps, rate=rate
    )


def test_candidates_follow_what_was_best_in_earlier_episodes() -> None:
    rewards = np.array([1.0, 3.0, 2.0, 0.0, 5.0, 4.0, 1.0, 1.0, 2.0, 2.5, 0.0, 0.0])
    seen = _sequences(CODES, np.log(COSTS), rewards, EPISODES)
    assert (seen.codes[:4, :2] == -1).all()
    assert (seen.codes[4:8, 0] == CODES[1]).all()  # the best of the first episode is the best so far
    assert (seen.codes[4:8, 1] == CODES[1]).all()
    assert (seen.codes[8:, 0] == CODES[4]).all()
    assert (seen.before == CODES[[9, 4]]).all()  # of the last episode, and of all
    assert (seen.codes[:, 2] == CODES).all()
    assert seen.before_costs == pytest.approx(np.log(COSTS[[9, 4]]))


def test_one_step_a_candidate_gives_what_the_whole_net_gives() -> None:
    net = Net(9, torch.Generator().manual_seed(3))
    choices, costs = torch.randint(9, (7, 3, 4)), torch.randn(7, 3)
    choices[:, :2], costs[:, :2] = choices[0, :2], costs[0, :2]
    context = net.embedded(choices[0, :2], costs[0, :2])
    step = net.after(context, net.embedded(choices[:, 2], costs[:, 2]))
    assert torch.allclose(step, net(choices, costs), atol=1e-6)


def test_it_learns_the_order_of_rewards() -> None:
    predictor = fitted(steps=200, targets=(2.0,), rate=3e-3)
    assert np.corrcoef(predictor.predict(CODES, COSTS), CODES[:, 0] + CODES[:, 1])[0, 1] > 0.9


def test_the_same_results_give_the_same_predictor() -> None:
    assert np.array_equal(fitted().predict(CODES, COSTS), fitted().predict(CODES, COSTS))
    assert fitted().predict(CODES[:0], COSTS[:0]).shape == (0,)


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    predictor = fitted()
    loaded = RewardPredictor.load(predictor.save(tmp_path / "new" / "place"))
    assert (loaded.genes, loaded.targets) == (predictor.genes, predictor.targets)
    for target in (0, 1):
        assert np.array_equal(loaded.predict(CODES, COSTS, target), predictor.predict(CODES, COSTS, target))
    loaded.check(SPACE)
    with pytest.raises(InputError, match=r"of another space; it has learnt of layers \[1, 2, 4\]"):
        loaded.check(SearchSpace("generic", [Parameter("layers", (1, 2))]))


def test_one_that_knew_no_episode_before_is_saved_too(tmp_path: Path) -> None:
    first = RewardPredictor.fit(SPACE, CODES[:1], COSTS[:1], COSTS[:1, None], (1.0,), EPISODES[:1], steps=1)
    assert np.array_equal(RewardPredictor.load(first.save(tmp_path)).predict(CODES, COSTS), first.predict(CODES, COSTS))


def changed(path: Path, **values: object) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps(checked.hashed({k: v for k, v in (content | values).items() if k != checked.HASH})))


def _weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Other weights, with the hash that makes them look like those that were saved."""
    import hashlib

    path = folder / "rewards.safetensors"
    weights = load_file(str(path))
    change(weights)
    save_file(weights, str(path))
    changed(folder / "rewards.json", weights_sha256=hashlib.sha256(path.read_bytes()).hexdigest())


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no weights": (lambda f: (f / "rewards.safetensors").unlink(), "rewards.safetensors is missing"),
    "no description": (lambda f: (f / "rewards.json").unlink(), "rewards.json is missing"),
    "cut off": (lambda f: (f / "rewards.json").write_text((f / "rewards.json").read_text()[:-9]), "damaged"),
    "a flipped bit": (
        lambda f: (f / "rewards.safetensors").write_bytes((f / "rewards.safetensors").read_bytes()[:-1] + b"x"),
        "damaged .*not what was saved",
    ),
    "another digit": (
        lambda f: (f / "rewards.json").write_text((f / "rewards.json").read_text().replace("4", "5", 1)),
        "damaged",
    ),
    "another program's": (lambda f: changed(f / "rewards.json", format="x"), "is not a distilsearch reward predictor"),
    "newer": (lambda f: changed(f / "rewards.json", schema=2), "newer version"),
    "a newer field": (lambda f: changed(f / "rewards.json", attention=1), "newer version"),
    "a code that is none": (lambda f: changed(f / "rewards.json", before=[[[9, 0, 0]] * 2] * 2), "damaged"),
    "half an architecture": (lambda f: changed(f / "rewards.json", before=[[[-1, 0, 0]] * 2] * 2), "damaged"),
    "no numbers": (lambda f: changed(f / "rewards.json", before_costs=[["a", "b"]] * 2), "damaged"),
    "too few targets": (lambda f: changed(f / "rewards.json", targets=[1.0]), "damaged"),
    "weights that are no numbers": (lambda f: _weights(f, lambda w: w["out.bias"].fill_(float("nan"))), "damaged"),
    "weights of another shape": (lambda f: _weights(f, lambda w: w.update({"out.bias": torch.zeros(2)})), "damaged"),
    "weights that lack one": (lambda f: _weights(f, lambda w: w.pop("out.bias")), "damaged"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_files_are_refused(name: str, tmp_path: Path) -> None:
    damage, message = DAMAGES[name]
    damage(fitted(1).save(tmp_path))
    with pytest.raises(TableError, match=message):
        RewardPredictor.load(tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"costs": COSTS[:2]}, "disagree in shape: costs"),
        ({"costs": 0 * COSTS}, "costs and targets must be positive"),
        ({"targets": (0.0,)}, "costs and targets must be positive"),
        ({"rewards": np.full((len(CODES), 1), np.nan)}, "rewards must be finite"),
        ({"episodes": EPISODES[::-1]}, "never fall"),
        ({"targets": (), "rewards": np.zeros((len(CODES), 0))}, "at least one result and one target"),
    ],
)
def test_results_that_make_no_sense_are_refused(values: dict[str, object], message: str) -> None:
    given = {"codes": CODES, "costs": COSTS, "rewards": COSTS[:, None], "targets": (1.0,), "episodes": EPISODES}
    with pytest.raises(InputError, match=message):
        RewardPredictor.fit(SPACE, **(given | values))  # type: ignore[arg-type]
