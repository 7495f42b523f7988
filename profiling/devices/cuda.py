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
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib import metadata
from typing import TYPE_CHECKING, Any

from distilsearch.errors import DeviceError
from distilsearch.operators import TORCH, Serving

from ..device import Costs, Facts, Prepared, Probe, Regime, Unsupported, Work
from ..runtimes import runtime_of
from .cuda_clocks import Clocks, ColdReplay, GraphReplay, HostLoop, TorchClocks, raise_where_full

if TYPE_CHECKING:
    from ..work import Job

DTYPES = ("float32", "bfloat16", "float16")
PEAK_SHAPES = ((1024, 1024, 4096), (4096, 4096, 4096), (2048, 8192, 8192))
COPY_ELEMENTS = 1 << 26
SENTINEL_SIZE = 1024
SHORT_SECONDS, UNROLLED = 1e-4, 16  # what is shorter is captured so often: starting a graph must not be timed
MULTIPROCESSORS, CAPABILITY_MAJOR, CAPABILITY_MINOR = 16, 75, 76  # of CUdevice_attribute


class CudaDevice:
    """The first GPU that is visible."""

    name = "cuda"
    cache = "hot"

    def __init__(self, driver: Callable[[], Facts] | None = None, clocks: Clocks | None = None) -> None:
        self._facts = dict((driver or driver_facts)())
        self._driver = self._facts.pop("driver")
        self.clocks = clocks or TorchClocks()

    def facts(self) -> Facts:
        """Model, compute capability, multiprocessors, memory."""
        return {"kind": "cuda", **self._facts}

    def stack(self) -> Facts:
        """Versions of torch and transformers, and the CUDA version of the driver."""
        versions = {name: metadata.version(name) for name in ("torch", "transformers")}
        return {**versions, "driver": self._driver, "python": ".".join(platform.python_version_tuple()[:2])}

    def regime(self, serving: Serving) -> Regime:
        """The regime that `serving` means here; threads are the processor's and therefore 0."""
        runtime_of(serving, self.name, DTYPES)
        if serving.threads is not None:
            raise DeviceError(f"a GPU has no threads to choose; serving asks for {serving.threads}: leave threads out")
        if self.cache == "cold" and (serving.mode, serving.runtime) != ("graph", TORCH):
            raise DeviceError("with cold caches only the device's own clock is read; expected mode graph")
        return Regime(serving.dtype, serving.mode, 0, self.cache, serving.runtime)

    def servings(self, serving: Serving) -> tuple[Serving, ...]:
        """Torch's eager serving is timed by both clocks, with cold caches by that of the device."""
        if serving.runtime != TORCH:
            return (serving,)
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

        with torch.inference_mode(), torch.random.fork_rng(devices=[0]):
            torch.manual_seed(0)
            yield

    def prepare(self, work: Work, serving: Serving) -> Prepared:
        """What the runtime makes of the work, with random weights and inputs on the GPU."""
        try:
            return runtime_of(serving, self.name, DTYPES).prepare(work, self, serving)
        except RuntimeError as error:
            raise_where_full(error)
            raise

    def job(self, work: Work, serving: Serving) -> "Job":
        """The work with weights and inputs on the GPU."""
        from .. import work as jobs

        return jobs.job_of(work, serving, self.name, lambda probe: jobs.probe_job(probe, PEAK_SHAPES, self.name))

    def timed(self, job: "Job") -> Prepared:
        """Calls on the host's clock."""
        return HostLoop(self.clocks, job.call)

    def replayed(self, job: "Job", whole: bool) -> Prepared:
        """A captured call on the device's clock; `Unsupported` where it cannot be captured.

        A whole model is launched by itself, as it is served; an operator may be captured several times.
        """
        replay = self._captured(job.call)
        if self.cache == "cold":
            return ColdReplay(self.clocks, replay, job.call)
        once = GraphReplay(self.clocks, replay, job.call)
        return once if whole or self._lasts(once) else self._unrolled(job.call)

    def _lasts(self, once: GraphReplay) -> bool:
        once.seconds(1)
        return once.seconds(UNROLLED) > UNROLLED * SHORT_SECONDS

    def _unrolled(self, call: Callable[[], Any]) -> GraphReplay:
        def several() -> None:
            for _ in range(UNROLLED):
                call()

        return GraphReplay(self.clocks, self._captured(several), several, UNROLLED)

    def _captured(self, call: Callable[[], Any]) -> Callable[[], Any]:
        try:
            return self.clocks.capture(call)
        except RuntimeError as error:
            raise_where_full(error)
            self._check_alive()
            raise Unsupported(f"cannot be captured as a CUDA graph: {error}") from error

    def _check_alive(self) -> None:
        """After some errors a GPU does nothing any more in this process: that is no finding about one case."""
        try:
            self.clocks.synchronize()
        except RuntimeError as error:
            raise DeviceError(f"the GPU has stopped working in this process: {error}") from error

    def sentinel(self, serving: Serving) -> Prepared:
        """A square float32 product, under the device's clock whatever the serving: one baseline serves both modes."""
        import torch

        a = torch.randn(SENTINEL_SIZE, SENTINEL_SIZE).to("cuda")

        def product() -> Any:
            return a @ a

        return GraphReplay(self.clocks, self._captured(product), product)

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
