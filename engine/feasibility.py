"""The odds that candidates keep limits that must be learnt: a model for each limit, and the product of their odds.

Told values beyond a limit teach like any other; where the warp that suits them cannot reach the limit, the values are
learnt as they are. While nothing that was told keeps every limit, the odds alone decide who is next (`most_feasible`),
for an improvement over nothing says only where the objectives are good.

    P(x) = prod_l P(least_l <= Y_l(x) <= most_l),   Y_l independent, each normal after its warp

Notation: n candidates, L limits; all of it in logarithms, for far candidates must still be ordered.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from distilsearch.arrays import FloatArray
from distilsearch.predictors.surrogate.accuracy import Surrogate, fit_surrogate

from .objectives import Codes, Expensive, bounds_of
from .pool import candidates, distinct, fingerprints, refined
from .view import View

if TYPE_CHECKING:
    from .beliefs import Beliefs

PARENTS = 16
SHORT = 2_048
CHUNK = 1 << 12


def interval(objective: Expensive) -> tuple[float, float]:
    """The least and the largest value that keep its limits, to be minimised."""
    least, most = bounds_of(objective)
    return (least, most) if objective.sign > 0 else (-most, -least)


def implied(objective: Expensive) -> bool:
    """Whether the reference says all that its limits say: no improvement beyond it counts."""
    least, most = interval(objective)
    return math.isinf(least) and math.isfinite(most)


def fit_limits(
    view: View, features: Tensor, groups: tuple[int, ...], further: int, objectives: Sequence[Surrogate]
) -> tuple[Surrogate, ...]:
    """A surrogate for each of `view.held`; that of an objective itself where it can believe in its limits.

    Args:
        view: N tells.
        features: (N, p) of the tells.
        groups, further: as for `fit_surrogate`.
        objectives: the surrogates of the expensive objectives, where there are any yet.
    """
    names, fits = [o.name for o in view.expensive], []
    for o in view.held:
        e = names.index(o.name) if o.name in names else None
        told = view.limit_values[:, view.learnt_limits.index(o)] * o.sign if e is None else view.values[:, e]
        has = ~np.isnan(told) & view.fresh
        noise = np.full(len(told), np.nan) if e is None else view.noise[:, e]
        fit = partial(fit_surrogate, features[has], told[has], groups, noise[has], further=further)
        made = objectives[e] if e is not None and objectives else fit()
        fits.append(made if reaches(made, interval(o)) else fit(warps=False))
    return tuple(fits)


def reaches(fit: Surrogate, limits: tuple[float, float]) -> bool:
    """Whether a surrogate can believe in values on both sides of each limit."""
    shift = fit.warp.shift
    return shift is None or all(shift < limit for limit in limits if math.isfinite(limit))


def log_within(fit: Surrogate, features: Tensor, limits: tuple[float, float]) -> Tensor:
    """Logarithm (n,) of the probability that the noise-free value lies within the limits."""
    mean, sd = fit.marginals(features)
    least, most = (float(fit.warp(np.array([x]))[0]) if math.isfinite(x) else x for x in limits)
    low, high = (least - mean) / sd, (most - mean) / sd
    flip = low + high > 0  # take the difference in the tail where it does not cancel
    low, high = torch.where(flip, -high, low), torch.where(flip, -low, high)
    below, above = torch.special.log_ndtr(low), torch.special.log_ndtr(high)
    result: Tensor = above + torch.log(-torch.expm1((below - above).clamp_max(-1e-12)))
    return result


def most_feasible(beliefs: "Beliefs", n: int, rng: np.random.Generator) -> Codes:
    """At most n free codes by the odds of keeping every limit alone, each as if those before it were as expected."""
    view = beliefs.view
    pool = candidates(view, _nearest(beliefs), rng)
    if len(pool) > SHORT:
        score = _odds(beliefs, pool)
        pool = pool[np.sort(np.argsort(-score, kind="stable")[:SHORT])]
    short = refined(view, pool, lambda codes: _odds(beliefs, codes), rng)
    chosen = [pool[:0]]
    while len(short) and len(chosen) <= n:
        score = _odds(beliefs, short)
        near = np.flatnonzero(score >= score.max() - 1e-9)
        pick = short[[int(near[np.argmin(fingerprints(view.space, short[near]))])]]
        chosen.append(pick)
        beliefs = beliefs.given(pick)
        short = distinct(view.space, short, pick, view.apart)
    return np.concatenate(chosen)


def _nearest(beliefs: "Beliefs") -> Codes:
    """Told and pending architectures worth varying: those that are most likely to keep the limits."""
    return beliefs.base[np.argsort(-_odds(beliefs, beliefs.base), kind="stable")[:PARENTS]]


def _odds(beliefs: "Beliefs", codes: Codes) -> FloatArray:
    """Logarithm (n,) of the odds that a candidate neither fails nor breaks a limit."""
    parts = [codes[i : i + CHUNK] for i in range(0, len(codes), CHUNK)]
    odds = [beliefs.log_finished(part) + beliefs.log_kept(part, everything=True) for part in parts]
    return np.asarray(np.nan_to_num(torch.cat(odds).numpy(), nan=-np.inf, neginf=-1e300))
