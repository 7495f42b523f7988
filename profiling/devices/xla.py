"""XLA through PJRT: a TPU, or XLA's own CPU compiler (`PJRT_DEVICE=CPU`).

Times are those of the device with the compiled program at hand; tracing by the host is not in them. XLA compiles
whatever it runs, so there is one mode, and threads are not the caller's to choose. Facts come from the system's own
files and package metadata, so that finding a table loads no torch.
"""

import contextlib
import importlib.util
import os
import platform
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from distilsearch.errors import DeviceError
from distilsearch.operators import Operator, Serving

from ..device import Costs, Facts, Prepared, Probe, Regime, Work
from ..runtimes import runtime_of
from .cpu import CpuDevice

if TYPE_CHECKING:
    from ..work import Job, Shape

PLATFORM = "PJRT_DEVICE"
PLATFORMS = ("TPU", "CPU")
GOOGLE_PCI = "0x1ae0"
TPU_PCI = {"0x0027": "v2/v3", "0x005e": "v4", "0x0063": "v5e", "0x0062": "v5p", "0x006f": "v6e", "0x0076": "7x"}
DTYPES = ("float32", "bfloat16")
FLAGS = ("XLA_FLAGS", "LIBTPU_INIT_ARGS")
SET_BY_TORCH_XLA = (
    "--xla_cpu_enable_fast_math=false",
    "--xla_tpu_use_enhanced_launch_barrier=false",
    "--xla_latency_hiding_scheduler_rerun=1",
    "--xla_tpu_prefer_async_allgather_to_allreduce=true",
    "--xla_tpu_enable_flash_attention=false",
    "--xla_enable_async_all_gather=true",
    "--xla_enable_async_collective_permute=true",
)
PEAK_SHAPES: dict[str, tuple["Shape", ...]] = {
    "CPU": ((128, 256, 1024), (256, 512, 512), (512, 768, 768)),
    "TPU": ((1024, 1024, 4096), (4096, 4096, 4096), (2048, 8192, 8192)),
}
COPY_ELEMENTS = {"CPU": 1 << 19, "TPU": 1 << 26}
LAUNCH_ELEMENTS = 1 << 10  # XLA:CPU melts loops over fewer bytes into one kernel
SENTINEL_SIZE = {"CPU": 256, "TPU": 1024}


