"""One scalar reward with a target cost, for users with one budget.

    r = (worst - loss) w,    w = (cost / target)^alpha

KD-NAS (arXiv 2303.09639): worst = 1, alpha = -0.06 on both sides of target = 0.6 x the teacher's cost, which therefore
scales all rewards alike and decides nothing. MnasNet (arXiv 1807.11626) makes the target count: beyond it alpha is -1.
`worst` is 1, or the reference of the loss where that is larger: a language model's loss of 3 is not worse than nothing.

With the cost known the reward is linear in the loss, so its expected improvement is a closed form:
E[(r - r*)_+] = w psi(worst - r* / w) with psi(t) = E[(t - loss)_+].
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from distilsearch.arrays import FloatArray
from distilsearch.errors import InputError
from distilsearch.space import SearchSpace

from ..beliefs import CHUNK, Beliefs
from ..objectives import Codes, Known, Objective
from ..pool import candidates, distinct, refined
from ..view import View
from .ehvi import first_best, parents, shortlist

SHORT = 2_048


@dataclass(frozen=True)
class Reward:
    """Expected improvement of the reward of one loss and one known cost.

    Args:
        target: the cost wished for; the geometric mean of the told costs where not given.
        alpha: the exponent of the cost over the target.
        beyond: the same for costs above a target that was given; equal to `alpha` it is KD-NAS.
    """

    target: float | None = None
    alpha: float = -0.06
    beyond: float = -1.0
    name = "reward"
    needs_design = True

    def __post_init__(self) -> None:
        if self.target is not None and not 0 < self.target < math.inf:
            raise InputError(f"the target of strategy 'reward' must be positive; got {self.target}")
        if not (math.isfinite(self.alpha) and math.isfinite(self.beyond)):
            raise InputError(f"exponents of strategy 'reward' must be finite; got {self.alpha}, {self.beyond}")

    def check(self, space: SearchSpace, objectives: Sequence[Objective]) -> None:
        """Refuse all but one expensive and one known objective."""
        known_objectives = [o for o in objectives if isinstance(o, Known)]
        if len(known_objectives) != 1 or len(objectives) != 2:
            raise InputError("strategy 'reward' needs exactly one expensive and one known objective; use 'ehvi'")

    def options(self) -> dict[str, Any]:
        """Plain JSON of the fields."""
        return asdict(self)

    def propose(self, view: View, n: int, rng: np.random.Generator) -> Codes:
        """At most n free codes, best first.

        Raises:
            InputError: there is not exactly one expensive and one known objective, or a cost is not positive.
        """
        self.check(view.space, view.objectives)
        beliefs = Beliefs.of(view)
        pool = candidates(view, parents(beliefs), rng)
        if not len(pool):
            return pool
        score = partial(self._score, beliefs, best=self._best(beliefs))
        short = refined(view, shortlist(pool, score(pool), SHORT), score, rng)
        chosen = [pool[:0]]
        while len(short) and len(chosen) <= n:
            value = self._score(beliefs, short, self._best(beliefs))
            pick = short[[first_best(view, short, value)]]
            chosen.append(pick)
            beliefs = beliefs.given(pick)
            short = distinct(view.space, short, pick, view.apart)
        return np.concatenate(chosen)

    def _weight(self, view: View, costs: FloatArray) -> FloatArray:
        if (costs <= 0).any():
            raise InputError(f"strategy 'reward' needs positive costs to minimise; {view.known[0].name!r} has others")
        if self.target is None:
            return np.asarray((costs / float(np.exp(np.log(view.told_costs[:, 0]).mean()))) ** self.alpha)
        ratio = costs / self.target
        return np.asarray(ratio ** np.where(ratio > 1.0, self.beyond, self.alpha))

    def _worst(self, view: View) -> float:
        """The loss at which nothing is earned."""
        return max(1.0, float(view.reference[1]))

    def _best(self, beliefs: Beliefs) -> float:
        """The best reward among told and pending ones, at their posterior medians."""
        points, view = beliefs.front_points(), beliefs.view
        if not len(points):
            return 0.0  # what a student earns that learnt nothing
        return float(((self._worst(view) - points[:, 1]) * self._weight(view, points[:, 0])).max())

    def _score(self, beliefs: Beliefs, codes: Codes, best: float) -> FloatArray:
        parts = [codes[i : i + CHUNK] for i in range(0, len(codes), CHUNK)]
        return np.concatenate([self._chunk(beliefs, part, best) for part in parts])

    def _chunk(self, beliefs: Beliefs, codes: Codes, best: float) -> FloatArray:
        belief = beliefs.belief(codes)
        weight = torch.from_numpy(self._weight(beliefs.view, beliefs.view.costs(codes)[:, 0]))
        level = self._worst(beliefs.view) - best / weight  # (n,)
        value = beliefs.weighed(weight.log() + belief.log_psi(level[:, None])[:, 0], codes, best)
        return np.asarray(np.nan_to_num(value.numpy(), nan=-np.inf, neginf=-np.inf))
