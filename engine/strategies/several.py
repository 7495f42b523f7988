"""More than three objectives: BoTorch's qLogNEHVI on the best-screened part of the pool.

The screen draws random weights and takes the candidates with the best optimistic Chebyshev value under any.

Notation: n candidates, M objectives, K of them known; X = features, then the K costs, then 1 where the limits are kept.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from botorch.acquisition.multi_objective import logei
from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
from botorch.acquisition.multi_objective.objective import GenericMCMultiOutputObjective
from botorch.models.model import Model, ModelList
from botorch.posteriors.posterior import Posterior
from botorch.sampling.list_sampler import ListSampler
from botorch.sampling.normal import SobolQMCNormalSampler
from linear_operator.utils.warnings import NumericalWarning
from torch import Tensor

from distilsearch.arrays import FloatArray

from ..beliefs import CHUNK, Beliefs
from ..objectives import Codes
from ..pool import distinct, fingerprints

SCREENED = 512
WEIGHTS = 128
SAMPLES = 64


def choose_several(beliefs: Beliefs, pool: Codes, n: int, rng: np.random.Generator) -> Codes:
    """At most n rows of the pool, chosen one after the other."""
    short = _screened(beliefs, pool, rng)
    chosen = [short[:0]]
    while len(short) and len(chosen) <= n:
        gain = torch.from_numpy(_qlognehvi(beliefs, short, int(rng.integers(1 << 31))))
        value = beliefs.weighed(gain, short).numpy()
        near = np.flatnonzero(value >= value.max() - 1e-9)
        pick = short[[int(near[np.argmin(fingerprints(beliefs.view.space, short[near]))])]]
        chosen.append(pick)
        beliefs = beliefs.given(pick)
        short = distinct(beliefs.view.space, short, pick, beliefs.view.apart)
    return np.concatenate(chosen)


def _optimistic(beliefs: Beliefs, codes: Codes) -> FloatArray:
    """One standard deviation better than expected, (n, M)."""
    features = beliefs.features(codes, torch.float32)
    moments = [s.marginals(features) for s in beliefs.surrogates]
    learnt = [beliefs.raw(e, mean - sd).double().numpy() for e, (mean, sd) in enumerate(moments)]
    return np.column_stack([beliefs.view.costs(codes), *learnt])


def _screened(beliefs: Beliefs, pool: Codes, rng: np.random.Generator) -> Codes:
    if len(pool) <= SCREENED:
        return pool
    reference, told = beliefs.view.reference, beliefs.front_points()
    low = told.min(axis=0) if len(told) else reference - 1.0
    span = np.where(reference > low, reference - low, 1.0)
    weights = rng.dirichlet(np.ones(len(reference)), WEIGHTS)
    best: list[tuple[FloatArray, Codes]] = []
    for i in range(0, len(pool), CHUNK):
        scaled = (_optimistic(beliefs, pool[i : i + CHUNK]) - low) / span
        values = np.stack([(w * scaled).max(axis=1) + 0.05 * scaled @ w for w in weights])  # (weights, chunk)
        rows = np.argsort(values, axis=1, kind="stable")[:, : SCREENED // 64]
        best.append((np.take_along_axis(values, rows, 1), pool[i : i + CHUNK][rows]))
    values, codes = np.concatenate([b[0] for b in best], 1), np.concatenate([b[1] for b in best], 1)
    order = np.argsort(values, axis=1, kind="stable")[:, : SCREENED // 64]
    leaders = np.take_along_axis(codes, order[..., None], 1).reshape(-1, pool.shape[1])
    return distinct(beliefs.view.space, leaders, leaders[:0])


class _Leading(Model):
    """A model of the leading columns of X; the costs behind them are for the objective."""

    num_outputs = 1
    batch_shape = torch.Size([])

    def __init__(self, model: Model, width: int) -> None:
        super().__init__()
        self.model = model
        self.width = width

    def posterior(
        self,
        X: Tensor,  # noqa: N803
        output_indices: list[int] | None = None,
        observation_noise: bool | Tensor = False,
        posterior_transform: Any = None,
    ) -> Posterior:
        """Posterior of the wrapped model."""
        return self.model.posterior(X[..., : self.width], None, observation_noise, posterior_transform)


def _qlognehvi(beliefs: Beliefs, codes: Codes, seed: int) -> FloatArray:
    width, corner = beliefs.features(codes[:1]).shape[1], -torch.from_numpy(beliefs.view.reference)
    models = [_Leading(s.model(), width) for s in beliefs.surrogates]

    def maximised(samples: Tensor, X: Tensor | None = None) -> Tensor:  # noqa: N803
        assert X is not None
        learnt = [beliefs.raw(e, samples[..., e]) for e in range(len(models))]
        costs = X[..., width:-1].expand(*samples.shape[:-1], X.shape[-1] - width - 1)
        values = -torch.cat([costs, torch.stack(learnt, -1)], -1)
        return torch.where(X[..., -1:] > 0, values, corner)  # what breaks a limit adds nothing to any volume

    shape = torch.Size([SAMPLES])
    rows = _rows(beliefs, codes, beliefs.view.costs(codes), np.ones(len(codes)))
    with torch.no_grad(), nothing_compiled(), warnings.catch_warnings():
        warnings.simplefilter("ignore", NumericalWarning)  # jitter, where outcomes are nearly certain
        acquisition = qLogNoisyExpectedHypervolumeImprovement(
            ModelList(*models),
            ref_point=corner.tolist(),
            X_baseline=_rows(beliefs, beliefs.base, beliefs.base_costs, beliefs.standing),
            sampler=ListSampler(*(SobolQMCNormalSampler(shape, seed=seed + e) for e in range(len(models)))),
            objective=GenericMCMultiOutputObjective(maximised),
            prune_baseline=False,
            cache_root=False,
        )
        return np.concatenate([acquisition(part[:, None]).numpy() for part in torch.split(rows, 256)])


@contextmanager
def nothing_compiled() -> Iterator[None]:
    """BoTorch's acquisition compiles a C++ kernel the first time it is made: a minute without a word, and without end
    where a process that was killed has left its lock behind. Here it is told that this was tried before."""
    before = getattr(logei, "_load_attempted", None)
    if before is None:  # a version of BoTorch that compiles nothing
        yield
        return
    setattr(logei, "_load_attempted", True)  # noqa: B010  (private, and not in its stubs)
    try:
        yield
    finally:
        setattr(logei, "_load_attempted", before)  # noqa: B010


def _rows(beliefs: Beliefs, codes: Codes, costs: FloatArray, standing: npt.ArrayLike) -> Tensor:
    flags = np.asarray(standing, dtype=np.float64)[:, None]
    return torch.cat([beliefs.features(codes), torch.from_numpy(costs), torch.from_numpy(flags)], 1)