class XlaDevice:
    """The first device of the PJRT client."""

    name = "xla"

    def __init__(self) -> None:
        if importlib.util.find_spec("torch_xla") is None:
            raise DeviceError("torch_xla is not installed")
        self.platform = os.environ.get(PLATFORM, "TPU" if tpu_chips() else "")
        if not self.platform:
            raise DeviceError(f"there is no TPU; set {PLATFORM}=CPU for XLA on the processor")
        if self.platform not in PLATFORMS:
            raise DeviceError(f"expected {PLATFORM} to be one of {', '.join(PLATFORMS)}; got {self.platform!r}")

    def facts(self) -> Facts:
        """The processor as the cpu tells it, or the kind and number of TPU chips."""
        if self.platform == "CPU":
            return {**CpuDevice().facts(), "kind": "xla-cpu"}
        chips = tpu_chips()
        kind = os.environ.get("TPU_ACCELERATOR_TYPE", "")
        return {"kind": "xla-tpu", "model": sorted(set(chips)), "chips": len(chips), "type": kind}

    def stack(self) -> Facts:
        """Versions of torch, torch_xla and what is below it, and the flags of the compiler."""
        names = ("torch", "torch_xla", "transformers", *(("libtpu",) if self.platform == "TPU" else ()))
        flags = {name: _own_flags(os.environ.get(name, "")) for name in FLAGS}
        python = ".".join(platform.python_version_tuple()[:2])
        return {**{name: metadata.version(name) for name in names}, "python": python, "flags": flags}

    def regime(self, serving: Serving) -> Regime:
        """The regime that `serving` means here; on a TPU the number of threads is 0."""
        if serving.mode != "eager":
            raise DeviceError(f"xla compiles whatever it runs and has no mode {serving.mode!r}: leave mode out")
        runtime_of(serving, self.name, DTYPES)
        own = 0 if self.platform == "TPU" else int(os.environ.get("NPROC", 0)) or len(os.sched_getaffinity(0))
        if serving.threads not in (None, own):
            raise DeviceError(
                f"xla chooses its threads itself, here {own or 'none'}; serving asks for {serving.threads}: leave"
                " threads out"
            )
        return Regime(serving.dtype, serving.mode, own, runtime=serving.runtime)

    def servings(self, serving: Serving) -> tuple[Serving, ...]:
        """The serving itself."""
        return (serving,)

    def cold(self) -> "XlaDevice":
        """Not there: work repeats inside one graph, where nothing can empty the caches."""
        raise DeviceError("xla times work in a loop inside one graph and has no cold cache; leave cache out")

    def costs(self, serving: Serving) -> Costs:
        """Everything is compiled, and a slope takes milliseconds however short the work."""
        return Costs(prepare_seconds=0.3, visit_seconds=0.08)

    @contextlib.contextmanager
    def session(self, serving: Serving) -> Iterator[None]:
        """No gradients; the caller's random state comes back after."""
        os.environ.setdefault(PLATFORM, self.platform)
        import torch
        import torch_xla  # noqa: F401  (registers the device)

        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            yield

    def prepare(self, work: Work, serving: Serving) -> Prepared:
        """What the runtime makes of the work; `Unsupported` where an operator would fall back to the host."""
        try:
            return runtime_of(serving, self.name, DTYPES).prepare(work, self, serving)
        except RuntimeError as error:
            if "RESOURCE_EXHAUSTED" in str(error) or "allocate" in str(error):
                raise MemoryError(str(error)) from error
            raise

    def job(self, work: Work, serving: Serving) -> "Job":
        """The work with weights and inputs on the device."""
        from .. import work as jobs

        return jobs.job_of(work, serving, self.name, self._probe_job)

    def _probe_job(self, probe: Probe) -> "Job":
        from .. import work as jobs

        if probe.name == "peak":
            return jobs.probe_job(probe, PEAK_SHAPES[self.platform], self.name)
        elements = COPY_ELEMENTS[self.platform] if probe.name == "bandwidth" else LAUNCH_ELEMENTS
        return jobs.sum_job(elements, self.name)

    def timed(self, job: "Job") -> Prepared:
        """A job traced and compiled in a loop."""
        import torch_xla

        from .xla_loop import XlaLoop

        return XlaLoop(job, torch_xla.device())

    def sentinel(self, serving: Serving) -> Prepared:
        """A square float32 product."""
        n = SENTINEL_SIZE[self.platform]
        square: dict[str, int | str] = {"batch": 1, "sequence": n, "inputs": n, "outputs": n, "bias": 0}
        return self.prepare(Operator("linear", {**square, "activation": "none"}), Serving())

    def probes(self, serving: Serving) -> tuple[Probe, ...]:
        """Products of several shapes, of which the best counts, a pass over memory, the smallest kernel."""
        shapes, copied = PEAK_SHAPES[self.platform], COPY_ELEMENTS[self.platform]
        peaks = [Probe("peak", serving.dtype, flops=2 * m * k * n) for m, k, n in shapes]
        return (*peaks, Probe("bandwidth", serving.dtype, bytes=8 * copied), Probe("launch", serving.dtype))

    def conditions(self) -> Mapping[str, float]:
        """Those of the processor."""
        return CpuDevice().conditions()


def tpu_chips() -> list[str]:
    """The generation of each TPU chip on the PCI bus."""
    chips = []
    for vendor in sorted(Path("/sys/bus/pci/devices").glob("*/vendor")):
        with contextlib.suppress(OSError):
            if vendor.read_text().strip() == GOOGLE_PCI:
                chips.append(TPU_PCI.get(vendor.with_name("device").read_text().strip(), ""))
    return [kind for kind in chips if kind]


def _own_flags(value: str) -> list[str]:
    """The flags that a user set; torch_xla adds its defaults to the environment when it is imported."""
    return sorted(flag for flag in value.split() if flag not in SET_BY_TORCH_XLA)
