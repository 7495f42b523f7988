"""The default: exact expected hypervolume improvement over the whole pool.

Millions are screened in single precision against the front of posterior medians; the best are judged again over
joint draws of what the told trials really are worth, so that a lucky tell does not pass for the front. A batch
is chosen one by one, each as if those before it had come out as expected.

Notation: n candidates, S draws, b boxes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from distilsearch.arrays import FloatArray
from distilsearch.errors import InputError
from distilsearch.space import SearchSpace

from ..acquisition import Boxes, log_ehvi
from ..beliefs import CHUNK, Beliefs, Draws
from ..longer import check_few
from ..objectives import Codes, Objective, nondominated
from ..pool import candidates, distinct, fingerprints, refined
from ..reference import beyond, beyond_levels, warn_nothing
from ..view import View
from .several import choose_several

SHORT = 10_000
LATER = 2_048
ROUGH = 8  # draws that narrow the shortlist down
PLUG_IN = math.log(0.01)  # weight of the screen's own value beside the draws': it breaks ties at nothing


@dataclass(frozen=True)
class EHVI:
    """Exact expected hypervolume improvement; with more than three objectives BoTorch's qLogNEHVI.

    Args:
        draws: joint draws of the told outcomes; 0 trusts the posterior medians.
    """

    draws: int = 32
    name = "ehvi"
    needs_design = True

    def __post_init__(self) -> None:
        if self.draws < 0:
            raise InputError(f"draws of strategy 'ehvi' must be 0 or more; got {self.draws}")

    def check(self, space: SearchSpace, objectives: Sequence[Objective]) -> None:
        """Any space and objectives will do."""

    def options(self) -> dict[str, Any]:
        """Plain JSON of the fields."""
        return asdict(self)

    def propose(self, view: View, n: int, rng: np.random.Generator) -> Codes:
        """At most n free codes, best first."""
        beliefs = Beliefs.of(view)
        pool = candidates(view, parents(beliefs), rng)
        if len(pool) <= 1:
            return pool[:n]
        if len(view.objectives) > 3:
            return choose_several(beliefs, pool, n, rng)
        beliefs, score = promising(beliefs, pool)
        short = shortlist(pool, score, max(SHORT, 4 * n))
        short = refined(view, short, screen(beliefs, torch.float64), rng)
        return self._choose(beliefs, short, n, rng)

    def improvement(self, view: View, rng: np.random.Generator) -> float:
        """Expected improvement of the hypervolume by the best free candidate, in told units; 0 where none is free."""
        check_few(view)
        beliefs = Beliefs.of(view)
        pool = candidates(view, parents(beliefs), rng)
        if not len(pool):
            return 0.0
        short = shortlist(pool, screened(beliefs, pool), LATER)
        short = refined(view, short, screen(beliefs, torch.float64), rng)
        score = over_draws(beliefs.draws(max(self.draws, 8), rng), short) + beliefs.log_success(short).numpy()
        return math.exp(float(score.max()))

    def _choose(self, beliefs: Beliefs, short: Codes, n: int, rng: np.random.Generator) -> Codes:
        chosen: list[Codes] = []
        while len(short) and len(chosen) < n:
            score = screen(beliefs, torch.float64)(short)
            best = np.argsort(-score, kind="stable")[: LATER if chosen else SHORT]
            short, score = short[best], score[best]
            if self.draws:
                short, score = self._redrawn(beliefs, short, score, rng)
            pick = short[[first_best(beliefs.view, short, score)]]
            chosen.append(pick)
            beliefs = beliefs.given(pick)
            short = distinct(beliefs.view.space, short, pick, beliefs.view.apart)
        return np.concatenate(chosen)

    def _redrawn(
        self, beliefs: Beliefs, short: Codes, score: FloatArray, rng: np.random.Generator
    ) -> tuple[Codes, FloatArray]:
        """The better part of the shortlist and its scores over all draws, after a first look at a few of them."""
        draws = beliefs.draws(self.draws, rng)
        if len(short) > LATER:
            rough = over_draws(draws.some(ROUGH), short)
            if beliefs.view.held:  # the largest gains are those of what breaks the limits
                rough = beliefs.weighed(torch.from_numpy(rough), short).numpy()
            best = np.sort(np.argsort(-rough, kind="stable")[:LATER])
            short, score = short[best], score[best]
        drawn = beliefs.weighed(torch.from_numpy(over_draws(draws, short)), short).numpy()
        return short, np.logaddexp(drawn, score + PLUG_IN)


def parents(beliefs: Beliefs) -> Codes:
    """Told and pending architectures worth varying: the front of posterior medians and the one behind it."""
    points, codes = beliefs.front_points(), beliefs.base[beliefs.standing]
    first = nondominated(points)
    rest = np.flatnonzero(~first)
    second = rest[nondominated(points[rest])] if len(rest) else rest
    return np.concatenate([codes[first], codes[second]])


def promising(beliefs: Beliefs, pool: Codes) -> tuple[Beliefs, FloatArray]:
    """The screen's scores of a pool, and the beliefs they rest on.

    Where nothing at all can be gained below the reference, known corners move to the worst of the pool, then learnt
    ones to the worst expected: the search goes on by what is left to learn, and a `NothingToGain` says so.
    """
    score = screened(beliefs, pool)
    for farther in (_beyond_costs, _beyond_all):
        if not np.isneginf(score).all():
            break
        beliefs = replace(beliefs, view=replace(beliefs.view, reference=farther(beliefs, pool)))
        score = screen(beliefs, torch.float64)(pool)
        warn_nothing([o.name for o in beliefs.view.objectives])
    return beliefs, score


def screened(beliefs: Beliefs, pool: Codes) -> FloatArray:
    """The screen's scores of a pool: in single precision, unless all gains vanish in it."""
    score = screen(beliefs, torch.float32)(pool)
    return screen(beliefs, torch.float64)(pool) if np.isneginf(score).all() else score


