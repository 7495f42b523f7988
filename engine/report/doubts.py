"""Which of a latency's figures are to be believed: how far a measurement and a prediction may be off, and their words.

Notable: of a calm machine what was measured stands. Of a disturbed one it stands in one digit, and where the prediction
is surer than that the prediction stands instead of it.

Notation
    slowness   how many times slower than when quiet the machine ran meanwhile, by its sentinel
    repeated   the factor, 1 or more, between the two closest sessions of a measurement
    off        the factor, 1 or more, by which usual requests, long ones and the mean of all contradict each other
    doubt      the factor, 1 or more, by which a figure may be off: of a measurement the largest of slowness, repeated
               and off, of a prediction half its 90 % interval in log space, sqrt(upper / lower)
"""

import math

from .schema import Latency
from .words import milliseconds, roughly

CALM = 1.5  # slowness up to which a machine's figures count
AGREED = 1.1  # the factor up to which two sessions of the same measurement agree


def ms_of(latency: Latency) -> float | None:
    """What is known best of a latency: measured, else predicted."""
    return latency.predicted if latency.measured is None else latency.measured


def disturbed(latency: Latency) -> bool:
    """Whether a measurement is known to be off.

    The machine was busy, another session came to something else, or figures of requests contradict each other.
    """
    busy = (latency.slowness or 1.0) > CALM or (latency.repeated or 1.0) > AGREED
    return bool(latency.measured) and (busy or contradicting(latency, "measured"))


def quantiles(latency: Latency, kind: str) -> tuple[float, float] | None:
    """What requests of the median length and of the 99th percentile take, "measured" or "predicted".

    None where nobody knows, or where the figures contradict each other.
    """
    p50, p99 = getattr(latency, f"{kind}_p50"), getattr(latency, f"{kind}_p99")
    return None if p50 is None or p99 is None else (p50, p99)


def contradicting(latency: Latency, kind: str) -> bool:
    """Whether figures of requests were left out since they cannot be true, as "measured" or "predicted"."""
    return kind in latency.left_out


def measured_doubt(latency: Latency) -> float:
    """By which factor a measurement may be off; 1 where nothing speaks against it."""
    off = latency.left_out["measured"].off if contradicting(latency, "measured") else 1.0
    return max(latency.slowness or 1.0, latency.repeated or 1.0, off)


def predicted_doubt(latency: Latency) -> float:
    """By which factor a prediction may be off; infinite where it has no interval."""
    if not latency.predicted or not latency.lower or not latency.upper:
        return math.inf
    return math.sqrt(max(1.0, latency.upper / latency.lower))


def surer_foretold(*latencies: Latency) -> bool:
    """Whether of all of these, one of them measured on a disturbed machine, the predictions are surer.

    Who disturbs a machine makes it slower: where something was measured below its interval, the prediction is refuted.
    """
    refuted = any(one.measured and one.lower and one.measured < one.lower for one in latencies)
    if refuted or not any(map(disturbed, latencies)):
        return False
    return max(map(predicted_doubt, latencies)) < max(map(measured_doubt, latencies))


def measured_words(latency: Latency) -> str:
    """A measured latency in as many digits as are known, such as "3.10" or "≈3"."""
    return roughly(latency.measured) if latency.measured and disturbed(latency) else milliseconds(latency.measured)


def first_words(latency: Latency) -> str:
    """The measurement at the trial, beside the one side by side with the front; "" where there was one alone."""
    first = latency.measured_first
    return f"{milliseconds(first)} at its trial" if first and first != latency.measured else ""


def source_words(latency: Latency) -> str:
    """Where `best_words` come from, such as "measured, 2.54 at its trial"."""
    if surer_foretold(latency):
        return f"predicted; {measured_words(latency)} ms measured on a disturbed machine"
    first = f", {words}" if (words := first_words(latency)) else ""
    return f"{'measured' if latency.measured else 'predicted'}{first}"


def best_words(latency: Latency) -> str:
    """What is known best of a latency, in as many digits as are known; "~" before what was predicted in its stead."""
    if surer_foretold(latency):
        return f"~{milliseconds(latency.predicted)}"
    return measured_words(latency) if latency.measured else milliseconds(latency.predicted)
