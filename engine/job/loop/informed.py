"""What is known of students before they are trained, as a further column of the surrogate.

What each loses as it is cut, where cuts are choices of a space; or what it scores as a slice of a super-network. Either
is cheap. It is no result: a slice is another student than the one that is trained alone, and often a better one, and an
untrained cut is a worse one; told as such it would mislead. So it is a column beside the genes and the sizes; how much
it says of the loss, the told trials show.

Of a space that is too large to be scored a sample is, and a surrogate of those scores foresees the others.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial

import numpy as np

from distilsearch.architecture import Architecture
from distilsearch.arrays import FloatArray
from distilsearch.distill.store.trial import Trial
from distilsearch.errors import TrialError
from distilsearch.predictors.surrogate.accuracy import fit_surrogate
from distilsearch.predictors.surrogate.encoding import Encoding
from distilsearch.progress import Progress
from distilsearch.space import Codes, SearchSpace

from ..executors import Executor
from ..ledger import Ledger
from ..plans.phases import JUDGED, JUDGING_SHARE, UNTRAINED, cut_short
from ..work.making import Making

MOST = 1_000  # students that are scored, all of a space
SAMPLE = 300  # of a larger one
TOGETHER = 32  # in one job
CUTS, FEW, AT_LEAST = 64, 4, 16  # students that are judged untrained, in one job, and of whom next to nothing is seen
SCORING, CUTTING = "scoring sub-networks", "judging untrained students"

Column = Callable[[Codes], FloatArray]
Short = Callable[[str], None]  # is told what there was no time for
Known = Callable[[SearchSpace, Column, Making, Executor, int, Progress], Column | None]
"""What makes a column of what is known of students: see `score_column`; None where there is nothing to see."""


def score_column(
    space: SearchSpace, sizes: Column, making: Making, executor: Executor, seed: int, progress: Progress
) -> Column:
    """A function from codes (n, d) to the logarithms (n, 1) of what students score in their super-networks.

    Args:
        sizes: further columns (n, k) that a surrogate of scores sees.

    Raises:
        TrialError: next to none can be scored.
    """
    codes = to_score(space, seed)
    students = space.decode(codes)
    groups = [part for alike in making.by_super(students) for part in _parts(alike)]
    futures = [executor.submit(making.score(group)) for group in groups]
    losses: dict[Architecture, float] = {}
    for done, (group, future) in enumerate(zip(groups, futures, strict=True), 1):
        answers: list[Trial | TrialError] = future.result()
        losses |= {one: a.loss for one, a in zip(group, answers, strict=True) if isinstance(a, Trial)}
        progress(SCORING, done, len(groups))
    if len(losses) < 2:
        raise TrialError(
            f"of {len(students)} sub-networks {len(losses)} could be scored: {_reason(futures[0].result())}"
        )
    known = [place for place, student in enumerate(students) if student in losses]
    values = np.log(np.maximum([losses[students[place]] for place in known], 1e-9))
    return column_of(space, codes[known], values, sizes)


def cut_column(
    space: SearchSpace,
    sizes: Column,
    making: Making,
    executor: Executor,
    seed: int,
    progress: Progress,
    seconds: float = math.inf,
    groups: int | None = None,
    tell: Callable[[int], None] = lambda groups: None,
    short: Short = lambda words: None,
) -> Column | None:
    """A function from codes (n, d) to the logarithms (n, 1) of what students lose as they are cut, untrained.

    Args:
        sizes: further columns (n, k) that a surrogate of losses sees.
        seconds: that judging may take. Where they are few, the executor's workers are `opened` before.
        groups: of students that are judged whatever time they take, no more and no less.
        tell: is told how many groups were judged.

    None where next to no cut can be judged, or is in time: what is trained will show what there is to see.
    """
    codes = (
        space.grid(CUTS) if space.listed <= CUTS else np.unique(space.sample(CUTS, np.random.default_rng(seed)), axis=0)
    )
    count = -(-len(codes) // FEW)
    parts = [codes[first::count] for first in range(count)]  # each from all over the space: there may be time for few
    if groups is not None:
        parts, seconds = parts[:groups], math.inf
    losses, judged = _judged([space.decode(part) for part in parts], making, executor, progress, seconds)
    tell(judged)
    few = len(losses) < min(AT_LEAST, len(codes))
    if groups is None and len(losses) < len(codes):
        words = f"{len(losses)} of {len(codes)} untrained students were judged in the {seconds:.1f} s there were"
        short(words + (", too few to be looked at" if few else ""))
    if few:
        progress("there was no time to judge more than a few untrained students: they are not looked at", 0, 0)
        return None
    codes = np.concatenate(parts)[: len(losses)]
    rows = [place for place, loss in enumerate(losses) if loss is not None]
    values = np.log(np.maximum([loss for loss in losses if loss is not None], 1e-9))
    if len(rows) < 2 or not np.ptp(values):
        progress("the untrained cuts of this space say nothing of its students: they are not looked at", 0, 0)
        return None
    return column_of(space, codes[rows], values, sizes)


def cuts_within(minutes: float, ledger: Ledger, spent: float = 0.0) -> Known:
    """`cut_column` for a run of some minutes, of which it takes a share at most; 0 minutes are no limit.

    How far that went is noted: a run that goes on, and whoever joins it, sees what its first call saw.

    Args:
        spent: seconds of that share that judging cuts has taken.
    """
    groups = ledger.noted(JUDGED)
    if groups is not None:
        return partial(cut_column, groups=int(groups))
    seconds = max(0.0, JUDGING_SHARE * 60 * minutes - spent) if minutes else math.inf
    tell, short = partial(ledger.note, JUDGED), partial(cut_short, ledger, UNTRAINED)
    return partial(cut_column, seconds=seconds, tell=tell, short=short)


def _judged(
    groups: Sequence[Sequence[Architecture]], making: Making, executor: Executor, progress: Progress, seconds: float
) -> tuple[list[float | None], int]:
    """The losses of the students of groups, in their order, and of how many groups: the first ones, as time allows.

    A group is begun if it should end in time, by how long the last one took, and none where there is no time for as
    many as are looked at.
    """
    until, took, flying = time.monotonic() + seconds, 0.0, deque[tuple[float, Future[list[float | None]]]]()
    losses, waiting, done = list[float | None](), deque(groups), 0
    enough = min(AT_LEAST, sum(map(len, groups)))
    while flying or waiting:
        while waiting and len(flying) < executor.workers:
            flying.append((time.monotonic(), executor.submit(making.cut(waiting.popleft()))))
        begun, future = flying.popleft()
        losses += future.result()
        done, took = done + 1, time.monotonic() - begun
        progress(CUTTING, done, len(groups))
        rounds = (until - time.monotonic()) / max(took, 1e-9)
        if rounds < 1 or (done + len(flying) + rounds * executor.workers) * FEW < enough:
            waiting.clear()
    if 0 < done < len(groups):
        progress(CUTTING, done, done)  # there was no time for the others
    return losses, done


def opened(making: Making, executor: Executor) -> None:
    """Wait until every worker has its libraries, teacher and text, which trainings need as well as judging does."""
    for future in [executor.submit(making.cut([])) for _ in range(executor.workers)]:
        future.result()


def to_score(space: SearchSpace, seed: int) -> Codes:
    """The students (n, d) whose scores are asked for: all, or a sample."""
    if space.listed <= MOST:
        return space.grid(MOST)
    return np.unique(space.sample(SAMPLE, np.random.default_rng(seed)), axis=0)


def column_of(space: SearchSpace, codes: Codes, values: FloatArray, sizes: Column) -> Column:
    """A function to values (n, 1): those of codes (m, d) as they are given, of others as a surrogate foresees them."""
    further = sizes(codes)
    encoding = Encoding.of(space, further)
    place = space.indices(codes, space.names)
    order = np.argsort(place)
    whole = len(codes) == space.size
    fitted = (
        None if whole else fit_surrogate(encoding(codes, further), values, encoding.groups, further=further.shape[1])
    )

    def column(asked: Codes) -> FloatArray:
        index = space.indices(asked, space.names)
        at = order[np.searchsorted(place, index, sorter=order).clip(max=len(order) - 1)]
        result = np.where(place[at] == index, values[at], np.nan)
        unknown = np.flatnonzero(np.isnan(result))
        if len(unknown) and fitted is not None:
            mean, _ = fitted.marginals(encoding(asked[unknown], sizes(asked[unknown])))
            result[unknown] = fitted.warp.inverse(mean.double().numpy())
        return result[:, None]

    return column


def _parts(students: Sequence[Architecture]) -> list[Sequence[Architecture]]:
    return [students[first : first + TOGETHER] for first in range(0, len(students), TOGETHER)]


def _reason(answers: Sequence[object]) -> str:
    return next((str(one) for one in answers if isinstance(one, TrialError)), "no reason was given")
