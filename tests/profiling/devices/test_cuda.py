"""The GPU's two clocks on a fake clock, where launches queue up and the device works by itself."""

import functools
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from distilsearch.errors import DeviceError
from distilsearch.operators import Serving
from distilsearch.profiling.device import Unsupported, fingerprint
from distilsearch.profiling.devices import available_devices, open_device
from distilsearch.profiling.devices.cuda import CudaDevice, driver_facts
from distilsearch.profiling.work import Job

ISSUE, LAUNCH, REPLAY, FLUSH, FETCH = 1e-5, 1e-6, 5e-6, 1e-4, 3e-6
FACTS = {"model": "fake", "compute_capability": "9.0", "multiprocessors": 8, "memory_gib": 80, "driver": 12080}


@dataclass
class FakeClocks:
    """A host that takes `ISSUE` to issue a kernel and a device that takes `kernel` seconds to run it.

    After a flush, which takes `FLUSH`, the next kernel takes `FETCH` longer. The host takes `REPLAY` to replay a graph,
    which like torch's knows its kernels alone, not what was called. After an error with `broken` nothing works.
    """

    kernel: float
    host: float = 0.0
    device: float = 0.0
    capturable: bool = True
    broken: bool = False
    flushed: bool = False
    recorded: int | None = None  # kernels of the graph that is being captured

    def call(self) -> None:
        if self.recorded is not None:
            self.recorded += 1
            return
        self.host += ISSUE
        self._run(self.kernel)

    def _run(self, seconds: float) -> None:
        self.device = max(self.device, self.host) + seconds + FETCH * self.flushed
        self.flushed = False

    def capture(self, call: Callable[[], Any]) -> Callable[[], Any]:
        if not self.capturable:
            raise RuntimeError("operation not permitted when stream is capturing")
        self.recorded = 0
        call()
        kernels, self.recorded = self.recorded, None
        return lambda: self._replay(kernels)

    def _replay(self, kernels: int) -> None:
        self.host += REPLAY
        self._run(LAUNCH + kernels * self.kernel)

    def between_events(self, call: Callable[[], Any], times: int) -> float:
        self.synchronize()
        start = self.device
        for _ in range(times):
            call()
        return self.device - start

    def between_flushes(self, call: Callable[[], Any], times: int) -> float:
        total = 0.0
        for _ in range(times):
            self._run(FLUSH)
            self.flushed, start = True, self.device
            call()
            total += self.device - start
        return total

    def synchronize(self) -> None:
        if self.broken:
            raise RuntimeError("device-side assert triggered")
        self.host = self.device = max(self.host, self.device)

    def now(self) -> float:
        return self.host


def device(runtime: FakeClocks) -> CudaDevice:
    return CudaDevice(lambda: FACTS, runtime)


@pytest.mark.parametrize("kernel", [2e-6, 1e-3])
def test_both_clocks(kernel: float) -> None:
    runtime = FakeClocks(kernel)
    gpu = device(runtime)
    graph = gpu.replayed(Job(runtime.call, ()), whole=False).seconds(100) / 100
    eager = gpu.timed(Job(runtime.call, ())).seconds(100) / 100
    assert graph == pytest.approx(kernel, rel=0.1)
    assert eager == pytest.approx(max(ISSUE, kernel), rel=0.05)


@pytest.mark.parametrize("kernel", [2e-6, 1e-3])
def test_a_cold_call_is_timed_without_the_flush(kernel: float) -> None:
    runtime = FakeClocks(kernel)
    cold = device(runtime).cold().replayed(Job(runtime.call, ()), whole=False)
    assert cold.seconds(100) / 100 == pytest.approx(LAUNCH + kernel + FETCH)
    assert device(runtime).replayed(Job(runtime.call, ()), whole=False).seconds(100) / 100 == pytest.approx(
        kernel, rel=0.1
    )


def test_cold_caches_are_timed_on_the_device_alone() -> None:
    gpu = device(FakeClocks(1e-3)).cold()
    assert [(s.mode, gpu.regime(s).cache) for s in gpu.servings(Serving())] == [("graph", "cold")]
    with pytest.raises(DeviceError, match="expected mode graph"):
        gpu.regime(Serving())


def test_the_host_clock_starts_with_an_idle_device() -> None:
    runtime = FakeClocks(1e-3)
    loop = device(runtime).timed(Job(runtime.call, ()))
    runtime.call()
    assert loop.seconds(1) == pytest.approx(1e-3 + ISSUE)


def test_eager_servings_are_timed_by_both() -> None:
    gpu = device(FakeClocks(1e-3))
    assert [s.mode for s in gpu.servings(Serving())] == ["eager", "graph"]
    assert [s.mode for s in gpu.servings(Serving(mode="graph"))] == ["graph"]
    assert [gpu.regime(s).mode for s in gpu.servings(Serving())] == ["eager", "graph"]


