"""What the told trials say about any architecture: a surrogate per expensive objective and limit, the odds of failing.

Everything a strategy needs of the models, in the units of the objectives and to be minimised.

Notation: n candidates, u told architectures, p pending ones, K known and E expensive objectives, S draws.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from distilsearch.arrays import FloatArray
from distilsearch.predictors.surrogate.accuracy import Surrogate, fit_surrogate
from distilsearch.predictors.surrogate.encoding import Encoding

from .acquisition import Belief
from .feasibility import fit_limits, implied, interval, log_within
from .lengths import Lengths
from .objectives import Codes, hypervolume
from .view import View

CHUNK = 1 << 12  # rows at a time: intermediate arrays stay in the cache, which is four times as fast as 1 << 15
NEGLIGIBLE = 1e-3
NEAR = 0.05  # squared distance, as a share of the largest one, at which a failure's influence falls to 1/e
PRIOR = 0.25  # how many results at the very place the belief that all succeed is worth


@dataclass(frozen=True)
class Beliefs:
    """Fitted models of one view; made by `Beliefs.of`. Pending architectures count at their posterior mean."""

    view: View
    encoding: Encoding
    surrogates: tuple[Surrogate, ...]
    lengths: Lengths | None  # among others the one that candidates are judged at; None where all are equal
    base: Codes  # (u + p, d)
    base_costs: FloatArray  # (u + p, K)
    limits: tuple[Surrogate, ...] = ()  # of `view.held`, in its order and to be minimised

    @classmethod
    def of(cls, view: View) -> "Beliefs":
        """Fit every expensive objective, and every limit that must be learnt, on the tells that carry it.

        While limits alone say what is next (`View.seeks`), objectives have no surrogates.
        """
        lengths = Lengths.of(view)
        rows = view.further(view.codes)[view.row]
        if lengths is not None:
            rows = np.column_stack([rows, lengths.columns(view.codes[view.row], lengths.told, rows)])
        encoding = Encoding.of(view.space, rows, view.ignored)
        features = encoding(view.codes[view.row], rows)
        fits = []
        for e in range(0 if view.seeks else len(view.expensive)):
            has = ~np.isnan(view.values[:, e]) & view.fresh
            told, noise = view.values[has, e], view.noise[has, e]
            fits.append(fit_surrogate(features[has], told, encoding.groups, noise, further=rows.shape[1]))
        limits = fit_limits(view, features, encoding.groups, rows.shape[1], fits)
        made = cls(view, encoding, tuple(fits), lengths, view.codes, view.told_costs, limits)
        return made.given(view.pending)

    def given(self, codes: Codes) -> "Beliefs":
        """The same with further pending architectures."""
        if not len(codes):
            return self
        features = self.features(codes)
        fits, limits = (
            tuple(s.conditioned(features, s.marginals(features)[0]) for s in those)
            for those in (self.surrogates, self.limits)
        )
        costs = np.concatenate([self.base_costs, self.view.costs(codes)])
        return replace(self, surrogates=fits, base=np.concatenate([self.base, codes]), base_costs=costs, limits=limits)

    def features(self, codes: Codes, dtype: torch.dtype = torch.float64) -> Tensor:
        """Surrogate features (n, f) of candidates, at the fidelity they are judged at."""
        further = self.view.further(codes)
        if self.lengths is not None:
            further = np.column_stack([further, self.lengths.columns(codes, self.lengths.target, further, dtype)])
        return self.encoding(codes, further, dtype)

    def raw(self, e: int, warped: Tensor) -> Tensor:
        """Told units of warped values of expensive objective e."""
        warp = self.surrogates[e].warp
        plain = warp.centre + warp.scale * warped
        return plain if warp.shift is None else warp.shift + plain.exp()

    @cached_property
    def standing(self) -> npt.NDArray[np.bool_]:
        """Which of the told and pending ones (u + p,) keep the limits that are no objectives; s of them do.

        Learnt limits count as they were told, and for pending ones as is more probable.
        """
        stands = self.view.standing(self.base)
        if not self.view.held:
            return stands
        pending = self.log_kept(self.base[len(self.view.codes) :], everything=True) > math.log(0.5)
        result: npt.NDArray[np.bool_] = stands & np.concatenate([self.view.told_keeps, pending.numpy()])
        return result

    def front_points(self) -> FloatArray:
        """Objectives (s, M) of those that stand, the learnt ones at their posterior medians."""
        features = self.features(self.base[self.standing])
        learnt = [self.raw(e, s.marginals(features)[0]).numpy() for e, s in enumerate(self.surrogates)]
        return np.column_stack([self.base_costs[self.standing], *learnt])

    def belief(self, codes: Codes, dtype: torch.dtype = torch.float64) -> Belief:
        """Marginal belief of candidates: known costs, then all expensive objectives but the last, then the last."""
        features = self.features(codes, dtype)
        moments = [s.marginals(features) for s in self.surrogates]
        return self._assemble(codes, moments, dtype)

    def _assemble(self, codes: Codes, moments: list[tuple[Tensor, Tensor]], dtype: torch.dtype) -> Belief:
        costs = torch.from_numpy(self.view.costs(codes)).to(dtype)
        spread = self.view.cost_deviations(codes)
        sds = None if spread is None else torch.from_numpy(spread).to(dtype)
        for e, (mean, sd) in enumerate(moments[:-1]):
            plain, width = self._plain(e, mean, sd)
            before = torch.zeros_like(costs) if sds is None else sds
            costs, sds = torch.cat([costs, plain[:, None]], 1), torch.cat([before, width[:, None]], 1)
        last = self.surrogates[-1].warp
        mean, sd = last.centre + last.scale * moments[-1][0], last.scale * moments[-1][1]
        return Belief(costs, sds, mean, sd, last.shift)

    def _plain(self, e: int, mean: Tensor, sd: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation in told units; a warped one by its moments."""
        warp = self.surrogates[e].warp
        mean, sd = warp.centre + warp.scale * mean, warp.scale * sd
        if warp.shift is None:
            return mean, sd
        centre = (mean + sd.square() / 2).exp()
        return warp.shift + centre, centre * torch.expm1(sd.square()).sqrt()

    def draws(self, count: int, rng: np.random.Generator) -> "Draws":
        """Joint draws of all told and pending outcomes."""
        features = self.features(self.base)
        samples = []
        for surrogate in self.surrogates:
            mean, covariance = surrogate.joint(features)
            noise = torch.from_numpy(_antithetic(count, len(mean), rng))
            samples.append(mean + noise @ _root(covariance).T)
        return Draws(self, features, tuple(samples))

    @cached_property
    def volume(self) -> float:
        """What the front of posterior medians dominates below the reference."""
        return hypervolume(self.front_points(), self.view.reference)

    def weighed(self, log_gain: Tensor, codes: Codes, whole: float | None = None) -> Tensor:
        """Logarithm (n,) of gains times the odds that come with them (`log_success`).

        Where limits must be learnt, gains below a thousandth of the whole (the volume where none is given) count alike:
        else a gain of next to nothing that surely keeps the limits would lose against one that surely breaks them.
        """
        if self.view.held:
            least = NEGLIGIBLE * (self.volume if whole is None else whole)
            log_gain = torch.logaddexp(log_gain, torch.full_like(log_gain, math.log(max(least, 1e-300))))
        return log_gain + self.log_success(codes)

    def log_success(self, codes: Codes) -> Tensor:
        """Logarithm (n,) of the odds that a candidate neither fails nor breaks a learnt limit that the reference does
        not imply."""
        odds = self.log_finished(codes)
        return odds + self.log_kept(codes) if self.view.held else odds

    def log_kept(self, codes: Codes, everything: bool = False) -> Tensor:
        """Logarithm (n,) of the odds that candidates keep the learnt limits; with `everything` also those limits of
        objectives that are part of the reference, beyond which no improvement counts."""
        total = torch.zeros(len(codes), dtype=torch.float64)
        held = [pair for pair in zip(self.view.held, self.limits, strict=True) if len(codes)]
        features = self.features(codes) if held else None
        for o, fit in held:
            if features is not None and (everything or o in self.view.learnt_limits or not implied(o)):
                total += log_within(fit, features, interval(o))
        return total

    def log_finished(self, codes: Codes) -> Tensor:
        """Logarithm (n,) of the share of successes near each candidate, from a prior that all succeed.

        It counts thrice: failures have causes and lie together, and a large gain must not outweigh many of them.
        """
        view = self.view
        if not len(view.failed):
            return torch.zeros(len(codes), dtype=torch.float64)
        seen = torch.cat([self._place(view.codes), self._place(view.failed)])
        weight = torch.exp(-torch.cdist(self._place(codes), seen).square() / NEAR)
        good = PRIOR + weight[:, : len(view.codes)].sum(1)
        return 3.0 * torch.log(good / (PRIOR + weight.sum(1)))

    def _place(self, codes: Codes) -> Tensor:
        """Features scaled so that genes and costs count alike and the largest distance is about one."""
        features = self.features(codes)
        genes = sum(g < max(self.encoding.groups) + 1 - len(self.encoding.low) for g in self.encoding.groups)
        parts = [features[:, :genes], features[:, genes:]]
        counts = [len(set(self.encoding.groups[:genes])), features.shape[1] - genes]
        scaled = [p / math.sqrt(4.0 * c) for p, c in zip(parts, counts, strict=True) if c]
        return torch.cat(scaled, 1) / math.sqrt(len(scaled))


