"""Measurements that no fit may believe: wrong by orders of magnitude, in either direction.

Mixed units and aborted runs leave a few figures that are a thousand times too small or too large. A fit of relative
errors divides by what was measured, so that one such figure outweighs a hundred sound ones. So before anything is
fitted, the liars are found by a fit that bounds what each measurement can do, and are left out by name; the fit of the
others is as if they had never been measured. Where none lies, nothing changes.

    y (n,)   measured seconds           g (n,)   what the fit of the moment says of them
    e (n,)   log(y / g)                 s        1.4826 x median |e|
    a liar:  |e| > max(log `factor`, SIGMAS s)
    pseudo-measurements of the next fit: g of a liar, else g exp(clip(e, -b, b)), b = max(log BOUND, 2 s)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distilsearch.arrays import FloatArray

FACTOR = 8.0  # from here on a measurement of one operator is no surprise any more but wrong
MODEL_FACTOR = 4.0  # whole models vary less around what their operators say
SIGMAS = 8.0  # and this far beyond the usual errors of the fit
BOUND = 1.5
ROUNDS = 12
FEWEST = 3  # of less, no majority can be told
FEW = 8  # below it a fit could follow a liar: what is believed of any machine judges, within FEW_FACTOR
FEW_FACTOR = 30.0


@dataclass(frozen=True)
class Distrusted:
    """A measurement that was left out of a fit: what it is of, and how many times the expected time it claims."""

    what: str
    times: float

    def __str__(self) -> str:
        how = f"{self.times:.3g} times" if self.times >= 1 else f"1/{1 / self.times:.3g} of"
        return f"{self.what} ({how} what all others say)"


def lying(
    measured: FloatArray, guess: FloatArray, refit: Callable[[FloatArray], FloatArray], factor: float
) -> tuple[NDArray[np.bool_], FloatArray]:
    """Which of n measured seconds lie (n,), and how many times the expected ones they are (n,).

    Args:
        measured: seconds (n,).
        guess: seconds (n,) that no measurement of this list has moved; of `FEWEST` and more only up to a factor.
        refit: from seconds (n,), none of which is far off, to what the fit then says of them.
        factor: how far off is at least a lie.
    """
    if len(measured) >= FEWEST:
        guess = guess * float(np.median(measured / guess))
    off, spread = _off(measured, guess)
    least = float(np.log(factor if len(measured) >= FEW else FEW_FACTOR))
    for _ in range(ROUNDS if len(measured) >= FEW else 0):
        bound = max(float(np.log(BOUND)), 2 * spread)
        pull = np.where(np.abs(off) > max(least, SIGMAS * spread), 0.0, np.clip(off, -bound, bound))
        guess = refit(guess * np.exp(pull))
        off, spread = _off(measured, guess)
    return np.abs(off) > max(least, SIGMAS * spread * (len(measured) >= FEWEST)), np.exp(off)


def _off(measured: FloatArray, guess: FloatArray) -> tuple[FloatArray, float]:
    """e (n,) and s."""
    off = np.log(measured / np.maximum(guess, 1e-30))
    return off, 1.4826 * float(np.median(np.abs(off)))


def named(liars: Sequence[Distrusted], most: int = 5) -> str:
    """The liars in words, the first of many."""
    more = f" and {len(liars) - most} more" if len(liars) > most else ""
    return "; ".join(map(str, liars[:most])) + more
