"""How long requests are: a user's own distribution of lengths, as the few lengths that stand for it.

`length_nodes` sums up the lengths of many requests so. A value, without any library: it is part of every `Serving`.
"""

import math
import re
from dataclasses import dataclass
from typing import NamedTuple

from .errors import InputError

MILLION = 1_000_000  # weights are kept in millionths, so that they are the same wherever they are written
MOST_TOKENS = 1 << 24
PAIR = r"\d{1,8} x [01]\.\d{6}"
ALIKE = 1.1  # the factor up to which two latencies may be in the wrong order by the noise of a quiet machine
CONTRADICTING = {  # by how latencies are known: why some that are in the wrong order are not told
    "measured": "long requests came out faster than usual ones, so the measurement was disturbed",
    "predicted": "by this table long requests are faster than usual ones; profile again when the machine is quiet",
}
FAR_OFF = {  # likewise, of a median that no distribution has beside such a mean
    "measured": "usual requests came out far from the mean of all, so the measurement was disturbed",
    "predicted": "by this table usual requests are far from the mean of all; profile again when the machine is quiet",
}
WRITTEN = re.compile(rf"(\d{{1,12}}) requests, p50 (\d{{1,8}}), p99 (\d{{1,8}}): ({PAIR}(?:, {PAIR})*)")


def is_written(text: str) -> bool:
    """Whether it reads like lengths that were written out, and not like the name of a file."""
    return WRITTEN.fullmatch(text) is not None


class Told(NamedTuple):
    """What is told of the requests of a median and of a long length, ms; `why` not, and by which factor they are off.

    The one rule for all that is printed, written and read.
    """

    p50: float | None
    p99: float | None
    why: str = ""
    off: float = 1.0


def told(kind: str, mean: float | None, p50: float, p99: float) -> Told:
    """Latencies of a median and of a long request as both can be true beside the mean; left out where they cannot.

    A long request takes no less: where the figures say so within the noise, their geometric mean stands for both. At
    least half of the requests take the median or more, so that it is at most twice the mean; and as many take at most
    the median, so that the mean is at most half of it and p99, even where the longest take 50 times as long as that.

    Args:
        kind: "measured" or "predicted".

    >>> told("measured", 1.5, 1.0, 3.0).p99, told("measured", 1.0, 1.0, 1.0).p99, told("measured", 2.0, 2.0, 1.0).off
    (3.0, 1.0, 2.0)
    >>> told("measured", 1.0, 4.0, 5.0).why
    'usual requests came out far from the mean of all, so the measurement was disturbed'
    """
    order = p50 / p99
    beside = max(p50 / (2 * mean), mean / (p50 / 2 + p99)) if mean else 1.0
    if max(order, beside) > ALIKE:
        return Told(None, None, (CONTRADICTING if order > ALIKE else FAR_OFF)[kind], max(order, beside))
    both = math.sqrt(p50 * p99)
    return Told(p50, p99) if p99 >= p50 else Told(both, both)


@dataclass(frozen=True)
class RequestLengths:
    """Lengths in tokens that stand for those of all requests: `nodes` rise, and `millionths` are their weights.

    `p50` and `p99` are the nodes at the median and at the 99th percentile, `requests` how many were counted. Written
    out it is one line, which `parse` reads.

    >>> str(RequestLengths((4, 16), (250_000, 750_000), 16, 16, 40))
    '40 requests, p50 16, p99 16: 4 x 0.250000, 16 x 0.750000'
    """

    nodes: tuple[int, ...]
    millionths: tuple[int, ...]
    p50: int
    p99: int
    requests: int

    def __post_init__(self) -> None:
        rising = list(self.nodes) == sorted(set(self.nodes)) and all(0 < node <= MOST_TOKENS for node in self.nodes)
        whole = sum(self.millionths) == MILLION and min(self.millionths, default=-1) >= 0
        paired = len(self.nodes) == len(self.millionths) and {self.p50, self.p99} <= set(self.nodes)
        if not (rising and whole and paired and self.p50 <= self.p99 and self.requests > 0):
            raise InputError(
                "expected rising lengths of requests with weights that sum to 1, p50 and p99 among them; got"
                f" lengths {self.nodes}, weights in millionths {self.millionths}, p50 {self.p50}, p99 {self.p99}"
            )

    @property
    def weights(self) -> tuple[float, ...]:
        """The share of requests that each node stands for; they sum to 1."""
        return tuple(one / MILLION for one in self.millionths)

    @property
    def longest(self) -> int:
        """The most tokens of a request."""
        return self.nodes[-1]

    @property
    def mean(self) -> float:
        """Mean length in tokens."""
        return sum(node * weight for node, weight in zip(self.nodes, self.weights, strict=True))

    @property
    def words(self) -> str:
        """In words, such as "3 to 64 tokens (mean 21.4, p50 18, p99 60)"."""
        ends = f"{self.nodes[0]} to {self.longest}" if len(self.nodes) > 1 else str(self.longest)
        return f"{ends} tokens (mean {self.mean:.3g}, p50 {self.p50}, p99 {self.p99})"

    def __str__(self) -> str:
        pairs = ", ".join(f"{node} x {w:.6f}" for node, w in zip(self.nodes, self.weights, strict=True))
        return f"{self.requests} requests, p50 {self.p50}, p99 {self.p99}: {pairs}"

    @classmethod
    def parse(cls, text: str) -> "RequestLengths":
        """The inverse of `str`; an `InputError` where it is none."""
        match = WRITTEN.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise InputError(
                f"{text!r} sums up no lengths of requests; one looks like '40 requests, p50 16, p99 16: 4 x 0.250000,"
                " 16 x 0.750000', and a search writes it into its run.toml"
            )
        requests, p50, p99 = (int(match[place]) for place in (1, 2, 3))
        pairs = [pair.split(" x ") for pair in match[4].split(", ")]
        millionths = tuple(round(float(weight) * MILLION) for _, weight in pairs)
        return cls(tuple(int(node) for node, _ in pairs), millionths, p50, p99, requests)
