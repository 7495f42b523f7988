"""Robust timing on machines that others use too.

What a table wants is the latency of the undisturbed machine, so cases are visited in many short rounds spread in
time, a sentinel kernel runs between them, rounds in which the sentinel was slow are dropped, and a low quantile
is taken over the rest. Bursts of disturbance are dropped that way. A machine that is slow for minutes on end is told by
the low quantile of the sentinel over a whole session, or over all rounds of a case, and that slowness is divided out; a
single sentinel is too noisy to divide by. The disturbance itself is kept beside it: `relative_iqr`, `sentinel_ratio`.

| symbol | meaning |
| --- | --- |
| visit | one case timed once in one round: a warm call, then `BLOCKS` blocks of back-to-back calls |
| sentinel ratio | sentinel seconds beside a visit / baseline, the sentinel seconds of the undisturbed machine |
| level | the low quantile of a session's sentinel seconds; level / baseline, below `WAITING`, is divided out first |
| kept | the rounds whose sentinel ratio is at most `SLOW_SENTINEL` |
| slowness | the low quantile of the kept rounds' sentinel ratios, from `SLOW_SENTINEL` to `WAITING`; else 1 |
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from distilsearch.arrays import FloatArray
from distilsearch.growth import grown
from distilsearch.request_lengths import RequestLengths

from .device import Prepared

BLOCKS = 5
BLOCK_SECONDS = 5e-4
VISIT_SECONDS = 0.03
SLOW_SENTINEL = 1.15
WAITING = 2.0  # from here on a sentinel tells of waiting for a core, which short cases hardly do
LEAST_KEPT = 3
NOISY_SPREAD = 0.35
DISTURBED = 1.5  # median sentinel ratio of a noisy case: the machine, not the case
LOW_QUANTILE = 0.1
TOO_FAST = 10.0  # times faster than the median of its case: no luck, but a mistake
NAN = float("nan")
OF_REQUESTS = ("request_p50_seconds", "request_p99_seconds")  # fields of `Measured` that came later


class Clock(Protocol):
    """Where time comes from; tests give one that only moves when told to."""

    def now(self) -> float:
        """Monotonic seconds."""
        ...

    def epoch(self) -> float:
        """Seconds since 1970."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        ...


