"""A device whose times are known, on a clock that only moves when it works; and a small space to profile on it."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from distilsearch.architecture import Architecture
from distilsearch.families import family
from distilsearch.lowering import flops
from distilsearch.operators import Operator, Serving
from distilsearch.profiling.device import Costs, Device, Facts, Probe, Regime, Unsupported, Work
from distilsearch.profiling.devices import available_devices
from distilsearch.profiling.devices import open_device as open_real
from distilsearch.space import SearchSpace

SENTINEL_SECONDS = 2e-4


@dataclass
class FakeClock:
    """Moves only when told to."""

    seconds: float = 1000.0

    def now(self) -> float:
        return self.seconds

    def epoch(self) -> float:
        return 1.7e9 + self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


@dataclass
class FakeWork:
    """Takes `true` seconds a call, three times that at first, and longer while the machine is disturbed."""

    device: "FakeDevice"
    true: float
    slow_start: int = 0
    runs: int = 0

    def seconds(self, calls: int) -> float:
        device, total = self.device, 0.0
        for _ in range(min(calls, 50)):
            self.runs += 1
            cold = 1.0 + 2.0 * max(0.0, 1.0 - self.runs / max(1, self.slow_start))
            total += self.true * cold * device.disturbance() * (1 + device.noise * device.rng.random())
        total *= calls / min(calls, 50)
        device.clock.seconds += total
        return total


@dataclass
class FakeDevice:
    """1 GFLOP/s, with optional noise, disturbed phases, work that does not fit or is not supported."""

    clock: FakeClock = field(default_factory=FakeClock)
    noise: float = 0.02
    disturbed: Callable[[float], bool] = lambda now: False
    slower: float = 1.7
    too_large: Callable[[Work], bool] = lambda work: False
    unsupported: Callable[[Work], bool] = lambda work: False
    model: str = "abacus"
    torch: str = "1"
    cache: str = "hot"
    name: str = "fake"
    prepared: list[Work] = field(default_factory=list)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def disturbance(self) -> float:
        return self.slower if self.disturbed(self.clock.seconds) else 1.0

    def facts(self) -> Facts:
        return {"kind": "fake", "model": self.model, "cores": 4}

    def stack(self) -> Facts:
        return {"torch": self.torch}

    def regime(self, serving: Serving) -> Regime:
        return Regime(serving.dtype, serving.mode, serving.threads or 4, self.cache, serving.runtime)

    def servings(self, serving: Serving) -> tuple[Serving, ...]:
        return (serving,)

    def cold(self) -> "FakeDevice":
        return dataclasses.replace(self, cache="cold")

    def costs(self, serving: Serving) -> Costs:
        return Costs()

    @contextlib.contextmanager
    def session(self, serving: Serving) -> Iterator[None]:
        yield

    def true_seconds(self, work: Work, serving: Serving) -> float:
        """What a perfect measurement of the work would find; cold, it takes three fetches more."""
        work_flops = flops(work, serving) if isinstance(work, Architecture) else work.flops
        return (4e-5 if self.cache == "cold" else 1e-5) + work_flops / 1e9

    def prepare(self, work: Work, serving: Serving) -> FakeWork:
        self.clock.seconds += 0.01
        if self.too_large(work):
            raise MemoryError
        if self.unsupported(work):
            raise Unsupported("no such kernel here")
        self.prepared.append(work)
        return FakeWork(self, self.true_seconds(work, serving), slow_start=20)

    def sentinel(self, serving: Serving) -> FakeWork:
        return FakeWork(self, SENTINEL_SECONDS)

    def probes(self, serving: Serving) -> tuple[Probe, ...]:
        peak, moved = Probe("peak", serving.dtype, flops=10**6), Probe("bandwidth", serving.dtype, bytes=10**6)
        return peak, moved, Probe("launch", serving.dtype)

    def conditions(self) -> Mapping[str, float]:
        return {"steal_seconds": 0.0}


@pytest.fixture
def fake() -> FakeDevice:
    """A quiet fake device."""
    return FakeDevice()


@pytest.fixture
def make_fake() -> Callable[..., FakeDevice]:
    """Builds fake devices of other properties."""
    return FakeDevice


@pytest.fixture
def space() -> SearchSpace:
    """A small BERT space of few operators."""
    genes = {"layers": [1, 2], "width": [32, 64], "heads": [2, 4], "ffn": [64, 128], "vocabulary": [100]}
    return family("bert").space(genes)


@pytest.fixture
def serving() -> Serving:
    """Short input on one thread."""
    return Serving(sequence=8, threads=1)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """An empty store."""
    return tmp_path / "store"


@pytest.fixture
def linear() -> Callable[..., Operator]:
    """A linear operator of given sizes."""

    def build(inputs: int, outputs: int, activation: str = "none") -> Operator:
        sizes = {"inputs": inputs, "outputs": outputs, "bias": 1, "activation": activation}
        return Operator("linear", {"batch": 1, "sequence": 8, **sizes})

    return build


@pytest.fixture(params=["fake", *available_devices()])
def device(request: pytest.FixtureRequest) -> Device:
    """Every device of this machine, and the fake one: what a new device must pass too."""
    return FakeDevice() if request.param == "fake" else open_real(request.param)
