"""Is the machine quiet enough to be timed now? If not, wait for it: with a word, and not for ever.

What is timed on a busy machine is no latency of it. A sentinel that runs without a pause for a third of a second tells:
its mean, over the fastest it has ever been, is how many times slower whoever needs the cores gets on.
"""

import math
import os
from collections.abc import Mapping
from statistics import fmean

import numpy as np

from distilsearch.errors import InputError
from distilsearch.operators import Serving
from distilsearch.progress import Progress, silent

from ..clock import Clock, warm_up
from ..device import Device

BUSY = 2.0  # times slower than at its best: from here on a sentinel tells of waiting for a core
WATCH_SECONDS = 0.3
POLL_SECONDS = 2.0
PATIENCE, PATIENCE_SECONDS = "DISTILSEARCH_PATIENCE", 30.0  # a variable of the environment, and its default
PATIENT_SHARE = 0.1  # of a budget
LEAST_BUDGET_SECONDS = 5.0  # below it there is no time to ask


def patience_seconds() -> float:
    """How long a quieter machine is waited for at most, as the environment says.

    Raises:
        InputError: it says no number of seconds.
    """
    said = os.environ.get(PATIENCE, str(PATIENCE_SECONDS))
    try:
        seconds = float(said)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise InputError(f"expected seconds of 0 and more in {PATIENCE}; got {said!r}")
    return seconds


def slowness(device: Device, serving: Serving, clock: Clock, known: Mapping[str, float]) -> float:
    """How many times slower than at its best the machine is now.

    Args:
        known: the undisturbed sentinel by number of threads, from earlier sessions; may lack this one.
    """
    with device.session(serving):
        sentinel = device.sentinel(serving)
        warm_up(sentinel, clock)
        start, seconds = clock.now(), [sentinel.seconds(1)]
        while clock.now() - start < WATCH_SECONDS:
            seconds.append(sentinel.seconds(1))
    best = min(known.get(str(device.regime(serving).threads), math.inf), float(np.quantile(seconds, 0.1)))
    return fmean(seconds) / best


def await_quiet(
    device: Device,
    serving: Serving,
    clock: Clock,
    known: Mapping[str, float],
    patience: float,
    progress: Progress = silent,
) -> float:
    """Wait until the machine is quiet, `patience` seconds at most; returns how slow it is then."""
    start, now = clock.now(), slowness(device, serving, clock, known)
    words = f"waiting for a quieter machine ({now:.1f} times slower than at its best), at most {patience:.0f} s"
    while now >= BUSY and clock.now() - start < patience:
        progress(words, min(clock.now() - start, patience), patience)
        clock.sleep(min(POLL_SECONDS, patience))
        now = slowness(device, serving, clock, known)
        if now < BUSY or clock.now() - start >= patience:
            progress(words, patience, patience)
    if now >= BUSY:
        progress(f"the machine stays busy ({now:.1f} times slower): what is timed now says little of it", 0, 0)
    return now
