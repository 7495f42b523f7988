"""The exact acquisition with a BoTorch model of one's own, for tools that are built on BoTorch, such as Ax.

`KnownCostEHVI` needs a model of the learnt objective alone; the cost is a function of the same inputs.

    python examples/botorch_recipe.py
"""

import itertools
import warnings

import torch
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.models.transforms import Standardize
from botorch.optim import optimize_acqf_discrete
from gpytorch.mlls import ExactMarginalLogLikelihood

from distilsearch.engine.acquisition import KnownCostEHVI
from distilsearch.engine.objectives import hypervolume

GRID = torch.tensor(list(itertools.product(torch.linspace(0, 1, 9).tolist(), repeat=3)), dtype=torch.float64)
REFERENCE = (6.0, 2.0)


def cost(x: torch.Tensor) -> torch.Tensor:
    """Known: inputs `... x 3` -> costs `... x 1`."""
    return 0.5 + x.sum(-1, keepdim=True)


def loss(x: torch.Tensor) -> torch.Tensor:
    """Learnt: stands for hours of training."""
    return 1.5 - x[..., :1] + (x[..., 1:2] - 0.5).square() - 0.3 * x[..., 2:].sqrt()


told = GRID[torch.randperm(len(GRID), generator=torch.Generator().manual_seed(0))[:6]]
for _ in range(6):
    model = SingleTaskGP(told, loss(told), outcome_transform=Standardize(m=1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a fit from few points may end early
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    outcomes = torch.cat([cost(told), loss(told)], -1).numpy()
    acquisition = KnownCostEHVI(model, cost, outcomes, REFERENCE)
    free = GRID[(torch.cdist(GRID, told).min(-1).values > 0)]
    best, value = optimize_acqf_discrete(acquisition, q=1, choices=free)
    told = torch.cat([told, best])
    volume = hypervolume(torch.cat([cost(told), loss(told)], -1).numpy(), REFERENCE)
    print(f"{best[0].tolist()}  expected improvement {value.exp():.3f}  hypervolume {volume:.3f}")
