"""The contract of every device that is profiled. Inherit it and give the fixture `device`:

    class TestMine(DeviceContract):
        @pytest.fixture
        def device(self): return MyDevice()

A device is found again by its facts, runs every kind of operator, and times what it says. One with a clock of its own
has an attribute `clock`.
"""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from ..errors import DeviceError
from ..families import family
from ..operators import Operator, Serving
from ..profiling import measure, profile
from ..profiling.clock import SystemClock, visit, warm_up
from ..profiling.device import Device, Probe, fingerprint
from ..space import SearchSpace

OPERATORS = [
    "embedding(batch=2,norm=layer,positions=64,sequence=8,types=2,vocabulary=100,width=32)",
    "linear(activation=gelu,batch=2,bias=1,inputs=32,outputs=64,sequence=8)",
    "attention(batch=2,cached=0,causal=0,head_size=16,heads=2,kv_heads=2,sequence=8)",
    "attention(batch=2,cached=16,causal=1,head_size=16,heads=4,kv_heads=2,sequence=1)",
    "norm(batch=2,norm=layer,residual=1,sequence=8,width=32)",
    "gate(activation=silu,batch=2,sequence=8,width=32)",
    "rotary(batch=2,head_size=16,heads=4,kv_heads=2,sequence=8)",
    "pooling(batch=2,normalize=1,pool=mean,sequence=8,width=32)",
    "head(batch=2,sequence=8,tied=1,transform=1,vocabulary=100,width=32)",
]
GENES = {"layers": [1, 2], "width": [32, 64], "heads": [2, 4], "ffn": [64, 128], "vocabulary": [100]}


def clock_of(device: Device) -> SystemClock:
    """The device's own clock, or the system's."""
    return getattr(device, "clock", None) or SystemClock()


def linear(inputs: int, outputs: int) -> Operator:
    """A linear operator of given sizes."""
    sizes: dict[str, int | str] = {"inputs": inputs, "outputs": outputs, "bias": 1, "activation": "none"}
    return Operator("linear", {"batch": 1, "sequence": 8, **sizes})


class DeviceContract:
    """What profiling relies on in a device."""

    @pytest.fixture
    def device(self) -> Device:
        """The device."""
        raise NotImplementedError("give the fixture `device`: your device")

    @pytest.fixture
    def serving(self, device: Device) -> Serving:
        """Short input, on one thread where the device lets us choose."""
        try:
            device.regime(Serving(sequence=8, threads=1))
        except DeviceError:
            return Serving(sequence=8)
        return Serving(sequence=8, threads=1)

    @pytest.fixture
    def space(self) -> SearchSpace:
        """A small BERT space of few operators."""
        return family("bert").space(GENES)

    @pytest.fixture
    def store(self, tmp_path: Path) -> Path:
        """An empty store."""
        return tmp_path / "store"

    def test_facts_are_plain_and_stay_the_same(self, device: Device) -> None:
        for facts in (device.facts, device.stack):
            assert json.loads(json.dumps(facts())) == facts()
            assert fingerprint(facts()) == fingerprint(facts())

    @pytest.mark.parametrize("signature", OPERATORS)
    def test_every_kind_of_operator_runs(self, device: Device, serving: Serving, signature: str) -> None:
        with device.session(serving):
            prepared = device.prepare(Operator.parse(signature), serving)
            warm_up(prepared, clock_of(device), at_most=0.02)
            assert 0 < visit(prepared) < 1

    def test_more_work_takes_longer(self, device: Device, serving: Serving) -> None:
        asked = device.servings(serving)[-1]  # where there are two clocks, that of the device alone
        with device.session(asked):
            small, large = (device.prepare(linear(n, n), asked) for n in (32, 2048))
            for prepared in (small, large):
                warm_up(prepared, clock_of(device), at_most=0.1)
            assert visit(large) > visit(small)
            assert large.seconds(40) > 4 * large.seconds(2)

    def test_probes_fix_a_roof(self, device: Device, serving: Serving) -> None:
        probes = {probe.name: probe for probe in device.probes(serving)}
        assert set(probes) == {"peak", "bandwidth", "launch"}
        assert probes["peak"].flops > 0 < probes["bandwidth"].bytes
        assert all(Probe.parse(p.signature) == p and p.dtype == serving.dtype for p in probes.values())

    def test_conditions_are_numbers(self, device: Device) -> None:
        assert set(device.conditions()) <= {"steal_seconds", "frequency_hertz"}
        assert all(isinstance(value, float | int) for value in device.conditions().values())

    def test_profile_then_measure(self, device: Device, space: SearchSpace, serving: Serving, store: Path) -> None:
        clock = clock_of(device)
        table = profile(space, device, serving, store, models=1, clock=clock)
        measurements = [row.measured for row in table.operators] + [row.measured for row in table.models]
        assert all(one.usable and one.seconds_p10 > 0 for one in measurements)
        assert {row.regime for row in table.operators} == {device.regime(timed) for timed in device.servings(serving)}
        assert table.meta.peak_flops["float32"] > 0 < table.meta.bandwidth
        again = profile(space, device, serving, store, models=1, clock=clock)
        if not any(one.disturbed for one in table.measured.values()):  # which would be timed again, probes too
            assert again.meta.hashes["rounds"] == table.meta.hashes["rounds"]
        models = space.decode(space.sample(2, np.random.default_rng(1)))
        measured = measure([*models, models[0]], device, serving, store, rounds=3, clock=clock)
        most = 2 * 6  # twice where the machine was too noisy
        assert [m.status in ("ok", "noisy") and 3 <= m.rounds <= most for m in measured] == [True] * 3
        assert measured[0] == measured[2]

    def test_cold_calls_take_longer_and_change_only_the_regime(self, device: Device, serving: Serving) -> None:
        try:
            cold = device.cold()
        except DeviceError as error:
            pytest.skip(str(error))
        assert (cold.name, cold.facts(), cold.stack()) == (device.name, device.facts(), device.stack())
        asked, calls = device.servings(serving)[-1], 20
        assert asked in cold.servings(serving)
        assert cold.regime(asked) == dataclasses.replace(device.regime(asked), cache="cold")
        with device.session(asked):
            hot, fetched = (d.prepare(linear(512, 512), asked) for d in (device, cold))
            for prepared in (hot, fetched):
                warm_up(prepared, clock_of(device), at_most=0.1)
            assert visit(fetched) > visit(hot)
            assert 0.2 < min(fetched.seconds(calls) for _ in range(3)) / calls / visit(fetched) < 5
