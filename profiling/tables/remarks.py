"""What of a table looks wrong as a whole, in words: figures no machine has (mostly a unit), and a busy machine.

A table of which every row is wrong by the same thousand agrees with itself, and no fit can notice. What machines can
do at all tells: the slowest that run such models reach some GFLOP/s, and none moves less than some megabytes a second.
"""

import math
from collections.abc import Iterator

from .table import LatencyTable

LEAST_PEAK, MOST_PEAK = 0.5e9, 5e16  # FLOP/s
LEAST_BANDWIDTH, MOST_BANDWIDTH = 0.1e9, 1e14  # bytes/s
LEAST_LAUNCH, MOST_LAUNCH = 1e-9, 1e-2  # seconds
MOST_ADDED = 30.0  # times that models take the sum of their operators, either way
UNIT = "is a unit wrong by a factor of 1,000?"


def remarks(table: LatencyTable) -> list[str]:
    """What a reader should doubt of a table; empty where nothing stands out."""
    return [*_remarks(table), *filter(None, [busy(table)])]


def busy(table: LatencyTable) -> str:
    """How much of a table a busy machine has spoilt, in words; empty where nothing."""
    rows = [row.measured for row in table.operators] + [row.measured for row in table.models]
    rows = [row for row in rows if row.usable]
    ratios = [row.sentinel_ratio for row in rows if row.disturbed]
    if not ratios:
        return ""
    return (
        f"{len(ratios)} of {len(rows)} rows were timed while others used the machine (its sentinel up to"
        f" {max(ratios):.1f} times slow); they are left out of predictions where calm ones are there, and timed again"
        " by the next profile or search on a quiet machine"
    )


def _remarks(table: LatencyTable) -> Iterator[str]:
    meta = table.meta
    for dtype, peak in meta.peak_flops.items():
        if not LEAST_PEAK <= peak <= MOST_PEAK:
            yield f"a peak of {peak / 1e9:.3g} GFLOP/s in {dtype} is that of no machine that runs such models: {UNIT}"
    if math.isfinite(meta.bandwidth) and not LEAST_BANDWIDTH <= meta.bandwidth <= MOST_BANDWIDTH:
        yield f"a bandwidth of {meta.bandwidth / 1e9:.3g} GB/s is that of no machine that runs such models: {UNIT}"
    launch = meta.launch_floor_seconds
    if math.isfinite(launch) and not LEAST_LAUNCH <= launch <= MOST_LAUNCH:
        yield f"{launch:.3g} s to launch the smallest operator is that of no machine: {UNIT}"
    sums = 1 + meta.additivity_error
    if math.isfinite(sums) and not 1 / MOST_ADDED <= sums <= MOST_ADDED:
        yield f"whole models take {sums:.3g} x the sum of their operators: is one of the two in another unit?"
