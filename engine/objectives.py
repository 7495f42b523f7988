"""What is optimised, what came out, and how good a set of outcomes is.

Cost is known, quality is not: a `Known` objective is a function of the codes and is called afresh at every ask,
so that a refined latency predictor takes effect at once; an `Expensive` one is only ever told. A `Limit` is no
objective: what breaks it is neither proposed nor on the front, and what keeps it is no better for keeping it well.
What may be only so large, or so small, and must be learnt is an `Expensive` with a limit: among the objectives it is
improved, too, among the limits it is only kept.

Notation: m points, M objectives, all to be minimised inside this module's array functions; R reference (M,).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from distilsearch.architecture import Architecture
from distilsearch.arrays import FloatArray
from distilsearch.errors import InputError

from .values import items, number, text

Codes = npt.NDArray[np.int16]
Bools = npt.NDArray[np.bool_]
CodeFunction = Callable[[Codes], npt.ArrayLike]
Goal = Literal["min", "max"]


@dataclass(frozen=True)
class Expensive:
    """An objective known only by training; told values may be noisy.

    Args:
        name: its name in told values and outcomes.
        goal: `"min"` or `"max"`.
        ignores: genes it does not depend on. Architectures that differ in nothing that any expensive objective depends
            on are twins: once one of them is asked, the others are not; what is told of it is to be told of them, too,
            and counts as one result.
        together: genes that it depends on and training does not: one training tells it for all their choices, of each
            its own value. Architectures that differ in nothing else are twins that are results of their own.
        at_most, at_least: what it may be. What breaks a limit teaches, and is not on the front; candidates count by
            how probable it is that they keep it.
    """

    name: str
    goal: Goal = "min"
    ignores: tuple[str, ...] = ()
    together: tuple[str, ...] = ()
    at_most: float | None = None
    at_least: float | None = None

    def __post_init__(self) -> None:
        _check_goal(self.name, self.goal)
        object.__setattr__(self, "ignores", tuple(items(f"what {self.name!r} ignores", self.ignores)))
        object.__setattr__(self, "together", tuple(items(f"what {self.name!r} is told together for", self.together)))
        _check_limits(self.name, self.at_most, self.at_least)

    @property
    def sign(self) -> float:
        """Factor that turns values into ones to minimise."""
        return 1.0 if self.goal == "min" else -1.0

    @property
    def limited(self) -> bool:
        """Whether there is something to keep."""
        return self.at_most is not None or self.at_least is not None

    @property
    def edge(self) -> float | None:
        """The limit of those values that are worse: no volume beyond it counts."""
        return self.at_most if self.goal == "min" else self.at_least

    def keeps(self, value: float) -> bool:
        """Whether a value is within the limits."""
        least, most = bounds_of(self)
        return least <= value <= most


@dataclass(frozen=True)
class Known:
    """An objective that a function gives for any architecture.

    Args:
        name: its name in told values and outcomes.
        function: codes (n, d) -> values (n,). Infinite ones, whatever the goal, mark what cannot be run: such
            candidates are never proposed.
        goal: `"min"` or `"max"`.
        at_most: candidates whose upper bound is above it are never proposed.
        spread: codes -> standard deviation (n,) of the function's own error; certain where not given.
        upper: codes -> bound (n,) held against `at_most`; the function itself where not given.
        at_least: candidates whose lower bound is below it are never proposed.
        lower: codes -> bound (n,) held against `at_least`; the function itself where not given.
    """

    name: str
    function: CodeFunction
    goal: Goal = "min"
    at_most: float | None = None
    spread: CodeFunction | None = None
    upper: CodeFunction | None = None
    at_least: float | None = None
    lower: CodeFunction | None = None

    def __post_init__(self) -> None:
        _check_goal(self.name, self.goal)
        _check_limits(self.name, self.at_most, self.at_least)

    @property
    def sign(self) -> float:
        """Factor that turns values into ones to minimise."""
        return 1.0 if self.goal == "min" else -1.0

    def values(self, codes: Codes) -> FloatArray:
        """The objective itself, (n,)."""
        return _called(self.function, codes, f"function of {self.name!r}")

    def deviations(self, codes: Codes) -> FloatArray:
        """Standard deviation of the values, (n,); zero where no spread was given."""
        if self.spread is None:
            return np.zeros(len(codes))
        return _called(self.spread, codes, f"spread of {self.name!r}")

    @property
    def edge(self) -> float | None:
        """The limit of those values that are worse: no volume beyond it counts."""
        return self.at_most if self.goal == "min" else self.at_least

    def within(self, codes: Codes) -> Bools:
        """Which rows (n,) can be run and keep the limits by their bounds."""
        mask = kept(limited([self]), codes)
        if mask.any() and (self.at_most is None or self.upper is not None):
            mask[mask] = np.isfinite(self.values(codes[mask]))
        return mask

    def bounds(self, codes: Codes) -> FloatArray:
        """What is held against `at_most`, (n,): the upper bounds, the values where there are none."""
        return _called(self.upper or self.function, codes, f"upper bound of {self.name!r}")

    def lowers(self, codes: Codes) -> FloatArray:
        """What is held against `at_least`, (n,): the lower bounds, the values where there are none."""
        return _called(self.lower or self.function, codes, f"lower bound of {self.name!r}")


@dataclass(frozen=True)
class Limit:
    """What every candidate must keep, and nothing more: it is exact, and no objective.

    Args:
        name: its name in messages.
        function: codes (n, d) -> values (n,), in the unit of the limits.
        at_most: candidates above it are never proposed, and never on the front.
        at_least: the same of candidates below it; one of the two must be there.
    """

    name: str
    function: CodeFunction
    at_most: float | None = None
    at_least: float | None = None

    def __post_init__(self) -> None:
        _check_limits(self.name, self.at_most, self.at_least)
        if self.at_most is None and self.at_least is None:
            raise InputError(f"the limit {self.name!r} limits nothing; give it at_most, at_least or both")

    def within(self, codes: Codes) -> Bools:
        """Which rows (n,) keep it."""
        return kept(limited([], [self]), codes)

    def bounds(self, codes: Codes) -> FloatArray:
        """What is held against the limits, (n,)."""
        return _called(self.function, codes, f"function of {self.name!r}")

    lowers = bounds


AnyLimit = Limit | Expensive
"""What an engine takes as a limit: one of a function, or one that must be learnt."""


@dataclass(frozen=True)
class Cap:
    """One side of a limit of which a function is known, so that less is always better; made by `limited`.

    Rows above `at_most` are left out. It is the negative where the limit is a least value.
    """

    source: Known | Limit
    at_most: float
    least: bool = False

    def bounds(self, codes: Codes) -> FloatArray:
        """What is held against `at_most`, (n,)."""
        return -self.source.lowers(codes) if self.least else self.source.bounds(codes)

    def within(self, codes: Codes) -> Bools:
        """Which rows (n,) keep it."""
        return self.bounds(codes) <= self.at_most

    def __str__(self) -> str:
        """The limit in the user's direction."""
        return f"{self.source.name} {'>=' if self.least else '<='} {-self.at_most if self.least else self.at_most:g}"


