"""Exact expected hypervolume improvement where all but one objective have a known distribution of their own.

The front cuts the plane of all objectives but the last into boxes on each of which one level of the last
objective is to be beaten. With independent errors the expected improvement is a sum over those boxes,

    EHVI(x) = sum_b  prod_j [psi_j(upper_bj) - psi_j(lower_bj)]  psi_y(level_b),     psi(t) = E[(t - .)_+]

which for one cost known for certain is the sum over the steps of the front, width in cost x EI. All of it is
computed as logarithms: far from the front the improvements underflow, and ties would make the choice random.

Notation: M objectives, minimised, the last one is learnt; b boxes (at most 2m + 1 for m front members and
M <= 3); n candidates; S joint draws of the outcomes told so far.
"""

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from botorch.acquisition.acquisition import AcquisitionFunction
from botorch.acquisition.analytic import _log_ei_helper
from botorch.models.model import Model
from botorch.utils.transforms import t_batch_mode_transform
from torch import Tensor

from distilsearch.arrays import FloatArray

from .objectives import nondominated

NEVER = -math.inf
FLOOR = -1e6  # of what a gradient-based optimiser sees


@dataclass(frozen=True)
class Boxes:
    """The plane of the first M - 1 objectives, cut where the level to beat changes.

    `lower`, `upper` (b, M - 1), `lower` may be minus infinity; `level` (b,).
    """

    lower: Tensor
    upper: Tensor
    level: Tensor

    @classmethod
    def of(cls, points: FloatArray, reference: FloatArray) -> "Boxes":
        """Boxes of points (m, M) to be minimised, M = 1, 2 or 3; dominated ones change nothing."""
        inside = points[(points < reference).all(axis=1)]
        front = inside[nondominated(inside)] if len(inside) else inside
        rows = {1: _line, 2: _strips, 3: _rectangles}[len(reference)](front, reference)
        table = np.array(rows, dtype=np.float64).reshape(len(rows), 2 * len(reference) - 1)
        split = len(reference) - 1
        lower, upper, level = table[:, :split], table[:, split:-1], table[:, -1]
        return cls(torch.from_numpy(lower.copy()), torch.from_numpy(upper.copy()), torch.from_numpy(level.copy()))

    def to(self, dtype: torch.dtype) -> "Boxes":
        """The same boxes in another precision."""
        return Boxes(self.lower.to(dtype), self.upper.to(dtype), self.level.to(dtype))


Row = tuple[float, ...]


def _line(front: FloatArray, reference: FloatArray) -> list[Row]:
    return [(float(front.min()) if len(front) else float(reference[0]),)]


def _strips(front: FloatArray, reference: FloatArray) -> list[Row]:
    ordered = np.unique(front, axis=0)
    edges = [NEVER, *ordered[:, 0].tolist(), float(reference[0])]
    levels = [float(reference[1]), *ordered[:, 1].tolist()]
    return [(a, b, level) for a, b, level in zip(edges, edges[1:], levels, strict=False) if a < b]


def _rectangles(front: FloatArray, reference: FloatArray) -> list[Row]:
    """Best level first, each point claims the quadrant above it that no better one has claimed."""
    rows: list[Row] = []
    stairs: list[tuple[float, float]] = []  # the claimed region's corners, first coordinate rising, second falling
    ordered = front[np.lexsort((front[:, 1], front[:, 0], front[:, 2]))].tolist()
    for x, y, level in [*ordered, [NEVER, NEVER, float(reference[2])]]:
        start = bisect.bisect_right(stairs, (x, math.inf))
        top = stairs[start - 1][1] if start else float(reference[1])
        stop, left = start, x
        while stop < len(stairs) and top > y:
            right, next_top = stairs[stop]
            rows.append((left, y, right, top, level))
            left, top = right, next_top
            if next_top >= y:
                stop += 1
        if top > y:
            rows.append((left, y, float(reference[0]), top, level))
        if not start or stairs[start - 1][1] > y:
            low = start - 1 if start and stairs[start - 1][0] == x else start
            stairs[low:stop] = [(x, y)]
    return [row for row in rows if row[0] < row[2] and row[1] < row[3]]


# psi(t) = E[(t - Y)_+] in logarithms


def log_psi_normal(t: Tensor, mean: Tensor, sd: Tensor) -> Tensor:
    """log E[(t - Y)_+] for Y ~ N(mean, sd^2); shapes broadcast; sd = 0 is the certain case."""
    certain = sd <= 0
    safe = torch.where(certain, torch.ones_like(sd), sd)
    value = _log_ei_helper((t - mean) / safe) + safe.log()
    return torch.where(certain, (t - mean).clamp_min(0.0).log(), value) if certain.any() else value


