"""Candidates: the whole grid where it has a few million points at most, else what is likely to matter.

A sampled pool holds uniform draws, draws spread over cost (pushed outwards by mutation, since uniform draws
crowd at middling cost), and mutated and crossed members of the front; the best are refined by their neighbours.
All rows are valid, canonical, distinct, free and within the limits.

Rows are identified and ordered by a fingerprint of their values, not of their codes: relabelling the choices of
a gene changes neither which rows there are nor which of two equal ones comes first.
"""

import hashlib
from collections.abc import Callable, Container, Sequence

import numpy as np
import numpy.typing as npt

from distilsearch.arrays import FloatArray
from distilsearch.errors import InputError
from distilsearch.space import SearchSpace

from .objectives import Cap, Codes
from .view import View

GRID = 2_000_000
ENOUGH = 256  # rows within the limits, below which a sampled pool is bred towards them
GENERATIONS = 200
DRAWS = 1 << 17
BINS = 32
Rng = np.random.Generator
Prints = npt.NDArray[np.uint64]


def fingerprints(space: SearchSpace, codes: Codes, ignored: Container[str] = ()) -> Prints:
    """A 64-bit number (n,) for each row, the same for the same values under any labelling; some genes do not count."""
    total = np.zeros(len(codes), dtype=np.uint64)
    for column, parameter in enumerate(space.parameters):
        if parameter.name in ignored:
            continue
        total += np.array([_digest(parameter.name, c) for c in parameter.choices], np.uint64)[codes[:, column]]
    return total


def _digest(name: str, choice: object) -> int:
    text = f"{name}={type(choice).__name__}:{choice!r}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def distinct(space: SearchSpace, codes: Codes, taken: Codes, ignored: Container[str] = ()) -> Codes:
    """The rows without repeats, in the order of their fingerprints; without those taken, whatever is ignored."""
    prints, first = np.unique(fingerprints(space, codes), return_index=True)
    if ignored:
        prints = fingerprints(space, codes[first], ignored)
    free = ~np.isin(prints, fingerprints(space, taken, ignored))
    return codes[first[free]]


def one_of_twins(view: View, codes: Codes) -> Codes:
    """The rows, in their order, without twins of those before them."""
    if not view.apart:
        return codes
    _, first = np.unique(fingerprints(view.space, codes, view.apart), return_index=True)
    return codes[np.sort(first)]


def is_grid(view: View) -> bool:
    """Whether every architecture of the space is a candidate."""
    return view.space.listed <= GRID


def candidates(view: View, parents: Codes, rng: Rng, draws: int = DRAWS) -> Codes:
    """All candidates (n, d) of this ask; none when the space is exhausted.

    Raises:
        InputError: no architecture at all keeps the limits; it names the lowest bound found.
    """
    codes = view.space.grid(GRID) if is_grid(view) else _sampled(view, parents, rng, draws)
    allowed = codes[view.within(codes)]
    if len(allowed) < ENOUGH and not is_grid(view):
        codes = bred(view.space, view.limited, codes, rng)
        allowed = codes[view.within(codes)]
    if not len(allowed):
        raise _no_candidate(view, codes)
    return distinct(view.space, allowed, view.taken, view.apart)


def bred(space: SearchSpace, limited: Sequence[Cap], codes: Codes, rng: Rng) -> Codes:
    """Rows bred from those given until enough keep the limits, or none comes nearer: uniform draws miss tight ones."""
    runs = [values[np.isfinite(values)] for values in (o.bounds(codes) for o in limited)]
    scale = [float(np.ptp(values)) or 1.0 if len(values) else 1.0 for values in runs]

    def excess(rows: Codes) -> FloatArray:
        over = [(o.bounds(rows) - o.at_most) / s for o, s in zip(limited, scale, strict=True)]
        return np.asarray(np.max(over, axis=0))

    least, waited = np.inf, 0
    for _ in range(GENERATIONS if limited else 0):
        over = excess(codes)
        if (over <= 0).sum() >= ENOUGH or waited > 8:
            break
        least, waited = (float(over.min()), 0) if over.min() < least else (least, waited + 1)
        best = codes[np.argsort(over, kind="stable")[: 2 * ENOUGH]]
        codes = np.unique(np.concatenate([best, space.neighbours(np.repeat(best, 4, axis=0), rng)]), axis=0)
    return codes


