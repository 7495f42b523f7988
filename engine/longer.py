"""Whether to train on: a new student from the start, or one that was trained before, whichever gains more a second.

What is told stands at the training each student had. Training on, like a new student, may push that front outwards; the
surrogate, which knows the length of training as a feature, says by how much. The logarithm of the length is what it
sees, so that ever longer training gains ever less.

    gain of x at length f a second  =  EHVI(x at f, over the front as told) / seconds(x, f0, f)

Where limits must be learnt, the EHVI is multiplied by the odds of keeping them at that length; while nothing keeps
them, the odds alone are the gain.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from distilsearch.architecture import Architecture
from distilsearch.arrays import FloatArray
from distilsearch.errors import InputError

from .acquisition import Boxes, log_ehvi
from .beliefs import Beliefs
from .objectives import Codes, hypervolume
from .values import items, number
from .view import View

Seconds = Callable[[Architecture, float, float], float]
Options = list[tuple[Codes, float, float]]  # codes (d,), trained so far, trained then


@dataclass(frozen=True)
class Training:
    """Train `architecture` to length `fidelity`, on from length `since` (0: from the start).

    `gain` is the expected hypervolume improvement (while nothing keeps the learnt limits, the odds of keeping them),
    `seconds` what it takes.
    """

    architecture: Architecture
    fidelity: float
    since: float
    gain: float
    seconds: float

    @classmethod
    def start(cls, asked: Sequence[Architecture], length: float, seconds: "Seconds") -> "Training | None":
        """A new student, of which nothing is foreseen."""
        return cls(asked[0], length, 0.0, math.nan, seconds(asked[0], 0.0, length)) if asked else None


def tokens(architecture: Architecture, since: float, fidelity: float) -> float:
    """The default of `seconds`: every unit of length takes equally long."""
    return fidelity - since


def checked_lengths(lengths: Sequence[float]) -> tuple[float, ...]:
    """Lengths of training, rising; an `InputError` where they are not."""
    lengths = [number("a length of training", length) for length in items("lengths of training", lengths)]
    rising = all(a < b for a, b in pairwise(lengths))
    if len(lengths) < 1 or not rising or not lengths[0] > 0 or not math.isfinite(lengths[-1]):
        raise InputError(f"lengths of training must be positive and rise; got {list(lengths)}")
    return tuple(map(float, lengths))


def best_training(view: View, fresh: Codes, lengths: Sequence[float], seconds: Seconds) -> Training | None:
    """The training with the largest gain a second; None where there is neither a new student nor one to train on.

    Args:
        view: it must hold told values of every expensive objective, and no more than three objectives.
        fresh: a new student's codes (1, d), or none (0, d).
        lengths: the lengths a student may be trained to, rising.
        seconds: what a training takes.
    """
    options = [*((row, 0.0, lengths[0]) for row in fresh), *_longer(view, lengths)]
    trainings = _weighed(view, options, seconds)
    return max(trainings, key=lambda t: (t.gain / t.seconds, -t.since, t.architecture.key), default=None)


def longer_gain(view: View, lengths: Sequence[float]) -> float:
    """The largest expected improvement by training a told student on; infinite while nothing is known of that."""
    if first_longer(view, lengths, tokens) is not None:
        return math.inf
    return max((t.gain for t in _weighed(view, _longer(view, lengths), tokens)), default=0.0)


def _weighed(view: View, options: Options, seconds: Seconds) -> list[Training]:
    """What each of the (codes, since, length) promises."""
    beliefs = Beliefs.of(view)
    boxes = None if view.seeks else Boxes.of(told_points(view), check_few(view))
    trainings = []
    for row, start, length in options:
        (architecture,) = view.space.decode(row[None])
        lengths = beliefs.lengths and replace(beliefs.lengths, target=math.log(length))
        at = replace(beliefs, lengths=lengths)
        gain = at.log_kept(row[None], everything=boxes is None)
        gain = gain if boxes is None else log_ehvi(at.belief(row[None]), boxes) + gain
        trainings.append(
            Training(architecture, length, start, math.exp(float(gain[0])), seconds(architecture, start, length))
        )
    return trainings


def first_longer(view: View, lengths: Sequence[float], seconds: Seconds) -> Training | None:
    """Of the front, the student that adds most to it, to be trained on; None once two were, or none can be."""
    longer = view.codes[trained(view) > lengths[0] * (1 + 1e-9)]
    lengthened = len(_students(view, longer)) + len(_students(view, view.codes) & _students(view, view.pending))
    index = {view.codes[u].tobytes(): i for i, u in enumerate(_complete(view))}
    options = [o for o in _longer(view, lengths) if o[1] <= lengths[0] and o[0].tobytes() in index]
    if lengthened >= 2 or not options:
        return None
    points = told_points(view)
    whole = hypervolume(points, check_few(view))
    lost = [whole - hypervolume(np.delete(points, index[row.tobytes()], 0), view.reference) for row, _, _ in options]
    row, start, length = options[int(np.argmax(lost))]
    (architecture,) = view.space.decode(row[None])
    return Training(architecture, length, start, math.nan, seconds(architecture, start, length))


def trained(view: View) -> FloatArray:
    """How long each told architecture (u,) has been trained; infinite where that was not told."""
    result = np.full(len(view.codes), -math.inf)
    np.maximum.at(result, view.row, np.nan_to_num(view.fidelity, nan=-math.inf))
    return np.where(np.isneginf(result), math.inf, result)


def _longer(view: View, lengths: Sequence[float]) -> Options:
    """Told architectures, not in training now and none that failed or breaks a limit, with the next length of each."""
    busy = _students(view, view.pending) | _students(view, view.failed)
    return [
        (row, float(since), length)
        for row, student, since, stands in zip(
            view.codes, view.students(view.codes), trained(view), view.standing(view.codes), strict=True
        )
        if stands and student.tobytes() not in busy and (length := following(lengths, float(since))) is not None
    ]


def _students(view: View, codes: Codes) -> set[bytes]:
    """What tells architectures apart that are no twins."""
    return {row.tobytes() for row in view.students(codes)}


def following(lengths: Sequence[float], since: float) -> float | None:
    """The next length after `since`."""
    return next((f for f in lengths if f > since * (1 + 1e-9)), None)


def check_few(view: View) -> FloatArray:
    """The reference (M,), M at most 3; an `InputError` says that more cannot be weighed."""
    if len(view.objectives) > 3:
        raise InputError(f"an expected improvement needs at most three objectives; got {len(view.objectives)}")
    return view.reference


def told_points(view: View) -> FloatArray:
    """Objectives (m, M) as told, each architecture at its longest training, replicates averaged.

    Left out are architectures that lack an objective, or break a limit that is no objective or must be learnt.
    """
    rows = [[*view.told_costs[u], *np.nanmean(_last(view, u), axis=0)] for u in _complete(view)]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(view.reference))


def _complete(view: View) -> list[int]:
    """The told architectures that `told_points` has rows of."""
    stands = np.flatnonzero(view.standing(view.codes) & (view.told_keeps if view.held else True))
    return [u for u in map(int, stands) if not np.isnan(_last(view, u)).all(axis=0).any()]


def _last(view: View, u: int) -> FloatArray:
    """Told values (r, E) of an architecture at its longest training."""
    own = np.flatnonzero(view.row == u)
    rank = np.nan_to_num(view.fidelity[own], nan=-1.0)
    return np.asarray(view.values[own[rank == rank.max()]])
