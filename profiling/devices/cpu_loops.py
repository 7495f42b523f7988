"""How work is timed on a CPU: back to back, or call by call with other data in the caches."""

import contextlib
import functools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CACHES_FOLDER = Path("/sys/devices/system/cpu")
CACHE_BYTES = 32 << 20  # where the system does not tell
EVICTED = 3  # times the last-level caches are read through: replacement is not in order of use
COLD_CALLS = 2  # at once: emptying the caches takes milliseconds


class Loop:
    """A callable that has finished when it returns."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call

    def seconds(self, calls: int) -> float:
        """Seconds of `calls` calls together."""
        call, start = self.call, time.perf_counter()
        for _ in range(calls):
            call()
        return time.perf_counter() - start


class ColdLoop:
    """A callable that has finished when it returns, timed call by call with other data in the caches."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call, self.evict = call, _evictor()

    def seconds(self, calls: int) -> float:
        """Seconds of `calls` calls together, found from a few of them."""
        spent, timed = 0.0, min(calls, COLD_CALLS)
        for _ in range(timed):
            self.evict()
            start = time.perf_counter()
            self.call()
            spent += time.perf_counter() - start
        return spent * calls / timed


@functools.cache
def _evictor() -> Callable[[], Any]:
    """Reads more memory than the last-level caches hold, on all threads; nothing is left to write back."""
    import torch

    return torch.ones(EVICTED * last_level_bytes() // 4).sum


def last_level_bytes() -> int:
    """The last-level caches of the processors that we may use, together."""
    sizes: dict[str, int] = {}
    for core in os.sched_getaffinity(0):
        with contextlib.suppress(OSError, IndexError, ValueError):
            last = sorted((CACHES_FOLDER / f"cpu{core}/cache").glob("index*"))[-1]
            size = (last / "size").read_text().strip()
            sizes[(last / "shared_cpu_list").read_text()] = int(size.rstrip("KM")) << (20 if size.endswith("M") else 10)
    return sum(sizes.values()) or CACHE_BYTES
