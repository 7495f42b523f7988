"""The CPU of this machine: eager or compiled torch, float32 or bfloat16, with the threads that were asked for.

Facts come from the system's own files and package metadata, so that finding a table loads no torch.
"""

import contextlib
import copy
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from distilsearch.errors import DeviceError
from distilsearch.operators import Serving

from ..device import Costs, Facts, Prepared, Probe, Regime, Work
from ..runtimes import OwnSentinel, runtime_of
from .cpu_loops import ColdLoop, Loop

if TYPE_CHECKING:
    from ..work import Job

ISA_FLAGS = ("avx2", "fma", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_tile")
ARM_FLAGS = ("asimd", "asimddp", "bf16", "i8mm", "sve", "sve2")
STACK_VARIABLES = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_CBWR", "OMP_PROC_BIND", "KMP_AFFINITY")
DTYPES = ("float32", "bfloat16")
PEAK_SHAPES = ((128, 256, 1024), (256, 512, 512), (512, 768, 768))
COPY_ELEMENTS = 1 << 19
COLD_VISIT_SECONDS = 0.04
SENTINEL_SIZE, SENTINEL_LAYERS, SENTINEL_TOKENS = 512, 8, 32  # 8 MiB of weights


class CpuDevice:
    """The processor that this process may use."""

    name = "cpu"
    cache = "hot"

    def facts(self) -> Facts:
        """Model, usable cores, memory, instruction set."""
        info = _cpuinfo()
        flags = set(info.get("flags", info.get("Features", "")).split())
        names = ("model name", "cpu family", "model", "stepping", "CPU implementer", "CPU part")
        return {
            "kind": "cpu",
            "machine": platform.machine(),
            "model": {name: info[name] for name in names if name in info},
            "cores": len(os.sched_getaffinity(0)),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
            "isa": [flag for flag in (*ISA_FLAGS, *ARM_FLAGS) if flag in flags],
        }

    def stack(self) -> Facts:
        """Versions of what runs the kernels, and the variables that change which ones run."""
        versions = {name: metadata.version(name) for name in ("torch", "transformers")}
        flags = {name: os.environ[name] for name in STACK_VARIABLES if name in os.environ}
        return {**versions, "python": ".".join(platform.python_version_tuple()[:2]), "flags": flags}

    def regime(self, serving: Serving) -> Regime:
        """The regime that `serving` means here."""
        runtime_of(serving, self.name, DTYPES)
        cores = len(os.sched_getaffinity(0))
        threads = serving.threads or cores
        if threads > cores:
            raise DeviceError(f"serving asks for {threads} threads; this machine lets us use {cores}")
        return Regime(serving.dtype, serving.mode, threads, self.cache, serving.runtime)

    def servings(self, serving: Serving) -> tuple[Serving, ...]:
        """The serving itself."""
        return (serving,)

    def cold(self) -> "CpuDevice":
        """This processor, its caches read full of other data before each call."""
        other = copy.copy(self)
        other.cache = "cold"
        return other

    def costs(self, serving: Serving) -> Costs:
        """What the runtime takes to be ready; emptying the caches takes milliseconds a call."""
        ready = Costs(prepare_seconds=runtime_of(serving, self.name, DTYPES).prepare_seconds)
        return replace(ready, visit_seconds=COLD_VISIT_SECONDS) if self.cache == "cold" else ready

    @contextlib.contextmanager
    def session(self, serving: Serving) -> Iterator[None]:
        """Set threads and torch's inference mode; the caller's random state and threads come back after."""
        import torch

        before, threads = torch.get_num_threads(), self.regime(serving).threads
        torch.set_num_threads(threads)
        try:
            own = runtime_of(serving, self.name, DTYPES).threads(threads)
            with own, torch.inference_mode(), torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                yield
        finally:
            torch.set_num_threads(before)

    def prepare(self, work: Work, serving: Serving) -> Prepared:
        """What the runtime makes of the work, with random weights and inputs."""
        return runtime_of(serving, self.name, DTYPES).prepare(work, self, serving)

    def job(self, work: Work, serving: Serving) -> "Job":
        """The work with weights and inputs in memory."""
        from .. import work as jobs

        try:
            return jobs.job_of(work, serving, self.name, lambda probe: jobs.probe_job(probe, PEAK_SHAPES))
        except RuntimeError as error:
            if "allocate" in str(error) or "memory" in str(error):
                raise MemoryError(str(error)) from error
            raise

    def timed(self, job: "Job") -> Prepared:
        """Back to back, or call by call with other data in the caches."""
        return ColdLoop(job.call) if self.cache == "cold" else Loop(job.call)

    def sentinel(self, serving: Serving) -> Prepared:
        """A few tokens through weights that no second-level cache holds: what a small model does.

        It feels stolen cores, lowered clocks, and neighbours in the shared cache and on the memory bus. A product
        that stays in the cache feels the last two least: while it slowed down by a tenth, models did by a quarter.
        """
        import torch

        runtime = runtime_of(serving, self.name, DTYPES)
        if isinstance(runtime, OwnSentinel):
            return runtime.sentinel(self, serving)
        weights = [torch.randn(SENTINEL_SIZE, SENTINEL_SIZE) for _ in range(SENTINEL_LAYERS)]
        tokens = torch.randn(SENTINEL_TOKENS, SENTINEL_SIZE)

        def stream() -> None:
            for weight in weights:
                torch.mm(tokens, weight)

        return Loop(stream)

    def probes(self, serving: Serving) -> tuple[Probe, ...]:
        """Products of several shapes, of which the best counts, a copy that stays in cache, the smallest kernel."""
        peaks = [Probe("peak", serving.dtype, flops=2 * m * k * n) for m, k, n in PEAK_SHAPES]
        copy = Probe("bandwidth", serving.dtype, bytes=2 * COPY_ELEMENTS * 4)
        return (*peaks, copy, Probe("launch", serving.dtype))

    def conditions(self) -> Mapping[str, float]:
        """Stolen time from /proc/stat and the clock from /proc/cpuinfo, where they are given."""
        figures = {}
        with contextlib.suppress(OSError, IndexError, ValueError):
            ticks = Path("/proc/stat").read_text().split("\n", 1)[0].split()
            figures["steal_seconds"] = int(ticks[8]) / os.sysconf("SC_CLK_TCK")
        with contextlib.suppress(KeyError, ValueError):
            figures["frequency_hertz"] = float(_cpuinfo()["cpu MHz"]) * 1e6
        return figures


def _cpuinfo() -> dict[str, str]:
    """The first processor of /proc/cpuinfo; empty where there is none."""
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n", 1)[0]
    except OSError:
        return {"model name": platform.processor() or platform.machine()}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
