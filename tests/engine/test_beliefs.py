"""Draws of what was told against exact conditioning, several objectives against the closed form, and rewards."""

import math
import threading

import numpy as np
import pytest
import torch

from distilsearch.engine.acquisition import Boxes, log_ehvi
from distilsearch.engine.beliefs import Beliefs
from distilsearch.engine.engine import Engine
from distilsearch.engine.objectives import Expensive, Known
from distilsearch.engine.strategies.reward import Reward
from distilsearch.engine.strategies.several import _qlognehvi
from distilsearch.predictors.threads import one_thread
from distilsearch.space import Parameter, SearchSpace


def space() -> SearchSpace:
    return SearchSpace("generic", [Parameter("x", tuple(range(9))), Parameter("y", tuple(range(9)))])


def told(fidelities: tuple[float | None, ...], noise: float = 0.0) -> Engine:
    cost = Known("ms", lambda codes: 1.0 + codes[:, 0])
    engine = Engine(space(), [Expensive("loss"), cost], initial=4, reference={"loss": 2.0, "ms": 12.0})
    rng = np.random.default_rng(0)
    for i, architecture in enumerate(space().decode(space().grid(100)[::9])):
        value = 1.0 / (1.0 + float(architecture["x"])) + 0.05 * float(architecture["y"]) + noise * rng.standard_normal()
        engine.tell(architecture, {"loss": value}, noise or None, fidelities[i % len(fidelities)])
    return engine


@pytest.mark.parametrize("fidelities", [(None,), (100.0, 400.0)])
def test_draws_agree_with_conditioning_on_each_of_them(fidelities: tuple[float | None, ...]) -> None:
    beliefs = Beliefs.of(told(fidelities, 0.02)._view([]))
    (surrogate,) = beliefs.surrogates
    draws = beliefs.draws(6, np.random.default_rng(1))
    codes = space().grid(100)[5::7]
    features, base = beliefs.features(codes), beliefs.features(beliefs.base)
    for s, belief in enumerate(draws.believe(codes)):
        exact = surrogate.conditioned(base, draws.samples[0][s])
        mean, sd = exact.marginals(features)
        warp = surrogate.warp
        assert torch.allclose(belief.mean, warp.centre + warp.scale * mean, atol=0.01 * warp.scale)
        assert torch.allclose(belief.sd, warp.scale * sd, atol=0.02 * warp.scale)


def test_improvements_of_several_objectives_agree_with_the_closed_form() -> None:
    beliefs = Beliefs.of(told((None,))._view([]))
    codes = space().grid(100)[3::5]
    exact = log_ehvi(beliefs.belief(codes), Boxes.of(beliefs.front_points(), beliefs.view.reference)).exp().numpy()
    sampled = np.exp(_qlognehvi(beliefs, codes, 0))
    assert np.corrcoef(exact, sampled)[0, 1] > 0.95
    assert sampled[exact > 0.01].sum() == pytest.approx(exact[exact > 0.01].sum(), rel=0.2)


def test_a_reward_heeds_its_target_and_large_losses() -> None:
    def asked(target: float | None, beyond: float, plus: float = 0.0) -> float:
        cost = Known("ms", lambda codes: 1.0 + codes[:, 0])
        engine = Engine(space(), [Expensive("loss"), cost], initial=4, strategy=Reward(target, beyond=beyond))
        for architecture in space().decode(space().grid(100)[::9]):
            engine.tell(architecture, {"loss": plus + 1.0 / (1.0 + float(architecture["x"]))})
        return float(np.mean([1.0 + float(a["x"]) for a in engine.ask(6)]))

    assert asked(2.0, -1.0) < asked(8.0, -1.0)
    assert asked(2.0, -0.06) == asked(8.0, -0.06)  # as in KD-NAS: a common factor decides nothing
    assert asked(3.0, -1.0, plus=3.0) <= 4.0


def test_threads_are_as_many_as_before_however_callers_overlap() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with one_thread():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    try:
        with one_thread():
            thread.start()
            inside.wait(10)
            with one_thread():
                pass
            assert torch.get_num_threads() == 1
        leave.set()
        thread.join()
        seen: list[int] = []
        later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        later.start()
        later.join()
        assert [torch.get_num_threads(), *seen] == [2, 2]
    finally:
        leave.set()
        torch.set_num_threads(before)


def test_an_improvement_of_nothing_is_nothing() -> None:
    assert math.isinf(Engine(space(), [Expensive("loss")], initial=3).expected_improvement())