class SystemClock:
    """The clock of the operating system."""

    def now(self) -> float:
        """Monotonic seconds."""
        return time.perf_counter()

    def epoch(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        time.sleep(seconds)


@dataclass(frozen=True)
class Measured:
    """What was measured of one case, in seconds a call.

    `seconds_p10` is the latency of the undisturbed machine; `seconds_p50`, `seconds_p90` and `relative_iqr` are
    over all rounds, disturbed ones included. `status` is `ok`, `noisy`, `oom` or `unsupported`; the latter two
    carry NaN times. Of requests of many lengths all times are means over the requests, and `request_p50_seconds` and
    `request_p99_seconds` are those of the median length and of the 99th percentile (as `seconds_p10`).
    """

    seconds_p10: float
    seconds_p50: float
    seconds_p90: float
    rounds: int
    relative_iqr: float
    sentinel_ratio: float
    status: str
    request_p50_seconds: float = NAN
    request_p99_seconds: float = NAN

    @property
    def usable(self) -> bool:
        """Whether the times mean anything."""
        return self.status in ("ok", "noisy")

    @property
    def of_requests(self) -> tuple[float, ...]:
        """Of requests of many lengths the seconds of the median and of the 99th percentile; none of one length."""
        return tuple(one for one in (self.request_p50_seconds, self.request_p99_seconds) if one == one)

    @property
    def disturbed(self) -> bool:
        """Whether others needed the machine all the while: to be measured again, and until then not to be believed."""
        return self.status == "noisy" and self.sentinel_ratio >= DISTURBED

    @classmethod
    def failed(cls, status: str) -> "Measured":
        """A case that could not run."""
        return cls(NAN, NAN, NAN, 0, NAN, NAN, status)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON with every field; times that are not there are None, of requests of one length none are told."""
        plain = {name: None if value != value else value for name, value in vars(self).items()}
        return grown(plain, dict.fromkeys(OF_REQUESTS))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Measured":
        """The inverse of `to_json`."""
        values: dict[str, Any] = {name: NAN if value is None else value for name, value in data.items()}
        return cls(**values)


def undisturbed(seconds: Sequence[float] | FloatArray) -> float:
    """The low quantile that stands for the undisturbed machine."""
    return float(np.quantile(np.asarray(seconds, dtype=np.float64), LOW_QUANTILE))


def summarise(
    seconds: Sequence[float], sentinels: Sequence[float], baseline: float, levels: Sequence[float] | None = None
) -> Measured:
    """The robust statistics of one case from its rounds.

    `seconds` (r,) and `sentinels` (r,) belong together, and `levels` (r,) of the sessions they were measured in, the
    baseline where not given; `baseline` is the undisturbed sentinel.
    """
    values = np.asarray(seconds, dtype=np.float64)
    slow = np.array([pace(level, baseline) for level in levels]) if levels is not None else np.ones(len(values))
    ratios = np.asarray(sentinels, dtype=np.float64) / baseline / slow
    trusted = kept_rounds(ratios)
    trusted = trusted[believable(values[trusted])]
    paced = values[trusted] / slow[trusted]
    q25, q50, q75, q90 = np.quantile(values, (0.25, 0.5, 0.75, 0.9))
    # Others can only add time: half of all rounds took no longer than the median, whatever the sentinel said of them.
    low = min(undisturbed(paced) / slowness(ratios[trusted]), float(q50))
    quiet = int((ratios <= SLOW_SENTINEL).sum())
    noisy = quiet < min(LEAST_KEPT, len(values)) or float(np.median(paced)) / undisturbed(paced) - 1 > NOISY_SPREAD
    return Measured(
        low,
        float(q50),
        float(q90),
        len(values),
        float((q75 - q25) / q50),
        float(np.median(ratios * slow)),
        "noisy" if noisy else "ok",
    )


def over_lengths(parts: Sequence[Measured], lengths: RequestLengths) -> Measured:
    """What requests of many lengths take, of what was measured at each node (k,); failed where one of them did."""
    failed = next((one for one in parts if not one.usable), None)
    if failed is not None:
        return failed
    by_node = dict(zip(lengths.nodes, parts, strict=True))

    def mean(name: str) -> float:
        return sum(w * float(getattr(one, name)) for one, w in zip(parts, lengths.weights, strict=True))

    return Measured(
        mean("seconds_p10"),
        mean("seconds_p50"),
        mean("seconds_p90"),
        min(one.rounds for one in parts),
        max(one.relative_iqr for one in parts),
        max(one.sentinel_ratio for one in parts),
        "noisy" if any(one.status == "noisy" for one in parts) else "ok",
        by_node[lengths.p50].seconds_p10,
        by_node[lengths.p99].seconds_p10,
    )


def pace(level: float, baseline: float) -> float:
    """How many times slower than undisturbed a session was as a whole; 1 where it was not, or only waited."""
    slower = level / baseline
    return slower if 1.0 < slower < WAITING else 1.0


def slowness(ratios: FloatArray) -> float:
    """How many times slower than undisturbed the machine was in even the quietest rounds kept; 1 unless clearly so."""
    quietest = undisturbed(ratios)
    return quietest if SLOW_SENTINEL < quietest < WAITING else 1.0


def kept_rounds(ratios: FloatArray) -> npt.NDArray[np.int64]:
    """Indices of the rounds to trust: those with a quiet sentinel, else the least disturbed third."""
    quiet = np.flatnonzero(ratios <= SLOW_SENTINEL)
    least = min(len(ratios), max(LEAST_KEPT, len(ratios) // 3))
    return quiet if len(quiet) >= least else np.argsort(ratios, kind="stable")[:least]


def believable(seconds: FloatArray) -> npt.NDArray[np.bool_]:
    """Which rounds (r,) of one case may count: not those that are fast by an order of magnitude among all others.

    A disturbed round is slow; one that is so fast was cut off, or is in another unit. A low quantile would be it.
    """
    fast: npt.NDArray[np.bool_] = seconds < np.median(seconds) / TOO_FAST
    return ~fast


def visit(prepared: Prepared) -> float:
    """Seconds a call, now: the fastest of a few short blocks, after one call that brings its data near.

    A block is shorter than a time slice of the scheduler, so that on a contended machine some block runs alone.
    """
    first = prepared.seconds(1)
    calls = max(1, int(BLOCK_SECONDS / max(first, 1e-9)))
    blocks, spent = [prepared.seconds(calls) / calls], first
    while len(blocks) < BLOCKS and spent + calls * blocks[-1] < VISIT_SECONDS:
        blocks.append(prepared.seconds(calls) / calls)
        spent += calls * blocks[-1]
    return min(blocks)


def warm_up(prepared: Prepared, clock: Clock, tolerance: float = 0.05, at_most: float = 0.25) -> float:
    """Run until times stop falling, `at_most` seconds long; returns the last seconds a call.

    Allocation, lazy initialisation and frequency all make early calls slow, by amounts no constant count knows.
    """
    start, blocks = clock.now(), [prepared.seconds(1)]
    while len(blocks) < 6 or min(blocks[-3:]) < (1 - tolerance) * min(blocks[-6:-3]):
        if clock.now() - start > at_most and len(blocks) >= 2:
            break
        calls = max(1, int(BLOCK_SECONDS / 2 / max(blocks[-1], 1e-9)))
        blocks.append(prepared.seconds(calls) / calls)
    return min(blocks[-3:])


def settled(seconds: Sequence[float], sentinels: Sequence[float], baseline: float, tolerance: float) -> bool:
    """Whether more rounds would hardly move the low quantile: the three fastest quiet rounds agree."""
    ratios = np.asarray(sentinels, dtype=np.float64) / baseline
    fastest = np.sort(np.asarray(seconds, dtype=np.float64)[ratios <= SLOW_SENTINEL])[:LEAST_KEPT]
    return len(fastest) == LEAST_KEPT and bool(fastest[-1] / fastest[0] - 1 <= tolerance)


def repeat_error(
    seconds: Sequence[float], sentinels: Sequence[float], baseline: float, levels: Sequence[float]
) -> float:
    """How far two measurements of half the rounds each disagree, relatively: |log(a / b)|."""
    halves = [summarise(seconds[i::2], sentinels[i::2], baseline, levels[i::2]).seconds_p10 for i in (0, 1)]
    return float(abs(np.log(halves[0] / halves[1])))
