"""The contract every device passes: found again by its facts, runs every kind of operator, times what it says."""

import dataclasses
import functools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from distilsearch.architecture import Architecture
from distilsearch.errors import DeviceError, InputError
from distilsearch.families import family
from distilsearch.operators import Operator, Serving
from distilsearch.profiling import measure, open_device, profile
from distilsearch.profiling.clock import SystemClock, visit, warm_up
from distilsearch.profiling.device import Device, Probe, fingerprint
from distilsearch.profiling.devices import DEVICES
from distilsearch.space import SearchSpace

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


def clock_of(device: Device) -> SystemClock:
    return getattr(device, "clock", None) or SystemClock()


@pytest.fixture
def serving(device: Device) -> Serving:
    """Short input, on one thread where the device lets us choose."""
    try:
        device.regime(Serving(sequence=8, threads=1))
    except DeviceError:
        return Serving(sequence=8)
    return Serving(sequence=8, threads=1)


def test_facts_are_plain_and_stay_the_same(device: Device) -> None:
    for facts in (device.facts, device.stack):
        assert json.loads(json.dumps(facts())) == facts()
        assert fingerprint(facts()) == fingerprint(facts())


@pytest.mark.parametrize("signature", OPERATORS)
def test_every_kind_of_operator_runs(device: Device, serving: Serving, signature: str) -> None:
    with device.session(serving):
        prepared = device.prepare(Operator.parse(signature), serving)
        warm_up(prepared, clock_of(device), at_most=0.02)
        assert 0 < visit(prepared) < 1


def test_more_work_takes_longer(device: Device, linear: Callable[..., Operator], serving: Serving) -> None:
    with device.session(serving):
        small, large = (device.prepare(linear(n, n), serving) for n in (32, 2048))
        for prepared in (small, large):
            warm_up(prepared, clock_of(device), at_most=0.1)
        assert visit(large) > visit(small)
        assert large.seconds(40) > 4 * large.seconds(2)


def test_probes_fix_a_roof(device: Device, serving: Serving) -> None:
    probes = {probe.name: probe for probe in device.probes(serving)}
    assert set(probes) == {"peak", "bandwidth", "launch"}
    assert probes["peak"].flops > 0 < probes["bandwidth"].bytes
    assert all(Probe.parse(p.signature) == p and p.dtype == serving.dtype for p in probes.values())


def test_conditions_are_numbers(device: Device) -> None:
    assert set(device.conditions()) <= {"steal_seconds", "frequency_hertz"}
    assert all(isinstance(value, float | int) for value in device.conditions().values())


def test_profile_then_measure(device: Device, space: SearchSpace, serving: Serving, store: Path) -> None:
    clock = clock_of(device)
    table = profile(space, device, serving, store, models=1, clock=clock)
    assert all(row.measured.usable and row.measured.seconds_p10 > 0 for row in (*table.operators, *table.models))
    assert {row.regime for row in table.operators} == {device.regime(serving)}
    assert table.meta.peak_flops["float32"] > 0 < table.meta.bandwidth
    again = profile(space, device, serving, store, models=1, clock=clock)
    assert again.meta.hashes["rounds"] == table.meta.hashes["rounds"]
    models = space.decode(space.sample(2, np.random.default_rng(1)))
    found = measure([*models, models[0]], device, serving, store, rounds=3, clock=clock)
    most = 2 * 6  # twice where the machine was too noisy
    assert [m.status in ("ok", "noisy") and 3 <= m.rounds <= most for m in found] == [True] * 3
    assert found[0] == found[2]


def test_cold_calls_take_longer_and_change_only_the_regime(
    device: Device, linear: Callable[..., Operator], serving: Serving
) -> None:
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


def test_bfloat16(linear: Callable[..., Operator]) -> None:
    cpu, serving = open_device("cpu"), Serving(sequence=8, threads=1, dtype="bfloat16")
    with cpu.session(serving):
        assert cpu.prepare(linear(16, 16), serving).seconds(3) > 0
        assert cpu.prepare(tiny(), serving).seconds(3) > 0