@dataclass(frozen=True)
class Draws:
    """Joint draws (S, u + p) of each expensive objective, and the beliefs given each of them."""

    beliefs: Beliefs
    features: Tensor
    samples: tuple[Tensor, ...]

    def some(self, count: int) -> "Draws":
        """At most `count` of them, in pairs of opposites."""
        size = len(self.samples[0])
        half = size // 2
        opposites = [i for j in range(half) for i in (j, j + size - half)][:count]
        return replace(self, samples=tuple(z[opposites] for z in self.samples)) if opposites else self

    def points(self, s: int) -> FloatArray:
        """Objectives of draw s, one row for each that stands."""
        learnt = [self.beliefs.raw(e, z[s]).numpy() for e, z in enumerate(self.samples)]
        return np.column_stack([self.beliefs.base_costs, *learnt])[self.beliefs.standing]

    def believe(self, codes: Codes) -> list[Belief]:
        """The belief of the candidates given each draw: one conditional variance, a mean for each draw."""
        features = self.beliefs.features(codes)
        conditional = [self._conditional(e, features) for e in range(len(self.samples))]
        count = len(self.samples[0])
        assemble = self.beliefs._assemble
        return [assemble(codes, [(m[:, s], sd) for m, sd in conditional], torch.float64) for s in range(count)]

    def _conditional(self, e: int, features: Tensor) -> tuple[Tensor, Tensor]:
        surrogate, kernel = self.beliefs.surrogates[e], self.beliefs.surrogates[e].kernel
        if self.beliefs.lengths is not None:  # what was told at other lengths says more than the draws do
            return surrogate.given(self.features, self.samples[e], features)
        with torch.no_grad():
            root = _root(kernel.forward(self.features, self.features))
            half = torch.linalg.solve_triangular(root, kernel.forward(self.features, features), upper=False)
            white = torch.linalg.solve_triangular(root, self.samples[e].T, upper=False)
            variance = kernel.forward(features, features, diag=True) - half.square().sum(0)
        return half.T @ white, variance.clamp_min(1e-8).sqrt()


def _root(covariance: Tensor) -> Tensor:
    """Lower Cholesky factor, with as little jitter as it takes."""
    scale = float(covariance.diagonal().mean().clamp_min(1e-12))
    eye = torch.eye(len(covariance), dtype=covariance.dtype)
    for power in (-8, -6, -4, -2):
        factor: Tensor
        factor, info = torch.linalg.cholesky_ex(covariance + 10.0**power * scale * eye)
        if not int(info):
            return factor
    return covariance.diagonal().clamp_min(0.0).sqrt().diag()


def _antithetic(count: int, size: int, rng: np.random.Generator) -> FloatArray:
    half = rng.standard_normal(((count + 1) // 2, size))
    return np.concatenate([half, -half])[:count]