def test_what_cannot_be_captured_is_unsupported() -> None:
    runtime = FakeClocks(1e-3, capturable=False)
    with pytest.raises(Unsupported, match="cannot be captured"):
        device(runtime).replayed(Job(runtime.call, ()), whole=False)


def test_a_gpu_that_has_stopped_working_is_no_finding_about_a_case() -> None:
    runtime = FakeClocks(1e-3, capturable=False, broken=True)
    with pytest.raises(DeviceError, match="stopped working"):
        device(runtime).replayed(Job(runtime.call, ()), whole=False)


def test_what_does_not_fit_is_told_as_python_tells_it() -> None:
    def full() -> None:
        raise RuntimeError("CUDA out of memory")

    gpu, job = device(FakeClocks(1e-3)), Job(full, ())
    with pytest.raises(MemoryError, match="out of memory"):
        gpu.timed(job).seconds(1)
    with pytest.raises(MemoryError, match="out of memory"):
        gpu.replayed(job, whole=False)


@pytest.mark.parametrize("whole", [False, True])
def test_inputs_live_as_long_as_the_graph_that_reads_them(whole: bool) -> None:
    runtime = FakeClocks(2e-6)

    def call() -> None:
        runtime.call()

    inputs, gpu = weakref.ref(call), device(runtime)
    hot, cold = (one.replayed(Job(call, ()), whole) for one in (gpu, gpu.cold()))
    del call
    assert inputs() is not None
    del hot
    assert inputs() is not None
    del cold
    assert inputs() is None


@pytest.mark.parametrize(("calls", "kernel"), [(1, 2e-6), (17, 2e-6), (3, 1e-3)])
def test_short_operators_are_replayed_several_at_a_time(calls: int, kernel: float) -> None:
    runtime = FakeClocks(kernel)
    assert device(runtime).replayed(Job(runtime.call, ()), whole=False).seconds(calls) == pytest.approx(
        calls * kernel, rel=0.2
    )


def test_a_whole_model_is_launched_by_itself() -> None:
    runtime = FakeClocks(2e-6)
    model = device(runtime).replayed(Job(runtime.call, ()), whole=True)
    assert model.seconds(100) / 100 == pytest.approx(REPLAY, rel=0.1)


def test_facts_leave_the_driver_to_the_stack() -> None:
    gpu = device(FakeClocks(1e-3))
    assert "driver" not in gpu.facts()
    assert gpu.stack()["driver"] == 12080
    newer = CudaDevice(lambda: {**FACTS, "driver": 13000}, FakeClocks(1e-3))
    assert fingerprint(newer.facts()) == fingerprint(gpu.facts())
    assert fingerprint(newer.stack()) != fingerprint(gpu.stack())


@pytest.mark.parametrize("serving", [Serving(threads=2), Serving(mode="compile")])
def test_what_a_gpu_does_not_serve_is_refused(serving: Serving) -> None:
    with pytest.raises(DeviceError, match=r"leave threads out|cuda serves eager or graph"):
        device(FakeClocks(1e-3)).regime(serving)


@pytest.mark.skipif("cuda" in available_devices(), reason="a GPU is here")
def test_without_a_gpu_the_reason_is_given() -> None:
    with pytest.raises(DeviceError, match="NVIDIA driver"):
        driver_facts()
    with pytest.raises(DeviceError, match=r"'cuda' is not there \(.*NVIDIA driver.*\); there are: .*cpu"):
        open_device("cuda")


@pytest.mark.skipif("cuda" not in available_devices(), reason="there is no GPU")
def test_after_a_failed_capture_others_succeed() -> None:
    import torch

    gpu, serving = CudaDevice(), Serving(mode="graph")
    with gpu.session(serving):
        stream, x = torch.cuda.current_stream(), torch.ones(4, device="cuda")
        for _ in range(2):
            with pytest.raises(Unsupported, match="cannot be captured"):
                gpu.timed(lambda: x.sum().item(), "graph")
            assert torch.cuda.current_stream() == stream
            assert gpu.timed(lambda: x + 1, "graph").seconds(20) > 0
            assert gpu.sentinel(serving).seconds(1) > 0


@pytest.mark.skipif("cuda" not in available_devices(), reason="there is no GPU")
def test_graphs_outlive_each_other() -> None:
    import torch

    gpu, serving = CudaDevice(), Serving(mode="graph")
    with gpu.session(serving):
        for n in (64, 128):
            ones = torch.ones(n, n, device="cuda")
            timed = [gpu.timed(functools.partial(torch.matmul, ones, ones), "graph") for _ in range(4)]
            assert all(one.seconds(20) > 0 for one in timed[::-1])
            timed.clear()
