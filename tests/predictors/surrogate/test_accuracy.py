"""Surrogates: leave-one-out against leaving one out, BoTorch's posterior against ours, and the right shape winning."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distilsearch.errors import InputError
from distilsearch.predictors.surrogate.accuracy import Surrogate, Warp, fit_surrogate
from distilsearch.predictors.surrogate.covariances import KERNELS, ArchitectureKernel
from distilsearch.predictors.surrogate.encoding import Encoding
from distilsearch.space import Codes, Parameter, SearchSpace

SPACE = SearchSpace(
    "generic",
    [
        Parameter("depth", tuple(range(1, 7))),
        Parameter("width", tuple(range(8))),
        Parameter("kind", ("a", "b", "c"), ordered=False),
        Parameter("fixed", (1,)),
    ],
)


def drawn(n: int, seed: int = 0) -> tuple[Codes, torch.Tensor, tuple[int, ...]]:
    codes = SPACE.sample(n, np.random.default_rng(seed))
    cost = np.log(1.0 + codes[:, :2].sum(axis=1))[:, None]
    encoding = Encoding.of(SPACE, cost)
    return codes, encoding(codes, cost), encoding.groups


def additive(codes: Codes) -> np.ndarray:
    return np.asarray(3.0 - 0.4 * codes[:, 0] - 0.2 * codes[:, 1] + np.array([0.0, 0.5, 0.2])[codes[:, 2]])


def test_columns_and_groups() -> None:
    _, features, groups = drawn(50)
    assert groups == (0, 1, 2, 2, 2, 3)
    assert features.shape == (50, 6)
    assert float(features[:, [0, 1, 5]].abs().max()) == pytest.approx(1.0)


@pytest.mark.parametrize("kind", KERNELS)
def test_relabelling_changes_no_covariance(kind: str) -> None:
    codes, features, groups = drawn(20)
    relabelled = codes.copy()
    relabelled[:, 2] = np.array([2, 0, 1])[codes[:, 2]]
    cost = np.log(1.0 + codes[:, :2].sum(axis=1))[:, None]
    other = Encoding.of(SPACE, cost)(relabelled, cost)
    kernel = ArchitectureKernel(kind, groups)
    torch.testing.assert_close(kernel.forward(features, features), kernel.forward(other, other))
    gram = kernel.forward(features, features)
    torch.testing.assert_close(gram.diagonal(), kernel.forward(features, features, diag=True))
    assert float(torch.linalg.eigvalsh(gram).min().detach()) > -1e-8


def fitted(n: int = 40, seed: int = 0, noise: float = 0.05) -> tuple[Surrogate, np.ndarray]:
    codes, features, groups = drawn(n, seed)
    values = additive(codes) + noise * np.random.default_rng(seed).standard_normal(n)
    return fit_surrogate(features, values, groups), values


def test_leave_one_out_is_leaving_one_out() -> None:
    surrogate, values = fitted(20)
    scores = []
    for i in range(len(values)):
        keep = torch.arange(len(values)) != i
        rest = Surrogate(
            surrogate.kernel, surrogate.warp, surrogate.features[keep], surrogate.targets[keep],
            surrogate.noise[keep], surrogate.level, surrogate.report,
        )  # fmt: skip
        mean, covariance = rest.joint(surrogate.features[[i]])
        sd = float((covariance[0, 0] + surrogate.noise[i] + 1e-6).sqrt())
        z = float(surrogate.targets[i] - mean[0])
        slope = float(surrogate.warp.slope(values[[i]])[0])
        scores.append(-0.5 * (z / sd) ** 2 - math.log(sd) - 0.5 * math.log(2 * math.pi) + math.log(slope))
    assert surrogate.report.log_likelihood == pytest.approx(np.mean(scores), abs=1e-6)


def test_it_is_botorchs_own_posterior() -> None:
    surrogate, _ = fitted()
    _, features, _ = drawn(30, seed=1)
    posterior = surrogate.model().posterior(features)
    mean, covariance = surrogate.joint(features)
    torch.testing.assert_close(posterior.mean[:, 0], mean, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(posterior.distribution.covariance_matrix, covariance, rtol=1e-4, atol=1e-5)
    marginal, sd = surrogate.marginals(features)
    torch.testing.assert_close(marginal, mean)
    torch.testing.assert_close(sd.square(), covariance.diagonal(), rtol=1e-3, atol=1e-6)
    fast, fast_sd = surrogate.marginals(features.float())
    torch.testing.assert_close(fast.double(), mean, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(fast_sd.double(), sd, rtol=0.1, atol=1e-2)


def test_it_learns_an_additive_space_and_knows_how_well() -> None:
    surrogate, _ = fitted(40)
    codes, features, _ = drawn(200, seed=5)
    mean, sd = surrogate.marginals(features)
    error = surrogate.warp.inverse(mean.numpy()) - additive(codes)
    assert 1 - error.var() / additive(codes).var() > 0.97
    inside = np.abs(surrogate.warp(additive(codes)) - mean.numpy()) <= 1.6449 * sd.numpy()  # of 90 %
    assert inside.mean() >= 0.75
    assert {name for name, _ in surrogate.report.considered} == set(KERNELS)


def test_the_data_choose_the_shape() -> None:
    codes, features, groups = drawn(60)
    rough = np.sin(2.5 * codes[:, 0]) * np.cos(2.0 * codes[:, 1])
    assert fit_surrogate(features, rough, groups).report.kernel != "interaction"
    assert fitted(60)[0].report.kernel != "matern"


def test_skewed_losses_are_warped() -> None:
    codes, features, groups = drawn(60)
    skewed = 1.0 + np.exp(2.0 * additive(codes))
    surrogate = fit_surrogate(features, skewed, groups)
    plain = fit_surrogate(features, skewed, groups, warps=False)
    assert surrogate.report.warped
    assert surrogate.report.log_likelihood > plain.report.log_likelihood


def test_stated_noise_is_believed() -> None:
    codes, features, groups = drawn(30)
    values = additive(codes)
    values[0] += 2.0
    noise = np.full(30, 0.01)
    noise[0] = 5.0
    surrogate = fit_surrogate(features, values, groups, noise)
    mean, _ = surrogate.marginals(features[:1])
    assert float(surrogate.warp.inverse(mean.numpy())[0]) == pytest.approx(additive(codes)[0], abs=0.4)


def test_conditioning_pulls_the_mean_and_shrinks_the_spread() -> None:
    surrogate, _ = fitted()
    _, features, _ = drawn(3, seed=9)
    before = surrogate.marginals(features)[1]
    mean, sd = surrogate.conditioned(features, torch.tensor([1.0, -1.0, 0.5]).double()).marginals(features)
    assert (sd < before).all()
    torch.testing.assert_close(mean, torch.tensor([1.0, -1.0, 0.5]).double(), atol=0.2, rtol=0.2)


@given(st.lists(st.floats(0.1, 1e6), min_size=2, max_size=9, unique=True), st.sampled_from([None, 0.05]))
@settings(deadline=None)
def test_warps_are_undone(values: list[float], shift: float | None) -> None:
    y = np.array(values)
    warp = Warp.of(y, shift)
    np.testing.assert_allclose(warp.inverse(warp(y)), y, rtol=1e-6)


@pytest.mark.parametrize("values", [[1.0, 1.0], [1.0, 2.0], [3.0] * 12])
def test_few_or_equal_values_still_fit(values: list[float]) -> None:
    _, features, groups = drawn(len(values))
    mean, sd = fit_surrogate(features, np.array(values), groups).marginals(features)
    assert torch.isfinite(mean).all()
    assert torch.isfinite(sd).all()


def test_nothing_to_fit_is_refused() -> None:
    _, features, groups = drawn(1)
    with pytest.raises(InputError, match="at least two"):
        fit_surrogate(features, np.array([1.0]), groups)
