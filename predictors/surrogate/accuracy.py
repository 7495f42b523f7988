"""Quality of students nobody has trained: a Gaussian process whose shape the data choose.

Real spaces differ (one is additive to 99 %, another not at all), so three kernels and a few output warps are
fitted and the leave-one-out likelihood decides; it is a closed form of the inverse covariance, and pays for
the trend and for the warp's Jacobian. A kernel without a smooth part must win clearly: it is sure of itself where
nothing was seen, and a search that believes it never looks there. Fits start cold from the priors: the same
trials give the same model.

Notation: n trials, p features, y told values; z = (warp(y) - centre) / scale is what the process models.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import torch
from botorch.models import SingleTaskGP
from botorch.settings import validate_input_scaling
from gpytorch.means import ZeroMean
from torch import Tensor

from distilsearch.arrays import FloatArray
from distilsearch.errors import InputError

from ..threads import one_thread
from .covariances import KERNELS, ArchitectureKernel
from .minimise import minimise

NOISE_PRIOR = (-4.5, 1.5)  # of the logarithm of the noise variance, for targets of unit variance
JITTER = 1e-6
STEPS = 60
LEAST_SPREAD = 1e-150  # of told values: the squares of smaller ones are no numbers
RIGID = ("interaction",)  # no smooth part: where it is wrong it does not know it
MARGIN = 3.0  # nats of all trials together by which a rigid kernel must win


@dataclass(frozen=True)
class Warp:
    """z = (g(y) - centre) / scale with g the identity, or log(y - shift) where `shift` is given."""

    shift: float | None
    centre: float
    scale: float

    @classmethod
    def of(cls, y: FloatArray, shift: float | None) -> "Warp":
        """The warp that gives these values mean 0 and variance 1."""
        g = y if shift is None else np.log(y - shift)
        centre = float(g.mean())
        size = float(np.abs(g - centre).max())
        spread = size * float(((g - centre) / size).std()) if size > 0 else 0.0  # no square overflows or vanishes
        least = max(LEAST_SPREAD, 8 * float(np.finfo(np.float64).eps) * abs(centre))
        return cls(shift, centre, spread if spread > least else 1.0)

    def __call__(self, y: FloatArray) -> FloatArray:
        """Warped values of y above the shift."""
        g = y if self.shift is None else np.log(np.maximum(y - self.shift, self._nothing))
        return np.asarray((g - self.centre) / self.scale)

    def slope(self, y: FloatArray) -> FloatArray:
        """dz/dy at each value."""
        flat = np.full(len(y), 1.0 / self.scale)
        return flat if self.shift is None else flat / np.maximum(y - self.shift, self._nothing)

    @property
    def _nothing(self) -> float:
        """What counts as no distance above the shift: next to nothing beside the values it was made of."""
        return 1e-12 * math.exp(self.centre)

    def inverse(self, z: FloatArray) -> FloatArray:
        """Told values of warped ones."""
        g = self.centre + self.scale * z
        return g if self.shift is None else self.shift + np.exp(g)


@dataclass(frozen=True)
class Diagnostics:
    """How well the surrogate predicts each trial from all the others.

    `log_likelihood` per trial, in told units; `considered`: that of each kernel.
    """

    kernel: str
    warped: bool
    log_likelihood: float
    considered: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Surrogate:
    """A fitted process over features (n, p); made by `fit_surrogate`.

    `noise` (n,) is the variance of each trial in warped units. All tensors are float64.
    """

    kernel: ArchitectureKernel
    warp: Warp
    features: Tensor
    targets: Tensor
    noise: Tensor
    level: float  # variance of the noise of a trial that states none
    report: Diagnostics

    @cached_property
    def factor(self) -> Tensor:
        """Lower Cholesky factor (n, n) of the covariance of the told values."""
        with torch.no_grad():
            gram = self.kernel.forward(self.features, self.features)
            factor: Tensor = torch.linalg.cholesky(gram + torch.diag(self.noise + JITTER))
        return factor

    @cached_property
    def _fast(self) -> dict[torch.dtype, tuple[Tensor, Tensor, Tensor]]:
        whiten = torch.linalg.solve_triangular(self.factor, torch.eye(len(self.targets)).double(), upper=False)
        weights = whiten.T @ (whiten @ self.targets)
        kinds = (torch.float32, torch.float64)
        return {k: (self.features.to(k), whiten.T.contiguous().to(k), weights.to(k)) for k in kinds}

    def marginals(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (m,) of the noise-free warped quality at features (m, p), in their precision."""
        inputs, whiten, weights = self._fast[features.dtype]
        with torch.no_grad():
            cross = self.kernel.forward(features, inputs)  # (m, n)
            prior = self.kernel.forward(features, features, diag=True)
            variance = prior - (cross @ whiten).square_().sum(-1)
        return cross @ weights, variance.clamp_min(1e-10 + 1e-6 * float(self.level)).sqrt()

    def joint(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior mean (m,) and covariance (m, m) of the noise-free warped quality at features (m, p)."""
        inputs, whiten, weights = self._fast[torch.float64]
        with torch.no_grad():
            half = self.kernel.forward(features, inputs) @ whiten
            return self.kernel.forward(features, inputs) @ weights, self.kernel.forward(
                features, features
            ) - half @ half.T

    def given(self, at: Tensor, values: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (m, S) and deviation (m,) at features (m, p), given draws (S, b) of the quality at `at` (b, p)."""
        inputs, whiten, weights = self._fast[torch.float64]
        (mean, covariance), scale = self.joint(at), 1e-6 * float(self.kernel.forward(at, at, diag=True).detach().mean())
        with torch.no_grad():
            near, far = self.kernel.forward(at, inputs), self.kernel.forward(features, inputs)  # (b, n), (m, n)
            cross = self.kernel.forward(at, features) - (near @ whiten) @ (far @ whiten).T  # (b, m)
            root = torch.linalg.cholesky(covariance + scale * torch.eye(len(at)).double())
            half = torch.linalg.solve_triangular(root, cross, upper=False)
            white = torch.linalg.solve_triangular(root, (values - mean).T, upper=False)
            prior = self.kernel.forward(features, features, diag=True) - (far @ whiten).square().sum(-1)
            variance = prior - half.square().sum(0)
        return (far @ weights)[:, None] + half.T @ white, variance.clamp_min(1e-8).sqrt()

    def conditioned(self, features: Tensor, targets: Tensor, noise: Tensor | None = None) -> "Surrogate":
        """The same hyperparameters given further warped targets (m,) at features (m, p), certain unless noisy."""
        extra = torch.zeros(len(targets)).double() if noise is None else noise
        return replace(
            self,
            features=torch.cat([self.features, features]),
            targets=torch.cat([self.targets, targets]),
            noise=torch.cat([self.noise, extra]),
        )

    def model(self) -> SingleTaskGP:
        """The same process as a BoTorch model of the warped quality."""
        with validate_input_scaling(False):
            model = SingleTaskGP(
                self.features,
                self.targets[:, None],
                train_Yvar=(self.noise + JITTER)[:, None],
                covar_module=self.kernel,
                mean_module=ZeroMean(),
                outcome_transform=None,
            )
        model.eval()
        return model


def fit_surrogate(
    features: Tensor,
    values: FloatArray,
    groups: tuple[int, ...],
    noise: FloatArray | None = None,
    kernels: tuple[str, ...] = KERNELS,
    warps: bool = True,
    further: int = 0,
) -> Surrogate:
    """The surrogate with the best leave-one-out likelihood.

    Args:
        features: (n, p), float64.
        values: told qualities (n,), smaller is better.
        groups: the feature group of each column.
        noise: standard deviation (n,) of each told value; NaN where unknown, then it is learnt.
        kernels: which of `KERNELS` to try.
        warps: whether a skewed quality may be modelled by its logarithm above a shift.
        further: how many groups, the last ones, are costs and sizes instead of genes.

    Raises:
        InputError: fewer than two values, or values that are not finite.
    """
    if len(values) < 2 or not np.isfinite(values).all():
        raise InputError(f"a surrogate needs at least two finite values; got {len(values)}")
    stated = np.full(len(values), np.nan) if noise is None else noise
    with one_thread():
        new = partial(ArchitectureKernel, groups=groups, further=further)
        warp = _choose_warp(features, values, stated, new) if warps else Warp.of(values, None)
        fits = [_fit(new(kind), features, values, stated, warp) for kind in kernels]
    considered = tuple((f.report.kernel, f.report.log_likelihood) for f in fits)
    best = max(fits, key=lambda fit: fit.report.log_likelihood - (MARGIN / len(values)) * (fit.kernel.kind in RIGID))
    return replace(best, report=replace(best.report, considered=considered))


def _choose_warp(
    features: Tensor, values: FloatArray, stated: FloatArray, new: Callable[[str], ArchitectureKernel]
) -> Warp:
    """The warp under which unfitted kernels leave the likeliest residuals: a fit for each would cost seconds."""
    reach = float(values.max() - values.min())
    if len(values) < 8 or reach <= 0:
        return Warp.of(values, None)
    shifts = (None, *(float(values.min()) - share * reach for share in (1.0, 0.3, 0.1)))
    warps = [Warp.of(values, shift) for shift in shifts]
    kernels = [new(kind) for kind in ("matern", "interaction")]

    def likelihood(warp: Warp) -> float:
        levels = (math.exp(-6.0), math.exp(-4.0), math.exp(-2.0))
        made = [_made(k, features, values, stated, warp, level) for k in kernels for level in levels]
        return max(m.report.log_likelihood for m in made)

    scores = [likelihood(warp) - (0.02 if warp.shift is not None else 0.0) for warp in warps]
    return warps[int(np.argmax(scores))]


def _fit(kernel: ArchitectureKernel, features: Tensor, values: FloatArray, stated: FloatArray, warp: Warp) -> Surrogate:
    """Maximum a posteriori hyperparameters, from the prior means."""
    level = torch.nn.Parameter(torch.tensor(NOISE_PRIOR[0], dtype=torch.float64))
    parameters = [*kernel.parameters(), level]
    targets = torch.from_numpy(warp(values))
    fixed = torch.from_numpy((stated * warp.slope(values)) ** 2)

    def objective(x: FloatArray) -> tuple[float, FloatArray]:
        _assign(parameters, x)
        noise = torch.where(fixed.isnan(), level.exp(), fixed) + JITTER
        loss = _negative_log_marginal(kernel.forward(features, features), noise, targets)
        loss = loss + kernel.penalty() + ((level - NOISE_PRIOR[0]) / NOISE_PRIOR[1]).square() / 2
        if not torch.isfinite(loss):
            return math.inf, np.zeros_like(x)
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        flat = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradients, strict=True)]
        return float(loss.detach()), torch.cat([g.reshape(-1) for g in flat]).numpy()

    start = torch.cat([p.detach().reshape(-1) for p in parameters]).numpy()
    _assign(parameters, minimise(objective, start, STEPS))
    for parameter in kernel.parameters():
        parameter.requires_grad_(False)
    return _made(kernel, features, values, stated, warp, math.exp(float(level.detach())))


