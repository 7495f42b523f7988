"""How work is timed on an NVIDIA GPU: replays between events, with other data in the L2 or not, or host calls."""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

WARM_CALLS = 3
FLUSHED = 4  # times the L2 is read through; long enough for the host to issue what comes after
COLD_CALLS = 8  # at once: flushing takes longer than most calls


class Clocks(Protocol):
    """What timing needs of CUDA; torch's by default, a fake in tests."""

    def capture(self, call: Callable[[], Any]) -> Callable[[], Any]:
        """A replay of what the call issues."""
        ...

    def between_events(self, call: Callable[[], Any], times: int) -> float:
        """Device seconds of so many calls."""
        ...

    def between_flushes(self, call: Callable[[], Any], times: int) -> float:
        """Device seconds of so many calls, the L2 emptied before each; emptying it is not counted."""
        ...

    def synchronize(self) -> None:
        """Wait until the device is done."""
        ...

    def now(self) -> float:
        """The host's clock, seconds."""
        ...


class TorchClocks:
    """torch.cuda."""

    def capture(self, call: Callable[[], Any]) -> Callable[[], Any]:
        """A replay of what the call issues, after calls on a side stream that settle allocations."""
        import torch

        side = torch.cuda.Stream()  # type: ignore[no-untyped-call, unused-ignore]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_CALLS):
                call()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            call()
        replay: Callable[[], Any] = graph.replay
        return replay

    def between_events(self, call: Callable[[], Any], times: int) -> float:
        """Device seconds of so many calls."""
        import torch

        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call, unused-ignore]
        start.record()
        for _ in range(times):
            call()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) * 1e-3

    def between_flushes(self, call: Callable[[], Any], times: int) -> float:
        """Device seconds of so many calls, the L2 emptied before each; emptying it is not counted."""
        import torch

        events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(times)]  # type: ignore[no-untyped-call, unused-ignore]
        for start, end in events:
            self._other.sum()  # only read, so that nothing is left to write back
            start.record()
            call()
            end.record()
        torch.cuda.synchronize()
        return sum(float(start.elapsed_time(end)) for start, end in events) * 1e-3

    @functools.cached_property
    def _other(self) -> "torch.Tensor":
        """Data that fills the L2 several times."""
        import torch

        return torch.ones(FLUSHED * torch.cuda.get_device_properties(0).L2_cache_size // 4, device="cuda")

    def synchronize(self) -> None:
        """Wait until the device is done."""
        import torch

        torch.cuda.synchronize()

    def now(self) -> float:
        """The host's clock, seconds."""
        return time.perf_counter()


@dataclass
class GraphReplay:
    """A captured call, timed by the device's events."""

    clocks: Clocks
    replay: Callable[[], Any]

    def seconds(self, calls: int) -> float:
        """Device seconds of `calls` replays."""
        return self.clocks.between_events(self.replay, calls)


@dataclass
class ColdReplay:
    """A captured call, timed by the device's events with other data in the L2."""

    clocks: Clocks
    replay: Callable[[], Any]

    def seconds(self, calls: int) -> float:
        """Device seconds of `calls` replays, found from a few of them."""
        timed = min(calls, COLD_CALLS)
        return self.clocks.between_flushes(self.replay, timed) * calls / timed


@dataclass
class HostLoop:
    """Calls issued one by one, timed by the host until the device is done."""

    clocks: Clocks
    call: Callable[[], Any]

    def seconds(self, calls: int) -> float:
        """Wall-clock seconds of `calls` calls."""
        call = self.call
        self.clocks.synchronize()
        start = self.clocks.now()
        for _ in range(calls):
            call()
        self.clocks.synchronize()
        return self.clocks.now() - start