def log_psi_lognormal(t: Tensor, mean: Tensor, sd: Tensor, shift: float) -> Tensor:
    """log E[(t - Y)_+] for Y = shift + exp(Z), Z ~ N(mean, sd^2).

    With z = (log(t - shift) - mean) / sd it is (t - shift) [Phi(z) - exp(sd^2 / 2 - z sd) Phi(z - sd)]; both
    terms carry the factor exp(-z^2 / 2) of the scaled complementary error function, so no tail underflows.
    """
    room = (t - shift).clamp_min(torch.finfo(mean.dtype).tiny)
    sd = sd.clamp_min(1e-9 if mean.dtype == torch.float64 else 1e-5)
    z = (room.log() - mean) / sd
    root = math.sqrt(0.5)
    low = z.clamp_max(0.0)
    scaled = (torch.special.erfcx(-low * root) - torch.special.erfcx((sd - low) * root)) / 2
    tail = scaled.clamp_min(torch.finfo(mean.dtype).tiny).log() - low.square() / 2
    high = z.clamp_min(0.0)
    ratio = (sd.square() / 2 - high * sd).clamp_max(60.0).exp()
    body = torch.special.ndtr(high) - ratio * torch.special.ndtr(high - sd)
    log_body = body.clamp_min(torch.finfo(mean.dtype).tiny).log()
    return torch.where(t > shift, room.log() + torch.where(z > 0, log_body, tail), NEVER)


def log_width(lower: Tensor, upper: Tensor, value: Tensor, sd: Tensor | None) -> Tensor:
    """log of psi(upper) - psi(lower) for a cost ~ N(value, sd^2): the part of a box it is expected to dominate."""
    if sd is None:
        width = upper - torch.maximum(lower, value)
        if width.requires_grad:  # the logarithm of nothing has no gradient that is a number
            return torch.where(width > 0, width.clamp_min(torch.finfo(width.dtype).tiny).log(), NEVER)
        return width.clamp_min(0.0).log()
    high = log_psi_normal(upper, value, sd)
    low = log_psi_normal(lower.clamp_min(torch.finfo(value.dtype).min / 4), value, sd)
    low = torch.where(torch.isneginf(lower), NEVER, low)
    gap = (low - high).clamp_max(0.0)
    return torch.where(torch.isneginf(high), high, high + torch.log(-torch.expm1(gap)))


@dataclass(frozen=True)
class Belief:
    """What is believed of n candidates: costs (n, M - 1) with deviations or certain, and the learnt objective.

    `shift` is None where the learnt objective is normal, else it is `shift + exp(normal)`.
    """

    costs: Tensor
    deviations: Tensor | None
    mean: Tensor
    sd: Tensor
    shift: float | None = None

    def log_psi(self, t: Tensor) -> Tensor:
        """log E[(t - Y)_+], (n, b), of levels t (b,)."""
        mean, sd = self.mean[..., None], self.sd[..., None]
        return log_psi_normal(t, mean, sd) if self.shift is None else log_psi_lognormal(t, mean, sd, self.shift)


def log_ehvi(belief: Belief, boxes: Boxes) -> Tensor:
    """Logarithm (n,) of the exact expected hypervolume improvement; minus infinity where there can be none."""
    return torch.logsumexp(log_gains(belief, boxes), dim=-1)


def log_gains(belief: Belief, boxes: Boxes) -> Tensor:
    """Logarithm (n, b) of what each box adds to the improvement."""
    total = belief.log_psi(boxes.level)  # (n, b)
    for j in range(belief.costs.shape[-1]):
        sd = None if belief.deviations is None else belief.deviations[:, j, None]
        total = total + log_width(boxes.lower[:, j], boxes.upper[:, j], belief.costs[:, j, None], sd)
    return total


class KnownCostEHVI(AcquisitionFunction):
    """`log_ehvi` for BoTorch's own optimisers: a single-output model of the learnt objective, to be minimised.

    Where nothing can be gained, at a cost beyond the reference, the value is about -1e6 and the gradient zero.

    Args:
        model: posterior of the learnt objective.
        cost: X `batch x d` -> costs `batch x (M - 1)`, known for certain.
        points: outcomes so far (m, M), costs first, to be minimised.
        reference: (M,).
    """

    def __init__(self, model: Model, cost: Any, points: FloatArray, reference: Sequence[float]) -> None:
        super().__init__(model=model)
        self.cost = cost
        self.boxes = Boxes.of(np.asarray(points, float), np.asarray(reference, float))

    @t_batch_mode_transform(expected_q=1)  # type: ignore[arg-type]
    def forward(self, X: Tensor) -> Tensor:  # noqa: N803
        """Log EHVI, `batch`, of X `batch x 1 x d`."""
        posterior: Any = self.model.posterior(X)
        mean = posterior.mean.squeeze(-1).squeeze(-1)
        sd = posterior.variance.clamp_min(1e-18).sqrt().squeeze(-1).squeeze(-1)
        flat = mean.reshape(-1)
        costs = self.cost(X.squeeze(-2)).reshape(len(flat), -1)
        gains = log_gains(Belief(costs, None, flat, sd.reshape(-1)), self.boxes)
        return torch.logsumexp(gains.clamp_min(FLOOR), dim=-1).reshape(mean.shape)
