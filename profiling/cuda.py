"""An NVIDIA GPU, timed by two clocks.

| mode | what is timed | what it means |
| --- | --- | --- |
| `graph` | replays of a captured CUDA graph, between two events | the device alone |
| `eager` | back-to-back calls on the host's clock until the device is done | whichever of host and device is slower |

Who asks for `eager` gets rows of both. Cold rows are of the device alone: before each replay the L2 is read full of
other data, which the host issues ahead and no event counts. Facts come from the driver through ctypes, so that
finding a table loads no torch.
"""

import contextlib
import copy
import ctypes
import functools
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from typing import TYPE_CHECKING, Any, Protocol

from distilsearch.architecture import Architecture
from distilsearch.errors import DeviceError
from distilsearch.operators import Operator, Serving

from .device import Costs, Facts, Prepared, Probe, Regime, Unsupported, Work

if TYPE_CHECKING:
    import torch

    from .work import Job

DTYPES = ("float32", "bfloat16", "float16")
MODES = ("eager", "graph")
PEAK_SHAPES = ((1024, 1024, 4096), (4096, 4096, 4096), (2048, 8192, 8192))
COPY_ELEMENTS = 1 << 26
SENTINEL_SIZE = 1024
WARM_CALLS = 3
FLUSHED = 4  # times the L2 is read through; long enough for the host to issue what comes after
COLD_CALLS = 8  # at once: flushing takes longer than most calls
MULTIPROCESSORS, CAPABILITY_MAJOR, CAPABILITY_MINOR = 16, 75, 76  # of CUdevice_attribute


class Runtime(Protocol):
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


class TorchRuntime:
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

    runtime: Runtime
    replay: Callable[[], Any]

    def seconds(self, calls: int) -> float:
        """Device seconds of `calls` replays."""
        return self.runtime.between_events(self.replay, calls)


@dataclass
class ColdReplay:
    """A captured call, timed by the device's events with other data in the L2."""

    runtime: Runtime
    replay: Callable[[], Any]

    def seconds(self, calls: int) -> float:
        """Device seconds of `calls` replays, found from a few of them."""
        timed = min(calls, COLD_CALLS)
        return self.runtime.between_flushes(self.replay, timed) * calls / timed


@dataclass
class HostLoop:
    """Calls issued one by one, timed by the host until the device is done."""

    runtime: Runtime
    call: Callable[[], Any]

    def seconds(self, calls: int) -> float:
        """Wall-clock seconds of `calls` calls."""
        call = self.call
        self.runtime.synchronize()
        start = self.runtime.now()
        for _ in range(calls):
            call()
        self.runtime.synchronize()
        return self.runtime.now() - start


