"""The closed form against brute force, against sampling, and against what an improvement must be."""

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from botorch.models import SingleTaskGP
from botorch.optim import optimize_acqf, optimize_acqf_discrete
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from distilsearch.engine.acquisition import Belief, Boxes, KnownCostEHVI, log_ehvi, log_psi_lognormal, log_psi_normal
from distilsearch.engine.objectives import hypervolume

Points = npt.NDArray[np.float64]
SETTINGS = settings(max_examples=60, deadline=None)


def point_sets(least: int = 1, most: int = 3) -> st.SearchStrategy[Points]:
    shapes = st.tuples(st.integers(0, 7), st.integers(least, most))
    return shapes.flatmap(lambda shape: arrays(np.float64, shape, elements=st.integers(0, 6).map(float)))


def corner(points: Points) -> Points:
    return np.full(points.shape[1], 5.0)


def ehvi(points: Points, costs: Points, mean: float, sd: float, spread: float | None = None) -> float:
    row = torch.tensor(costs, dtype=torch.float64)[None]
    deviations = None if spread is None else torch.full_like(row, spread)
    belief = Belief(row, deviations, torch.tensor([mean]).double(), torch.tensor([sd]).double())
    return float(log_ehvi(belief, Boxes.of(points, corner(points))).exp())


def gain(points: Points, candidate: Points) -> float:
    return hypervolume(np.vstack([points, candidate]), corner(points)) - hypervolume(points, corner(points))


@SETTINGS
@given(point_sets(), st.lists(st.integers(-1, 6).map(float), min_size=3, max_size=3))
def test_without_uncertainty_it_is_the_improvement(points: Points, at: list[float]) -> None:
    candidate = np.array(at[: points.shape[1]]) + 0.25
    expected = gain(points, candidate)
    assert ehvi(points, candidate[:-1], candidate[-1], 0.0) == pytest.approx(expected, abs=1e-9)


@SETTINGS
@given(point_sets(), st.floats(0.0, 5.0), st.floats(0.0, 5.0), st.floats(0.05, 2.0))
def test_it_is_the_mean_over_sampled_outcomes(points: Points, cost: float, mean: float, sd: float) -> None:
    costs = np.full(points.shape[1] - 1, cost)
    quantiles = torch.special.ndtri((torch.arange(400).double() + 0.5) / 400).numpy()
    sampled = np.mean([gain(points, np.append(costs, mean + sd * q)) for q in quantiles])
    assert ehvi(points, costs, mean, sd) == pytest.approx(sampled, rel=0.03, abs=0.02)


@settings(max_examples=15, deadline=None)
@given(point_sets(least=2), st.floats(1.0, 4.0), st.floats(1.0, 4.0))
def test_uncertain_costs_are_averaged_over_too(points: Points, cost: float, mean: float) -> None:
    draws = np.random.default_rng(0).standard_normal((4000, points.shape[1]))
    centre = np.append(np.full(points.shape[1] - 1, cost), mean)
    gains = np.array([gain(points, centre + 0.7 * draw) for draw in draws])
    error = 4 * gains.std() / math.sqrt(len(draws)) + 1e-3
    assert abs(ehvi(points, centre[:-1], mean, 0.7, 0.7) - gains.mean()) < error


@SETTINGS
@given(point_sets(least=2), st.floats(0.0, 6.0), st.floats(0.0, 6.0), st.floats(0.0, 2.0), st.floats(0.01, 1.0))
def test_it_grows_with_uncertainty_and_with_the_reference(
    points: Points, cost: float, mean: float, sd: float, more: float
) -> None:
    costs = np.full(points.shape[1] - 1, cost)
    value = ehvi(points, costs, mean, sd)
    assert value >= 0.0
    assert ehvi(points, costs, mean, sd + more) >= value - 1e-12
    belief = Belief(
        torch.from_numpy(costs)[None], None, torch.tensor([mean]).double(), torch.tensor([sd + 0.1]).double()
    )
    near, far = (Boxes.of(points, corner(points) + step) for step in (0.0, more))
    assert float(log_ehvi(belief, far)) >= float(log_ehvi(belief, near)) - 1e-9


@SETTINGS
@given(point_sets(least=2).filter(len))
def test_a_certain_dominated_candidate_promises_nothing(points: Points) -> None:
    candidate = points[0] + 0.5
    assert ehvi(points, candidate[:-1], candidate[-1], 0.0) == 0.0


@SETTINGS
@given(point_sets(least=2))
def test_boxes_cover_the_plane_once(points: Points) -> None:
    boxes = Boxes.of(points, corner(points))
    assert len(boxes.level) <= 2 * len(points) + 1
    centres = np.stack(np.meshgrid(*[np.arange(-1, 5) + 0.5] * (points.shape[1] - 1), indexing="ij"), -1)
    for at in centres.reshape(-1, points.shape[1] - 1):
        inside = (boxes.lower.numpy() <= at).all(1) & (at < boxes.upper.numpy()).all(1)
        reached = points[(points[:, :-1] <= at).all(axis=1)][:, -1]
        assert boxes.level[torch.from_numpy(inside)].tolist() == [min([5.0, *reached])]


def test_far_candidates_are_still_ordered() -> None:
    points = np.array([[1.0, 0.1], [0.1, 1.0]])
    means = torch.tensor([30.0, 60.0, 90.0]).double()
    belief = Belief(torch.full((3, 1), 0.5).double(), None, means, torch.ones(3).double())
    for dtype in (torch.float64, torch.float32):
        cast = Belief(belief.costs.to(dtype), None, means.to(dtype), belief.sd.to(dtype))
        values = log_ehvi(cast, Boxes.of(points, np.array([2.0, 2.0])).to(dtype))
        assert torch.isfinite(values).all()
        assert (values.diff() < 0).all()