def _assign(parameters: list[torch.nn.Parameter], x: FloatArray) -> None:
    start = 0
    for parameter in parameters:
        size = parameter.numel()
        parameter.data = torch.from_numpy(x[start : start + size].copy()).reshape(parameter.shape)
        start += size


def _negative_log_marginal(gram: Tensor, noise: Tensor, targets: Tensor) -> Tensor:
    factor, failed = torch.linalg.cholesky_ex(gram + torch.diag(noise))
    if int(failed):
        return gram.sum() * math.inf
    white = torch.linalg.solve_triangular(factor, targets[:, None], upper=False)
    total: Tensor = white.square().sum() / 2 + factor.diagonal().log().sum()
    return total


def _made(
    kernel: ArchitectureKernel, features: Tensor, values: FloatArray, stated: FloatArray, warp: Warp, level: float
) -> Surrogate:
    """The surrogate of given hyperparameters, with its leave-one-out report."""
    noise = torch.from_numpy(np.where(np.isnan(stated), level, (stated * warp.slope(values)) ** 2))
    nothing = Diagnostics(kernel.kind, warp.shift is not None, -math.inf)
    bare = Surrogate(kernel, warp, features, torch.from_numpy(warp(values)), noise, level, nothing)
    return replace(bare, report=_leave_one_out(bare, values))


def _leave_one_out(fit: Surrogate, values: FloatArray) -> Diagnostics:
    """Each trial predicted from the others: mean z - alpha / Q_ii, variance 1 / Q_ii, Q the inverse covariance."""
    inverse = torch.cholesky_inverse(fit.factor)
    precision = inverse.diagonal().numpy()
    z = fit.targets.numpy()
    mean = z - (inverse @ fit.targets).numpy() / precision
    sd = precision**-0.5
    score = -0.5 * ((z - mean) / sd) ** 2 - np.log(sd) - 0.5 * math.log(2 * math.pi) + np.log(fit.warp.slope(values))
    return Diagnostics(fit.kernel.kind, fit.warp.shift is not None, float(score.mean()))
