"""The GPU's two clocks on a fake clock, where launches queue up and the device works by itself."""

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

ISSUE, LAUNCH, FLUSH, FETCH = 1e-5, 1e-6, 1e-4, 3e-6
FACTS = {"model": "fake", "compute_capability": "9.0", "multiprocessors": 8, "memory_gib": 80, "driver": 12080}


@dataclass
class FakeClocks:
    """A host that takes `ISSUE` to issue a kernel and a device that takes `kernel` seconds to run it.

    After a flush, which takes `FLUSH`, the next kernel takes `FETCH` longer.
    """

    kernel: float
    host: float = 0.0
    device: float = 0.0
    capturable: bool = True
    flushed: bool = False

    def call(self) -> None:
        self.host += ISSUE
        self._run(self.kernel)

    def _run(self, seconds: float) -> None:
        self.device = max(self.device, self.host) + seconds + FETCH * self.flushed
        self.flushed = False

    def capture(self, call: Callable[[], Any]) -> Callable[[], Any]:
        if not self.capturable:
            raise RuntimeError("operation not permitted when stream is capturing")
        return lambda: self._run(LAUNCH + self.kernel)

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
            self.flushed = True
            total += self.between_events(call, 1)
        return total

    def synchronize(self) -> None:
        self.host = self.device = max(self.host, self.device)

    def now(self) -> float:
        return self.host


def device(runtime: FakeClocks) -> CudaDevice:
    return CudaDevice(lambda: FACTS, runtime)


@pytest.mark.parametrize("kernel", [2e-6, 1e-3])
def test_both_clocks(kernel: float) -> None:
    runtime = FakeClocks(kernel)
    gpu = device(runtime)
    graph = gpu.replayed(Job(runtime.call, ())).seconds(100) / 100
    eager = gpu.timed(Job(runtime.call, ())).seconds(100) / 100
    assert graph == pytest.approx(LAUNCH + kernel)
    assert eager == pytest.approx(max(ISSUE, kernel), rel=0.05)


@pytest.mark.parametrize("kernel", [2e-6, 1e-3])
def test_a_cold_call_is_timed_without_the_flush(kernel: float) -> None:
    runtime = FakeClocks(kernel)
    cold = device(runtime).cold().replayed(Job(runtime.call, ()))
    assert cold.seconds(100) / 100 == pytest.approx(LAUNCH + kernel + FETCH)
    assert device(runtime).replayed(Job(runtime.call, ())).seconds(100) / 100 == pytest.approx(LAUNCH + kernel)


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
        device(runtime).replayed(Job(runtime.call, ()))


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