def limited(objectives: Sequence["Objective"], limits: Sequence[AnyLimit] = ()) -> tuple[Cap, ...]:
    """All that a function shows candidates to keep: the limits of known objectives, then the limits alone."""
    caps = []
    for source in (*objectives, *limits):
        if not isinstance(source, Expensive):
            caps += [Cap(source, source.at_most)] if source.at_most is not None else []
            caps += [Cap(source, -source.at_least, least=True)] if source.at_least is not None else []
    return tuple(caps)


def kept(caps: Sequence[Cap], codes: Codes) -> Bools:
    """Which rows (n,) keep them all."""
    result = np.ones(len(codes), dtype=bool)
    for cap in caps if len(codes) else ():
        result &= cap.within(codes)
    return result


def bounds_of(objective: "Objective") -> tuple[float, float]:
    """The least and the largest value that keep the limits of an objective; infinite where it has none."""
    least = -math.inf if objective.at_least is None else objective.at_least
    return least, math.inf if objective.at_most is None else objective.at_most


def _called(function: CodeFunction, codes: Codes, what: str) -> FloatArray:
    if not callable(function):
        raise InputError(f"the {what} must be a function of codes (n, d); got {function!r}")
    given = function(codes)
    try:
        values = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"the {what} must give one number a row; got {given!r:.80}") from None
    if values.shape != (len(codes),):
        raise InputError(f"the {what} must give one number a row, shape ({len(codes)},); got shape {values.shape}")
    if np.isnan(values).any() or np.isneginf(values).any():
        raise InputError(f"the {what} gave values that are not finite; mend the function (inf: it cannot be run)")
    return values


Objective = Expensive | Known


@dataclass(frozen=True)
class Outcome:
    """One finished architecture: its objectives in the user's own direction and units.

    `measured` names the values that were told; the other ones are predictions. Replicates are averaged.
    """

    architecture: Architecture
    values: Mapping[str, float]
    measured: frozenset[str]
    replicates: int = 1
    fidelity: float | None = None


def ignored_by(objectives: Sequence["Objective"]) -> frozenset[str]:
    """The genes that nothing expensive depends on."""
    return frozenset.intersection(*(frozenset(o.ignores) for o in objectives if isinstance(o, Expensive)))


def apart_by(objectives: Sequence["Objective"]) -> frozenset[str]:
    """The genes that no training depends on: twins differ in nothing else."""
    return frozenset.intersection(
        *(frozenset((*o.ignores, *o.together)) for o in objectives if isinstance(o, Expensive))
    )