def _beyond_costs(beliefs: Beliefs, pool: Codes) -> FloatArray:
    """The reference with every known objective's corner no nearer than the worst of the pool, with a margin."""
    corner = beliefs.view.reference.copy()
    for j, column in enumerate(beliefs.view.costs(pool).T):
        corner[j] = max(corner[j], beyond_levels(column))
    return corner


def _beyond_all(beliefs: Beliefs, pool: Codes) -> FloatArray:
    """The same for the learnt objectives and the medians of those told and pending."""
    corner, points = _beyond_costs(beliefs, pool), beliefs.front_points()
    for j in range(len(beliefs.view.known), len(corner)) if len(points) else ():
        corner[j] = max(corner[j], beyond(points[:, j]))
    return corner


def screen(beliefs: Beliefs, dtype: torch.dtype) -> Callable[[Codes], FloatArray]:
    """Scores codes (n, d) -> log EHVI (n,) against the front of posterior medians, chunk by chunk."""
    boxes = Boxes.of(beliefs.front_points(), beliefs.view.reference).to(dtype)

    def score(codes: Codes) -> FloatArray:
        parts = [codes[i : i + CHUNK] for i in range(0, len(codes), CHUNK)]
        scores = [beliefs.weighed(log_ehvi(beliefs.belief(part, dtype), boxes).double(), part) for part in parts]
        return np.asarray(np.nan_to_num(torch.cat(scores).numpy(), nan=-np.inf, neginf=-np.inf))

    return score


def shortlist(codes: Codes, score: FloatArray, n: int) -> Codes:
    """The n best rows, best first."""
    if len(score) > n:
        best = np.argpartition(-score, n)[:n]
        best.sort()
    else:
        best = np.arange(len(score))
    return codes[best[np.argsort(-score[best], kind="stable")]]


def over_draws(draws: Draws, codes: Codes) -> FloatArray:
    """Logarithm (n,) of the EHVI averaged over the draws."""
    count = len(draws.samples[0])
    boxes = [Boxes.of(draws.points(s), draws.beliefs.view.reference) for s in range(count)]
    parts = [codes[i : i + CHUNK] for i in range(0, len(codes), CHUNK)]
    values = [torch.stack([log_ehvi(b, x) for b, x in zip(draws.believe(p), boxes, strict=True)]) for p in parts]
    value = torch.logsumexp(torch.cat(values, 1), 0) - math.log(count)
    return np.asarray(np.nan_to_num(value.numpy(), nan=-np.inf, neginf=-np.inf))


def first_best(view: View, codes: Codes, score: FloatArray) -> int:
    """Index of the best score; near ties go to the smallest fingerprint."""
    near = np.flatnonzero(score >= score.max() - 1e-9)
    return int(near[np.argmin(fingerprints(view.space, codes[near]))])
