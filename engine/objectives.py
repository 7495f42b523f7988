"""What is optimised, what came out, and how good a set of outcomes is.

Cost is known, quality is not: a `Known` objective is a function of the codes and is called afresh at every ask,
so that a refined latency predictor takes effect at once; an `Expensive` one is only ever told. A `Limit` is no
objective: what breaks it is neither proposed nor on the front, and what keeps it is no better for keeping it well.

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
    """

    name: str
    goal: Goal = "min"
    ignores: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_goal(self.name, self.goal)
        object.__setattr__(self, "ignores", tuple(items(f"what {self.name!r} ignores", self.ignores)))

    @property
    def sign(self) -> float:
        """Factor that turns values into ones to minimise."""
        return 1.0 if self.goal == "min" else -1.0


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
    """

    name: str
    function: CodeFunction
    goal: Goal = "min"
    at_most: float | None = None
    spread: CodeFunction | None = None
    upper: CodeFunction | None = None

    def __post_init__(self) -> None:
        _check_goal(self.name, self.goal)
        if self.at_most is not None:
            _check_limit(self.name, self.at_most)

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

    def within(self, codes: Codes) -> Bools:
        """Which rows (n,) can be run and keep the limit by their upper bound."""
        if self.at_most is None:
            return np.isfinite(self.values(codes))
        mask = self.bounds(codes) <= self.at_most
        if self.upper is not None and mask.any():
            mask[mask] = np.isfinite(self.values(codes[mask]))
        return mask

    def bounds(self, codes: Codes) -> FloatArray:
        """What is held against the limit, (n,): the upper bounds, the values where there are none."""
        return _called(self.upper or self.function, codes, f"upper bound of {self.name!r}")


@dataclass(frozen=True)
class Limit:
    """What every candidate must keep, and nothing more: it is exact, and no objective.

    Args:
        name: its name in messages.
        function: codes (n, d) -> values (n,), in the unit of `at_most`.
        at_most: candidates above it are never proposed, and never on the front.
    """

    name: str
    function: CodeFunction
    at_most: float

    def __post_init__(self) -> None:
        _check_limit(self.name, self.at_most)

    def within(self, codes: Codes) -> Bools:
        """Which rows (n,) keep it."""
        return self.bounds(codes) <= self.at_most

    def bounds(self, codes: Codes) -> FloatArray:
        """What is held against the limit, (n,)."""
        return _called(self.function, codes, f"function of {self.name!r}")


def limited(objectives: Sequence["Objective"], limits: Sequence[Limit] = ()) -> tuple[Known | Limit, ...]:
    """All that candidates must keep: the known objectives that have a limit, then the limits alone."""
    return (*(o for o in objectives if isinstance(o, Known) and o.at_most is not None), *limits)


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
    """The genes that no expensive objective depends on."""
    return frozenset.intersection(*(frozenset(o.ignores) for o in objectives if isinstance(o, Expensive)))


def check_objectives(objectives: Sequence[Objective], limits: Sequence[Limit] = ()) -> tuple[Objective, ...]:
    """The objectives as a tuple; an `InputError` where names repeat or nothing is left to learn."""
    _check_kinds("objectives", objectives, (Expensive, Known), "Expensive(name) or Known(name, function)")
    _check_kinds("limits", limits, (Limit,), "Limit(name, function, at_most)")
    names = [o.name for o in (*objectives, *limits)]
    if len(set(names)) < len(names):
        raise InputError(f"objectives and limits must have different names; got {names}")
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


def _check_limit(name: str, limit: float) -> None:
    if not math.isfinite(number(f"the limit of {name!r}", limit)):
        raise InputError(f"the limit of {name!r} must be a finite number; got {limit}")


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


def front(values: npt.ArrayLike, limits: npt.ArrayLike, signs: npt.ArrayLike = 1.0) -> Bools:
    """The rule of every front: which values (m, M) keep the limits and are dominated by no other that keeps them.

    Args:
        values: what is known best of each objective (measured, else predicted), in its own direction.
        limits: (M,), what values may be at most; infinite where there is none.
        signs: (M,), -1 where more is better.
    """
    array = np.asarray(values, dtype=np.float64)
    mask = np.asarray(((array <= np.asarray(limits)) & np.isfinite(array)).all(axis=1))
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