def refined(view: View, codes: Codes, score: Callable[[Codes], FloatArray], rng: Rng, rounds: int = 3) -> Codes:
    """The rows given and, where the pool is a sample, better ones a few mutations away."""
    if is_grid(view):
        return codes
    best, value = codes, score(codes)
    for _ in range(rounds):
        top = best[np.argsort(-value, kind="stable")[:256]]
        near = view.space.neighbours(np.repeat(top, 8, axis=0), rng)
        near = near[view.within(near)]
        near = distinct(view.space, distinct(view.space, near, view.taken, view.apart), best)
        if not len(near):
            break
        best, value = np.concatenate([best, near]), np.concatenate([value, score(near)])
    return best[np.argsort(-value, kind="stable")[: len(codes)]]


def position(costs: FloatArray) -> FloatArray:
    """Where each row stands between the cheapest (0) and the dearest (1), in logarithms, over all costs."""
    if not costs.shape[1]:
        return np.zeros(len(costs))
    scale = np.where(costs.min(axis=0) > 0, np.log(np.maximum(costs, 1e-300)), costs)
    low, high = scale.min(axis=0), scale.max(axis=0)
    return np.asarray(((scale - low) / np.where(high > low, high - low, 1.0)).mean(axis=1))


def _sampled(view: View, parents: Codes, rng: Rng, draws: int) -> Codes:
    space = view.space
    drawn = space.sample(draws, rng)
    spread = _spread(view, drawn, rng, draws // 8)
    for _ in range(3):
        moved = space.neighbours(np.repeat(spread, 2, axis=0), rng)
        spread = _spread(view, np.concatenate([spread, moved]), rng, draws // 8)
    parts = [drawn, spread]
    if len(parents):
        children = _crossed(space, parents, rng, draws // 8)
        parts += [children, *_mutated(space, np.concatenate([parents, children]), rng, draws // 8)]
    codes: Codes = np.concatenate(parts)
    return codes[space.valid(codes)]


def _spread(view: View, codes: Codes, rng: Rng, n: int) -> Codes:
    """About n rows, as even over the logarithm of cost as the rows allow."""
    bins = np.minimum((position(view.costs(codes)) * BINS).astype(int), BINS - 1)
    order = rng.permutation(len(codes))
    picked = [order[bins[order] == b][: n // BINS] for b in range(BINS)]
    rows = np.concatenate(picked)
    return np.asarray(codes[rows])


def _crossed(space: SearchSpace, parents: Codes, rng: Rng, n: int) -> Codes:
    mothers, fathers = rng.integers(len(parents), size=(2, n))
    mask = rng.random((n, space.d)) < 0.5
    children: Codes = space.canonical(np.where(mask, parents[mothers], parents[fathers]))
    return children[space.valid(children)]


def _mutated(space: SearchSpace, parents: Codes, rng: Rng, n: int) -> list[Codes]:
    """Rows one, two and three mutations away."""
    steps = [parents[rng.integers(len(parents), size=n)]]
    for _ in range(3):
        steps.append(space.neighbours(steps[-1], rng))
    return steps[1:]


def _no_candidate(view: View, codes: Codes) -> InputError:
    parts = []
    for cap in view.limited:
        best, side = float(cap.bounds(codes).min()), "highest lower" if cap.least else "lowest upper"
        parts.append(f"{cap} (the {side} bound found is {-best if cap.least else best:.4g})")
    if never := [o.name for o in view.known if not np.isfinite(o.values(codes)).any()]:
        return InputError(f"{' and '.join(never)} is infinite, what cannot be run, for all architectures looked at")
    advice = "loosen" if any(cap.least for cap in view.limited) else "raise"
    return InputError(
        f"no architecture of this space keeps {' and '.join(parts) or 'finite costs'}; {advice} the limit"
    )
