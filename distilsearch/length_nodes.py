"""The lengths of many requests, summed up in a few: a mean over all of them is then a weighted mean over a few nodes.

Latency is measured and predicted at the nodes and taken to be linear in the length between them. So each request shares
its weight among its two neighbours, the nearer one getting more, and the mean length is exact. Median and 99th
percentile of the lengths are nodes themselves: what these requests take is read off, as long as a longer request takes
no less time. Requests that are served together are padded to the longest one: of n independent ones it has at most v
tokens with probability F(v)^n, and every request takes as long as its batch.

    v, p    (m,) the lengths there are, and the share of requests that have each (of batches: whose longest has it)
    F       share of requests of at most v tokens                           a, b    neighbouring nodes, a <= v <= b
    w       weight of a node: p (v - a) / (b - a) over the lengths below it, and p (b - v) / (b - a) over those above
    error   sum of p (v - a)(b - v) over all gaps: by so much linear interpolation lies above the mean of v^2
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from .arrays import FloatArray
from .errors import InputError
from .request_lengths import MILLION, MOST_TOKENS, RequestLengths

MOST_NODES = 8
FEWEST_REQUESTS = 20  # fewer say nothing of how lengths are spread
MISSED = 1e-3  # of the mean of v^2: nodes that tell less than that are not worth timing
MEDIAN, TAIL = 0.5, 0.99
ROUNDING = 1e-12


def request_lengths(lengths: Sequence[int], batch: int = 1, most: int = MOST_NODES) -> RequestLengths:
    """Lengths (n,) of requests in tokens, served `batch` at a time, summed up in at most `most` nodes (4 or more).

    Raises:
        InputError: there are fewer than 20, or one of no token.
    """
    if len(lengths) < FEWEST_REQUESTS:
        raise InputError(
            f"a distribution of lengths needs {FEWEST_REQUESTS} requests or more; got {len(lengths)}: name more of"
            " them, or serve all in one length, such as serving = { sequence = 128 }"
        )
    if min(lengths) < 1 or max(lengths) > MOST_TOKENS:
        raise InputError(f"a request has 1 to {MOST_TOKENS:,} tokens; got {min(lengths)} to {max(lengths)}")
    values, counts = np.unique(np.asarray(lengths, dtype=np.int64), return_counts=True)
    together = (np.cumsum(counts) / counts.sum()) ** batch
    p50, p99 = (int(np.searchsorted(together, quantile - ROUNDING)) for quantile in (MEDIAN, TAIL))
    v, p = values.astype(np.float64), np.diff(together, prepend=0.0)
    places = _places(v, p, sorted({0, p50, p99, len(v) - 1}), most)
    millionths = _millionths(_weights(v[places], v, p))
    return RequestLengths(tuple(values[places].tolist()), millionths, int(values[p50]), int(values[p99]), len(lengths))


def _places(v: FloatArray, p: FloatArray, first: list[int], most: int) -> list[int]:
    """Places of nodes among lengths v (m,) with shares p (m,): the `first`, and one by one those that tell most."""
    powers = [np.concatenate([[0.0], np.cumsum(p * v**k)]) for k in range(3)]

    def error(a: int, b: int) -> float:
        none, once, twice = (float(sums[b + 1] - sums[a]) for sums in powers)
        return float((v[a] + v[b]) * once - twice - v[a] * v[b] * none)

    places, enough = first, MISSED * float(powers[2][-1])
    while len(places) < most and sum(error(a, b) for a, b in pairwise(places)) > enough:
        gains = [(error(a, b) - error(a, i) - error(i, b), i) for a, b in pairwise(places) for i in range(a + 1, b)]
        places = sorted([*places, max(gains)[1]])
    return places


def _weights(nodes: FloatArray, v: FloatArray, p: FloatArray) -> FloatArray:
    """Weights (k,) of nodes (k,): each length shares its p (m,) among its two neighbours."""
    shares = np.stack([np.interp(v, nodes, row) for row in np.eye(len(nodes))])  # (k, m)
    weights: FloatArray = shares @ p
    return weights


def _millionths(weights: FloatArray) -> tuple[int, ...]:
    """Weights (k,) in millionths that sum to a million; the heaviest takes what rounding leaves."""
    rounded = np.rint(weights * MILLION).astype(np.int64)
    rounded[int(rounded.argmax())] += MILLION - int(rounded.sum())
    return tuple(rounded.tolist())