def check_objectives(objectives: Sequence[Objective], limits: Sequence[AnyLimit] = ()) -> tuple[Objective, ...]:
    """The objectives as a tuple; an `InputError` where names repeat, nothing is left to learn or a limit has none."""
    _check_kinds("objectives", objectives, (Expensive, Known), "Expensive(name) or Known(name, function)")
    _check_kinds("limits", limits, (Limit, Expensive), "Limit(name, function, at_most) or Expensive(name, at_most=)")
    names = [o.name for o in (*objectives, *limits)]
    if len(set(names)) < len(names):
        raise InputError(f"objectives and limits must have different names; got {names}")
    if empty := [x.name for x in limits if isinstance(x, Expensive) and not x.limited]:
        raise InputError(f"the limit {empty[0]!r} limits nothing; give it at_most, at_least or both")
    if not any(isinstance(o, Expensive) for o in objectives):
        raise InputError("at least one objective must be Expensive; with all known, sort the grid instead")
    return tuple(objectives)


def _check_kinds(what: str, given: object, kinds: tuple[type, ...], wanted: str) -> None:
    for one in items(what, given):
        if not isinstance(one, kinds):
            raise InputError(f"{what} must each be {wanted}; got {one!r}")


def _check_goal(name: str, goal: str) -> None:
    text("the name of an objective", name)
    if goal not in ("min", "max"):
        raise InputError(f"the goal of {name!r} must be 'min' or 'max'; got {goal!r}")


def _check_limits(name: str, most: float | None, least: float | None) -> None:
    for limit in (most, least):
        if limit is not None and not math.isfinite(number(f"the limit of {name!r}", limit)):
            raise InputError(f"the limit of {name!r} must be a finite number; got {limit}")
    if most is not None and least is not None and least > most:
        raise InputError(f"nothing keeps {name!r} between at_least={least} and at_most={most}; swap them")


def nondominated(points: npt.ArrayLike) -> Bools:
    """Which of the points (m, M), to be minimised, no other one dominates; equal points stay together."""
    array = np.asarray(points, dtype=np.float64)
    if array.shape[1:] == (2,):
        return _nondominated_pairs(array)
    keep = np.ones(len(array), dtype=bool)
    for i, point in enumerate(array):
        if keep[i]:  # what a dominated point dominates, its dominator does too
            keep &= ~((point <= array).all(axis=1) & (point < array).any(axis=1))
    return keep


def _nondominated_pairs(points: FloatArray) -> Bools:
    order = np.lexsort((points[:, 1], points[:, 0]))
    first, second = points[order].T
    best = np.minimum.accumulate(second)
    before = np.concatenate([[np.inf], best[:-1]])
    keep = second < before
    same = np.concatenate([[False], (np.diff(first) == 0) & (np.diff(second) == 0)])
    for i in np.flatnonzero(same):  # a copy shares the fate of what it copies
        keep[i] = keep[i - 1]
    result = np.empty(len(points), dtype=bool)
    result[order] = keep
    return result


def front(
    values: npt.ArrayLike, limits: npt.ArrayLike, signs: npt.ArrayLike = 1.0, least: npt.ArrayLike = -math.inf
) -> Bools:
    """The rule of every front: which values (m, M) keep the limits and are dominated by no other that keeps them.

    Args:
        values: what is known best of each objective (measured, else predicted), in its own direction.
        limits: (M,), what values may be at most; infinite where there is none.
        signs: (M,), -1 where more is better.
        least: (M,), what values must be at least.
    """
    array = np.asarray(values, dtype=np.float64)
    inside = (array <= np.asarray(limits)) & (array >= np.asarray(least)) & np.isfinite(array)
    mask = np.asarray(inside.all(axis=1))
    mask[mask] = nondominated((array * np.asarray(signs))[mask])
    return mask


def hypervolume(points: npt.ArrayLike, reference: npt.ArrayLike) -> float:
    """Volume that points (m, M) dominate below the reference (M,), all to be minimised; exact.

    Two objectives by a sweep, more by the WFG recursion (While, Bradstreet and Barone 2012).
    """
    corner = np.asarray(reference, dtype=np.float64)
    array = np.asarray(points, dtype=np.float64).reshape(-1, len(corner))
    array = array[(array < corner).all(axis=1)]
    return _volume(array[nondominated(array)], corner) if len(array) else 0.0


def _volume(front: FloatArray, reference: FloatArray) -> float:
    if front.shape[1] == 1:
        return float(reference[0] - front.min())
    if front.shape[1] == 2:
        ordered = front[np.argsort(front[:, 0])]
        heights = np.concatenate([[reference[1]], ordered[:-1, 1]]) - ordered[:, 1]
        return float(((reference[0] - ordered[:, 0]) * np.maximum(heights, 0.0)).sum())
    ordered = front[np.argsort(front[:, -1])[::-1]]
    return sum(_exclusive(ordered, i, reference) for i in range(len(ordered)))


def _exclusive(front: FloatArray, i: int, reference: FloatArray) -> float:
    """Volume of point i that no later one dominates; later ones are no worse in the last objective."""
    own = float(np.prod(reference - front[i]))
    rest = np.maximum(front[i + 1 :], front[i])
    if not len(rest):
        return own
    depth = float(reference[-1] - front[i, -1])  # every later point, clipped, ends at the same last value
    flat = np.unique(rest[:, :-1], axis=0)
    return own - depth * _volume(flat[nondominated(flat)], reference[:-1])
