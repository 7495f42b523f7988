"""Three shapes of dependence between an architecture and its quality, to be chosen among by the data.

    interaction         1 + s + w s^2                       every gene linear, every pair of genes interacts
    matern              1 + a lin + b M(r)                  a linear trend plus anything smooth
    interaction+matern  1 + s + w s^2 + b M(r)              both, sharing what each gene is worth

with s(x, x') = sum_g v_g z_g . z'_g, lin the same with all v_g equal, M the Matern 5/2 correlation and
r^2 = sum_g rho_g |z_g - z'_g|^2. The linear terms are the fitted trend: their coefficients are integrated out,
so leave-one-out pays for them too.

Costs and sizes are expected to matter as much as all genes together: what is known of an architecture as a whole says
most while few are told, and with one prior for all a space of many genes would drown it.

Notation: z_g columns of group g; all parameters are logarithms with normal priors (see `priors`).
"""

import math
from typing import Any

import torch
from gpytorch.kernels import Kernel
from torch import Tensor

KERNELS = ("interaction", "matern", "interaction+matern")
ROOT5 = math.sqrt(5.0)
WORTH = math.log(0.37)  # prior variance of the linear effects of all genes, and of all further columns, in logarithms


class ArchitectureKernel(Kernel):  # type: ignore[misc]
    """One of `KERNELS` over feature groups; a plain GPyTorch kernel.

    Args:
        kind: a name of `KERNELS`.
        groups: the group of each feature column, from 0.
        further: how many of the groups, the last ones, are costs and sizes instead of genes.
    """

    has_lengthscale = False

    def __init__(self, kind: str, groups: tuple[int, ...], further: int = 0) -> None:
        super().__init__()
        self.kind = kind
        count = max(groups, default=-1) + 1
        self.register_buffer("groups", torch.tensor(groups, dtype=torch.long))
        self.register_buffer("genes", torch.tensor(groups, dtype=torch.long) < count - further)
        self.priors = _priors(kind, count - further, further)
        for name, (mean, _) in self.priors.items():
            self.register_parameter(name, torch.nn.Parameter(mean.clone()))

    def penalty(self) -> Tensor:
        """Minus the log prior density of the parameters, up to a constant."""
        parts = [((getattr(self, name) - mean) / sd).square().sum() / 2 for name, (mean, sd) in self.priors.items()]
        return torch.stack(parts).sum()

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **_: Any) -> Tensor:
        """Covariances `... x n x m` of features `... x n x p` and `... x m x p`; `... x n` for the diagonal."""
        total: Tensor
        if self.kind == "matern":
            scale = torch.where(self.genes, self.trend[0], self.trend[1]).exp().to(x1.dtype).sqrt()
            total = 1.0 + _inner(x1 * scale, x2 * scale, diag)
            near = self.nearness.exp()
        else:
            scale = self.worth.exp()[self.groups].to(x1.dtype).sqrt()
            s = _inner(x1 * scale, x2 * scale, diag)
            total = 1.0 + s + self.pairs.exp().to(x1.dtype) * s.square()
            if self.kind == "interaction":
                return total
            near = self.relative.exp() * self.worth.exp()
        root = near[self.groups].to(x1.dtype).sqrt()
        local: Tensor = self.local.exp().to(x1.dtype) * _matern(x1 * root, x2 * root, diag)
        return total + local


def _priors(kind: str, genes: int, further: int) -> dict[str, tuple[Tensor, float]]:
    """Mean and standard deviation of the logarithm of each parameter, for targets of unit variance."""
    shares = WORTH - torch.tensor([max(genes, 1), max(further, 1)], dtype=torch.float64).log()  # of one group
    each = torch.cat([shares[:1].expand(genes), shares[1:].expand(further)])
    trend = {"worth": (each, 1.5), "pairs": (_one(-3.0), 1.5)}
    if kind == "interaction":
        return trend
    if kind == "matern":
        nearness = torch.full_like(each, -math.log(max(genes + further, 1)) - 0.5)
        return {"trend": (shares, 1.5), "local": (_one(-1.0), 1.0), "nearness": (nearness, 1.2)}
    return {**trend, "local": (_one(-2.0), 1.0), "relative": (_one(0.0), 1.0)}


def _one(value: float) -> Tensor:
    return torch.tensor([value], dtype=torch.float64)


def _inner(a: Tensor, b: Tensor, diag: bool) -> Tensor:
    return (a * b).sum(-1) if diag else a @ b.transpose(-1, -2)


def _matern(a: Tensor, b: Tensor, diag: bool) -> Tensor:
    if diag:
        square = (a - b).square().sum(-1)
    else:
        square = a.square().sum(-1)[..., :, None] + b.square().sum(-1)[..., None, :] - 2 * (a @ b.transpose(-1, -2))
    r = ROOT5 * (square.clamp_min(0.0) + 1e-10).sqrt()
    return (1.0 + r + r.square() / 3.0) * torch.exp(-r)
