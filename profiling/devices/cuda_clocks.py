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
    """What timing needs of a CUDA runtime; torch's by default, a fake in tests."""

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

    _last: Any = None  # the last graph captured; a pool that no graph uses is gone

    @functools.cached_property
    def _pool(self) -> Any:
        import torch

        return torch.cuda.graph_pool_handle()  # type: ignore[no-untyped-call, unused-ignore]

    def capture(self, call: Callable[[], Any]) -> Callable[[], Any]:
        """A replay of what the call issues, after calls on a side stream that settle allocations.

        All graphs share one pool of memory: they never run at once, and nobody reads what they leave there.
        """
        import torch

        current = torch.cuda.current_stream()
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call, unused-ignore]
        side.wait_stream(current)
        with torch.cuda.stream(side):
            for _ in range(WARM_CALLS):
                call()
        current.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=self._pool):
                call()
        except RuntimeError:  # torch then leaves its stream of captures current, and the pool as if still in use
            torch.cuda.set_stream(current)
            del self._pool
            raise
        self._last = graph
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
    """A captured call, timed by the device's events.

    A graph knows its inputs and weights by address alone: `call` keeps them from being freed. `times` is how often
    the call was captured, one after the other: what it takes to start a graph (on an H100 1 of the 4 to 5 us that the
    graph of one short kernel takes) is no part of an operator within a model.
    """

    clocks: Clocks
    replay: Callable[[], Any]
    call: Callable[[], Any]
    times: int = 1

    def seconds(self, calls: int) -> float:
        """Device seconds of `calls` calls; of whole replays, as many as hold them."""
        replays = -(-calls // self.times)
        return self.clocks.between_events(self.replay, replays) * calls / (replays * self.times)


@dataclass
class ColdReplay:
    """A captured call, timed by the device's events with other data in the L2; `call` keeps its inputs."""

    clocks: Clocks
    replay: Callable[[], Any]
    call: Callable[[], Any]

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
        """Wall-clock seconds of `calls` calls; `MemoryError` where they do not fit."""
        call = self.call
        self.clocks.synchronize()
        start = self.clocks.now()
        try:
            for _ in range(calls):
                call()
            self.clocks.synchronize()
        except RuntimeError as error:
            raise_where_full(error)
            raise
        return self.clocks.now() - start


def raise_where_full(error: RuntimeError) -> None:
    """`MemoryError` for what the runtime says of memory that is full."""
    if "out of memory" in str(error):
        raise MemoryError(str(error)) from error
