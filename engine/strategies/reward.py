"""One scalar reward with a target cost, for users with one budget (the reward of KD-NAS, arXiv 2303.09639).

    r = (1 - loss) (cost / (share x teacher cost))^alpha,    alpha = -0.06, share = 0.6

With the cost known it is linear in the loss, so its expected improvement is a closed form:
E[(r - r*)_+] = w psi(1 - r* / w) with w = (cost / target)^alpha and psi(t) = E[(t - loss)_+].
"""

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from distilsearch.errors import InputError

from ..beliefs import CHUNK, Beliefs
from ..objectives import Codes, Floats
from ..pool import candidates, distinct, refined
from ..view import View
from .ehvi import first_best, parents, shortlist

SHORT = 2_048


@dataclass(frozen=True)
class Reward:
    """Expected improvement of the reward of one loss and one known cost.

    Args:
        target: the cost at which the reward is neither raised nor lowered: 0.6 x the teacher's in KD-NAS; the
            geometric mean of the told costs where not given.
        alpha: what a longer cost costs.
    """

    target: float | None = None
    alpha: float = -0.06
    name = "reward"
    needs_design = True

    def options(self) -> dict[str, Any]:
        """Plain JSON of the fields."""
        return asdict(self)

    def propose(self, view: View, n: int, rng: np.random.Generator) -> Codes:
        """At most n free codes, best first.

        Raises:
            InputError: there is not exactly one expensive and one known objective, or a cost is not positive.
        """
        if len(view.known) != 1 or len(view.expensive) != 1:
            raise InputError("strategy 'reward' needs exactly one expensive and one known objective; use 'ehvi'")
        beliefs = Beliefs.of(view)
        pool = candidates(view, parents(beliefs), rng)
        if not len(pool):
            return pool
        score = partial(self._score, beliefs, best=self._best(beliefs))
        short = refined(view, shortlist(pool, score(pool), SHORT), score, rng)
        chosen = [pool[:0]]
        for _ in range(min(n, len(short))):
            value = self._score(beliefs, short, self._best(beliefs))
            pick = short[[first_best(view, short, value)]]
            chosen.append(pick)
            beliefs = beliefs.given(pick)
            short = distinct(view.space, short, pick)
        return np.concatenate(chosen)

    def _weight(self, view: View, costs: Floats) -> Floats:
        if (costs <= 0).any():
            raise InputError(f"strategy 'reward' needs positive costs to minimise; {view.known[0].name!r} has others")
        target = self.target or float(np.exp(np.log(view.told_costs[:, 0]).mean()))
        return np.asarray((costs / target) ** self.alpha)

    def _best(self, beliefs: Beliefs) -> float:
        """The best reward among told and pending ones, at their posterior medians."""
        points = beliefs.front_points()
        return float(((1.0 - points[:, 1]) * self._weight(beliefs.view, points[:, 0])).max())

    def _score(self, beliefs: Beliefs, codes: Codes, best: float) -> Floats:
        parts = [codes[i : i + CHUNK] for i in range(0, len(codes), CHUNK)]
        return np.concatenate([self._chunk(beliefs, part, best) for part in parts])

    def _chunk(self, beliefs: Beliefs, codes: Codes, best: float) -> Floats:
        belief = beliefs.belief(codes)
        weight = torch.from_numpy(self._weight(beliefs.view, beliefs.view.costs(codes)[:, 0]))
        level = 1.0 - best / weight  # (n,)
        value = weight.log() + belief.log_psi(level[:, None])[:, 0] + beliefs.log_success(codes)
        return np.asarray(np.nan_to_num(value.numpy(), nan=-np.inf, neginf=-np.inf))