def test_every_compiled_case_is_a_program_of_its_own(
    linear: Callable[..., Operator], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond eight programs of one code object torch runs eagerly and says nothing."""
    import torch
    from torch._dynamo.utils import counters

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    cpu, serving = open_device("cpu"), Serving(sequence=8, threads=1, mode="compile")
    with cpu.session(serving):
        cpu.prepare(linear(16, 15), serving)  # with the program that tells the cost of entering one
        before = counters["stats"]["unique_graphs"]
        prepared = [cpu.prepare(linear(16, 16 + n), serving) for n in range(12)]
        assert all(p.seconds(2) > 0 for p in prepared)
    assert counters["stats"]["unique_graphs"] - before == 12


def test_entering_a_program_is_no_part_of_a_compiled_operator() -> None:
    from distilsearch.profiling.runtimes.compiled import LEAST_SECONDS, WithoutEntry

    class Steady:
        def __init__(self, *a_call: float) -> None:
            self.left = list(a_call)

        def seconds(self, calls: int) -> float:
            return calls * (self.left.pop(0) if len(self.left) > 1 else self.left[0])

    operator = WithoutEntry(Steady(5e-5, 5e-5, 9e-6), Steady(4e-5, 1e-5, 3e-5))
    assert [operator.seconds(10) for _ in range(3)] == pytest.approx([1e-4, 4e-4, 10 * LEAST_SECONDS])


def test_a_compiled_case_that_compiles_again_is_no_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from distilsearch.profiling.device import Unsupported
    from distilsearch.profiling.devices.cpu import CpuDevice
    from distilsearch.profiling.work import Job

    held, job = [torch.ones(4)], Job(lambda: held[0] + 1, ())
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    monkeypatch.setattr(CpuDevice, "job", lambda self, work, serving: job)
    device, serving = open_device("cpu"), Serving(threads=1, mode="compile")
    with device.session(serving):
        prepared = device.prepare(tiny(), serving)
        assert prepared.seconds(2) > 0
        held[0] = torch.ones(5)
        with pytest.raises(Unsupported, match="compiled again in the timed part"):
            prepared.seconds(2)
        monkeypatch.setattr(torch, "compile", lambda call, dynamic: call)
        with pytest.raises(Unsupported, match="left this work to the interpreter"):
            device.prepare(tiny(), serving)


def test_the_session_gives_threads_and_random_state_back(linear: Callable[..., Operator]) -> None:
    import torch

    cpu, threads, state = open_device("cpu"), torch.get_num_threads(), torch.random.get_rng_state()
    with cpu.session(Serving(threads=1)):
        assert torch.get_num_threads() == 1
        cpu.prepare(linear(16, 16), Serving(threads=1))
    assert torch.get_num_threads() == threads
    assert torch.equal(state, torch.random.get_rng_state())


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match=r"unknown device 'cup'.*did you mean 'cpu'"):
        open_device("cup")
    with pytest.raises(DeviceError, match="threads; this machine"):
        open_device("cpu").regime(Serving(threads=4096))
    with pytest.raises(DeviceError, match="float32 or bfloat16"):
        open_device("cpu").regime(Serving(dtype="float16"))


def test_a_device_that_does_not_open_says_which_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Device:
        raise DeviceError("no driver")

    monkeypatch.setitem(DEVICES, "abacus", broken)
    with pytest.raises(DeviceError, match=r"'abacus' is not there \(no driver\); there are: .*cpu"):
        open_device("abacus")
    assert open_device("auto").name in DEVICES


def test_finding_a_table_loads_no_torch(store: Path) -> None:
    code = (
        "import sys; from distilsearch.profiling import find_table, open_device;"
        f"assert find_table('cpu', {str(store)!r}) is None;"
        "print([m for m in ('torch', 'transformers', 'xgboost') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def tiny() -> Architecture:
    values = {"layers": [1], "width": [32], "heads": [2], "ffn": [64], "vocabulary": [100], "inherit": ["even"]}
    space = family("bert").space(values)
    return space.decode(space.grid(10))[0]
