"""Every device of this machine passes the contract; what the CPU alone promises, and how devices are opened."""

import functools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from distilsearch.architecture import Architecture
from distilsearch.errors import DeviceError, InputError
from distilsearch.families import family
from distilsearch.operators import Operator, Serving
from distilsearch.profiling import open_device
from distilsearch.profiling.device import Device
from distilsearch.profiling.devices import DEVICES
from distilsearch.testing.devices import DeviceContract


class TestDevices(DeviceContract):
    """The fake device and every device of this machine."""

    @pytest.fixture
    def device(self, device: Device) -> Device:
        return device


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