@pytest.mark.parametrize("sd", [0.01, 0.3, 1.5])
@pytest.mark.parametrize("t", [0.2, 0.9, 1.0, 1.3, 4.0])
def test_lognormal_improvement_is_the_mean_over_quantiles(t: float, sd: float) -> None:
    z = torch.special.ndtri((torch.arange(200_000).double() + 0.5) / 200_000)
    sampled = float((t - (0.1 + torch.exp(-0.2 + sd * z))).clamp_min(0.0).mean())
    found = log_psi_lognormal(torch.tensor(t).double(), torch.tensor(-0.2).double(), torch.tensor(sd).double(), 0.1)
    assert math.exp(float(found)) == pytest.approx(sampled, rel=2e-3, abs=1e-7)


def test_lognormal_improvement_does_not_underflow() -> None:
    mean = torch.tensor([5.0, 20.0, 60.0]).double()
    values = log_psi_lognormal(torch.tensor(1.5).double(), mean, torch.full((3,), 0.5).double(), 1.0)
    assert torch.isfinite(values).all()
    assert (values.diff() < 0).all()
    assert float(log_psi_lognormal(torch.tensor(0.9).double(), mean[:1], mean[:1], 1.0)) == -math.inf


def test_small_deviations_approach_the_certain_case() -> None:
    t, mean = torch.tensor([1.0, 1.0]).double(), torch.tensor([0.25, 2.0]).double()
    assert log_psi_normal(t, mean, torch.zeros(2).double()).tolist() == [math.log(0.75), -math.inf]
    assert float(log_psi_normal(t, mean, torch.full((2,), 1e-6).double())[0]) == pytest.approx(math.log(0.75))


def toy_model() -> tuple[SingleTaskGP, torch.Tensor, torch.Tensor]:
    x = torch.rand(8, 2, generator=torch.Generator().manual_seed(1)).double()
    y = (x[:, :1] - 0.4).square() + 0.5 * x[:, 1:]
    return SingleTaskGP(x, y).eval(), x, y


def toy_cost(x: torch.Tensor) -> torch.Tensor:
    return 1.0 + x.sum(-1, keepdim=True)


def test_the_botorch_acquisition_agrees_with_the_mean_over_quantiles() -> None:
    model, x, y = toy_model()
    outcomes = torch.cat([toy_cost(x), y], 1).numpy()
    reference = np.array([3.0, 1.0])
    acquisition = KnownCostEHVI(model, toy_cost, outcomes, reference.tolist())
    candidates = torch.rand(5, 1, 2, generator=torch.Generator().manual_seed(2)).double()
    with torch.no_grad():
        found = acquisition(candidates).exp().numpy()
        posterior = model.posterior(candidates)
    quantiles = torch.special.ndtri((torch.arange(2000).double() + 0.5) / 2000)
    before = hypervolume(outcomes, reference)
    for i, candidate in enumerate(candidates):
        values = posterior.mean[i, 0, 0] + posterior.variance[i, 0, 0].sqrt() * quantiles
        cost = float(toy_cost(candidate)[0, 0])
        gains = [hypervolume(np.vstack([outcomes, [cost, v]]), reference) - before for v in values.tolist()]
        assert found[i] == pytest.approx(np.mean(gains), rel=1e-3, abs=1e-6)


def test_the_botorch_acquisition_has_gradients_and_optimises() -> None:
    model, x, y = toy_model()
    outcomes = torch.cat([toy_cost(x), y], 1).numpy()
    acquisition = KnownCostEHVI(model, toy_cost, outcomes, (3.0, 1.0))
    grid = torch.cartesian_prod(*[torch.linspace(0, 1, 5).double()] * 2)
    best, value = optimize_acqf_discrete(acquisition, q=1, choices=grid)
    assert float(value) == pytest.approx(float(acquisition(grid[:, None]).max().detach()))
    point = best[None].clone().requires_grad_(True)
    acquisition(point).sum().backward()
    assert point.grad is not None
    assert torch.isfinite(point.grad).all()


def test_the_botorch_acquisition_may_stand_on_any_reference_and_batch() -> None:
    torch.manual_seed(0)
    x = torch.rand(8, 2).double()
    y = (x[:, :1] - 0.4) ** 2 + 0.5 * x[:, 1:]
    points = torch.cat([1.0 + x.sum(-1, keepdim=True), y], 1).numpy()
    model = SingleTaskGP(x, y).eval()
    made = KnownCostEHVI(model, lambda z: 1.0 + z.sum(-1, keepdim=True), points, (2.2, 1.0))
    at = torch.cat([x, torch.full((1, 2), 0.9).double()])[:, None].requires_grad_()
    (gradient,) = torch.autograd.grad(made(at).sum(), at)
    assert gradient.isfinite().all()
    assert not gradient[-1].any()  # beyond the reference nothing can be gained
    best, _ = optimize_acqf(made, bounds=torch.tensor([[0.0, 0.0], [1.0, 1.0]]).double(), q=1, num_restarts=2,
                            raw_samples=16)  # fmt: skip
    assert 1.0 + float(best.sum()) < 2.2
    many = torch.rand(3, 4, 1, 2).double()
    assert torch.allclose(made(many), made(many.reshape(12, 1, 2)).reshape(3, 4))


def test_the_botorch_acquisition_takes_one_candidate_at_a_time() -> None:
    model, x, y = toy_model()
    acquisition = KnownCostEHVI(model, toy_cost, torch.cat([toy_cost(x), y], 1).numpy(), (3.0, 1.0))
    with pytest.raises(AssertionError, match="q=1"):
        acquisition(torch.rand(3, 2, 2).double())