class CudaDevice:
    """The first GPU that is visible."""

    name = "cuda"
    cache = "hot"

    def __init__(self, driver: Callable[[], Facts] | None = None, runtime: Runtime | None = None) -> None:
        self._facts = dict((driver or driver_facts)())
        self._driver = self._facts.pop("driver")
        self.runtime = runtime or TorchRuntime()

    def facts(self) -> Facts:
        """Model, compute capability, multiprocessors, memory."""
        return {"kind": "cuda", **self._facts}

    def stack(self) -> Facts:
        """Versions of torch and transformers (torch's names its CUDA), and of the driver."""
        versions = {name: metadata.version(name) for name in ("torch", "transformers")}
        return {**versions, "driver": self._driver, "python": ".".join(platform.python_version_tuple()[:2])}

    def regime(self, serving: Serving) -> Regime:
        """The regime that `serving` means here; threads are the processor's and therefore 0."""
        if serving.dtype not in DTYPES or serving.mode not in MODES:
            known = f"{' or '.join(DTYPES)} and mode {' or '.join(MODES)}"
            raise DeviceError(f"cuda serves {known}; got dtype {serving.dtype!r} and mode {serving.mode!r}")
        if serving.threads is not None:
            raise DeviceError(f"a GPU has no threads to choose; serving asks for {serving.threads}: leave threads out")
        if self.cache == "cold" and serving.mode != "graph":
            raise DeviceError("with cold caches only the device's own clock is read; expected mode graph")
        return Regime(serving.dtype, serving.mode, 0, self.cache)

    def servings(self, serving: Serving) -> tuple[Serving, ...]:
        """An eager serving is timed by both clocks, with cold caches by that of the device."""
        if self.cache == "cold":
            return (replace(serving, mode="graph"),)
        return (serving, replace(serving, mode="graph")) if serving.mode == "eager" else (serving,)

    def cold(self) -> "CudaDevice":
        """This GPU, its L2 emptied before each call."""
        other = copy.copy(self)
        other.cache = "cold"
        return other

    def costs(self, serving: Serving) -> Costs:
        """Those of any case; flushing takes less than a millisecond a call."""
        return Costs(visit_seconds=0.03) if self.cache == "cold" else Costs()

    @contextlib.contextmanager
    def session(self, serving: Serving) -> Iterator[None]:
        """Inference mode; the caller's random state comes back after."""
        import torch

        with torch.inference_mode(), torch.random.fork_rng():
            torch.manual_seed(0)
            yield

    def prepare(self, work: Work, serving: Serving) -> Prepared:
        """Build the work on the GPU with random weights and inputs; capture it where the serving says so."""
        import torch

        try:
            return self.timed(self._job(work, serving).call, serving.mode)
        except torch.OutOfMemoryError as error:
            raise MemoryError(str(error)) from error

    def timed(self, call: Callable[[], Any], mode: str) -> Prepared:
        """A call under the clock of a mode; `Unsupported` where it cannot be captured."""
        if mode == "eager":
            return HostLoop(self.runtime, call)
        return (ColdReplay if self.cache == "cold" else GraphReplay)(self.runtime, self._captured(call))

    def _captured(self, call: Callable[[], Any]) -> Callable[[], Any]:
        try:
            return self.runtime.capture(call)
        except MemoryError:
            raise
        except RuntimeError as error:
            if "out of memory" in str(error):
                raise MemoryError(str(error)) from error
            raise Unsupported(f"cannot be captured as a CUDA graph: {error}") from error

    def _job(self, work: Work, serving: Serving) -> "Job":
        from . import work as jobs

        if isinstance(work, Operator):
            return jobs.operator_job(work, serving.dtype, "cuda")
        if isinstance(work, Architecture):
            return jobs.model_job(work, serving, "cuda")
        return jobs.probe_job(work, PEAK_SHAPES, "cuda")

    def sentinel(self, serving: Serving) -> Prepared:
        """A square float32 product, under the device's clock whatever the serving: one baseline serves both modes."""
        import torch

        a = torch.randn(SENTINEL_SIZE, SENTINEL_SIZE, device="cuda")
        return GraphReplay(self.runtime, self._captured(lambda: a @ a))

    def probes(self, serving: Serving) -> tuple[Probe, ...]:
        """Products of several shapes, of which the best counts, a copy past the caches, the smallest kernel."""
        peaks = [Probe("peak", serving.dtype, flops=2 * m * k * n) for m, k, n in PEAK_SHAPES]
        copy = Probe("bandwidth", serving.dtype, bytes=8 * COPY_ELEMENTS)
        return (*peaks, copy, Probe("launch", serving.dtype))

    def conditions(self) -> Mapping[str, float]:
        """Nothing: the driver's clocks are not read between rounds."""
        return {}


def driver_facts() -> Facts:
    """What the CUDA driver says of its first device; `DeviceError` where there is none."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise DeviceError("there is no NVIDIA driver") from error
    device, name, memory, driver = ctypes.c_int(), ctypes.create_string_buffer(128), ctypes.c_size_t(), ctypes.c_int()
    asked: list[Callable[[], int]] = [
        lambda: cuda.cuInit(0),
        lambda: cuda.cuDeviceGet(ctypes.byref(device), 0),
        lambda: cuda.cuDeviceGetName(name, len(name), device),
        lambda: cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device),
        lambda: cuda.cuDriverGetVersion(ctypes.byref(driver)),
    ]
    for ask in asked:
        if status := ask():
            raise DeviceError(f"the NVIDIA driver finds no device (status {status})")

    def attribute(number: int) -> int:
        value = ctypes.c_int()
        cuda.cuDeviceGetAttribute(ctypes.byref(value), number, device)
        return value.value

    return {
        "model": name.value.decode(),
        "compute_capability": f"{attribute(CAPABILITY_MAJOR)}.{attribute(CAPABILITY_MINOR)}",
        "multiprocessors": attribute(MULTIPROCESSORS),
        "memory_gib": round(memory.value / 2**30),
        "driver": driver.value,
    }
