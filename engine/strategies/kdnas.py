"""KD-NAS: episodes of candidates, random at first, ever more of them chosen by an LSTM that foresees rewards.

    r = (worst - loss) w,    w = (cost / target)^alpha,    target = share x reference of the cost

In the main job that reference is the teacher's latency, or a limit on it where there is one. `worst` is 1, or the
reference of the loss where that is larger, as in `reward`. An episode's first candidates are random: all of the first
episode, then a smaller share in each, down to `least`. Each of the others is the best foreseen of `pool` random ones,
by what was learnt of all episodes before.

The published exponent is the same on both sides of a target, so a target scales all rewards alike and decides nothing.
With several targets, which episodes take in turn, `beyond` makes them count: the exponent of costs beyond the target,
as MnasNet (arXiv 1807.11626) has it.

Notable: nothing is kept between asks. Which episode it is follows from how many students were begun, and the predictor
is fitted cold from the results in the order they were told, once an episode: a search that was killed goes on as if it
had not been.

Source of the mechanism: a re-implementation; the paper (arXiv 2303.09639) tells of episodes, rewards and the budgets.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from distilsearch.arrays import FloatArray
from distilsearch.errors import InputError
from distilsearch.predictors.rewards import RewardPredictor
from distilsearch.space import SearchSpace

from ..objectives import Codes, Known, Objective
from ..view import View
from .ehvi import first_best
from .random import Random


@dataclass(frozen=True)
class KDNAS:
    """Episodes of random candidates and of those with the best foreseen reward.

    Args:
        candidates: students of an episode.
        targets: costs wished for, as shares of the reference of the known objective; episodes take them in turn.
        alpha: the exponent of the cost over the target.
        beyond: the same for costs above the target.
        pool: how many random candidates the best foreseen is chosen among.
        exploration, least, decay: the share of an episode that is random: at first, at last, and by how much it falls.
        steps, rate: how long the predictor learns, at which rate.
    """

    candidates: int = 20
    targets: tuple[float, ...] = (0.6,)
    alpha: float = -0.06
    beyond: float = -0.06
    pool: int = 150
    exploration: float = 1.0
    least: float = 0.05
    decay: float = 0.05
    steps: int = 500
    rate: float = 1e-4
    name = "kdnas"
    needs_design = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", tuple(self.targets))
        counts = {"candidates": self.candidates, "pool": self.pool, "steps": self.steps}
        if wrong := [f"{name} = {value}" for name, value in counts.items() if value < 1]:
            raise InputError(f"strategy 'kdnas' needs 1 or more of each: {', '.join(wrong)}")
        if not self.targets or not all(0 < share < math.inf for share in self.targets):
            raise InputError(f"targets of strategy 'kdnas' must be positive shares; got {list(self.targets)}")
        if not (math.isfinite(self.alpha) and math.isfinite(self.beyond) and 0 < self.rate < math.inf):
            raise InputError(
                f"exponents of strategy 'kdnas' must be finite and its rate positive; got alpha = {self.alpha}, "
                f"beyond = {self.beyond}, rate = {self.rate}"
            )
        if not (0 <= self.least <= self.exploration <= 1 and 0 <= self.decay <= 1):
            raise InputError("strategy 'kdnas' needs 0 <= least <= exploration <= 1, and decay from 0 to 1")
        if len(self.targets) > 1 and self.alpha == self.beyond:
            raise InputError(
                f"the {len(self.targets)} targets of strategy 'kdnas' would all give the same order of students, for "
                "alpha and beyond are equal: give another beyond, such as -1.0, or one target"
            )

    def check(self, space: SearchSpace, objectives: Sequence[Objective]) -> None:
        """Refuse all but one expensive and one known objective, and a known one that grows better as it grows."""
        known = [o for o in objectives if isinstance(o, Known)]
        if len(known) != 1 or len(objectives) != 2:
            raise InputError("strategy 'kdnas' needs exactly one expensive and one known objective; use 'ehvi'")

    def options(self) -> dict[str, Any]:
        """Plain JSON of the fields."""
        return asdict(self) | {"targets": list(self.targets)}

    def propose(self, view: View, n: int, rng: np.random.Generator) -> Codes:
        """At most n free codes, in the order of their places in the episodes.

        Raises:
            InputError: there is not exactly one expensive and one known objective, or a cost is not positive.
        """
        self.check(view.space, view.objectives)
        begun = len(np.unique(view.students(view.taken), axis=0))
        chosen = view.codes[:0]
        for place in range(begun, begun + n):
            now = replace(view, pending=np.concatenate([view.pending, chosen]))
            pick = self._next(now, *divmod(place, self.candidates), rng)
            if not len(pick):
                break
            chosen = np.concatenate([chosen, pick])
        return chosen

    def explores(self, episode: int, place: int) -> bool:
        """Whether the candidate at a place of an episode is a random one."""
        share = max(self.least, self.exploration - self.decay * episode)
        return place < round(share * self.candidates)

    def learnt(self, view: View, episode: int) -> RewardPredictor | None:
        """What the results of all episodes before one teach; None where there are none."""
        lessons = self._lessons(view, episode)
        return _fitted(lessons) if len(lessons.codes) else None

    def _next(self, view: View, episode: int, place: int, rng: np.random.Generator) -> Codes:
        """The candidate (1, d) at a place of an episode; none where the space is exhausted."""
        predictor = None if self.explores(episode, place) else self.learnt(view, episode)
        if predictor is None:
            return Random().propose(view, 1, rng)
        rows = Random().propose(view, self.pool, rng)
        if not len(rows):
            return rows
        costs = view.costs(rows)[:, 0]
        _positive(view, costs)
        return rows[[first_best(view, rows, predictor.predict(rows, costs, episode % len(self.targets)))]]

    def _lessons(self, view: View, episode: int) -> "_Lessons":
        """The results of the students that were told first, as many as the episodes before one have."""
        tells = np.argsort(view.order)
        tells = tells[~np.isnan(view.values[tells, 0])]
        rows = view.row[tells]
        _, first, student = np.unique(view.students(view.codes)[rows], axis=0, return_index=True, return_inverse=True)
        place = np.argsort(np.argsort(first))[student.ravel()]  # of each tell's student, in the order of first tells
        early = np.flatnonzero(place < episode * self.candidates)
        early = early[np.argsort(place[early], kind="stable")]
        tells, rows, episodes = tells[early], rows[early], place[early] // self.candidates
        costs = view.told_costs[rows, 0]
        _positive(view, costs)
        targets = tuple(float(share * view.reference[0]) for share in self.targets)
        rewards = self._rewards(view.values[tells, 0], costs, targets, max(1.0, float(view.reference[1])))
        return _Lessons.of(view.space, view.codes[rows], costs, rewards, targets, episodes, self.steps, self.rate)

    def _rewards(self, losses: FloatArray, costs: FloatArray, targets: tuple[float, ...], worst: float) -> FloatArray:
        """(n, t) by each target."""
        ratio = costs[:, None] / np.array(targets)
        weight = ratio ** np.where(ratio > 1.0, self.beyond, self.alpha)
        return np.asarray((worst - losses)[:, None] * weight)


@dataclass(frozen=True)
class _Lessons:
    """What a predictor is fitted to; equal ones are told by their digest, so that it is fitted once an episode."""

    digest: str
    space: SearchSpace = field(compare=False)
    codes: Codes = field(compare=False)
    costs: FloatArray = field(compare=False)
    rewards: FloatArray = field(compare=False)
    targets: tuple[float, ...] = field(compare=False)
    episodes: npt.NDArray[np.int64] = field(compare=False)
    steps: int = field(compare=False)
    rate: float = field(compare=False)

    @classmethod
    def of(cls, space: SearchSpace, codes: Codes, costs: FloatArray, rewards: FloatArray, *more: Any) -> "_Lessons":
        """With the digest of all of it."""
        targets, episodes, steps, rate = more
        digest = hashlib.sha256(repr([(p.name, p.choices) for p in space.parameters]).encode())
        for array in (codes, costs, rewards, np.array(targets), episodes):
            digest.update(np.ascontiguousarray(array).tobytes() + repr(array.shape).encode())
        digest.update(repr((steps, rate)).encode())
        return cls(digest.hexdigest(), space, codes, costs, rewards, targets, episodes, steps, rate)


@lru_cache(maxsize=8)
def _fitted(lessons: _Lessons) -> RewardPredictor:
    return RewardPredictor.fit(
        lessons.space,
        lessons.codes,
        lessons.costs,
        lessons.rewards,
        lessons.targets,
        lessons.episodes,
        steps=lessons.steps,
        rate=lessons.rate,
    )


def _positive(view: View, costs: FloatArray) -> None:
    if (costs <= 0).any() or view.reference[0] <= 0:
        raise InputError(f"strategy 'kdnas' needs positive costs to minimise; {view.known[0].name!r} has others")
