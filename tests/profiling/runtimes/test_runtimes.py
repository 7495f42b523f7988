"""The contract of runtimes, and what a later one leaves as it was: a stranger's runtime beside torch's own."""

import contextlib
import functools
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from distilsearch.errors import DeviceError, InputError, TableError
from distilsearch.operators import MODES, Operator, Serving
from distilsearch.predictors.latency import LatencyPredictor
from distilsearch.predictors.operators.features import Setting
from distilsearch.profiling import LatencyTable, find_table, fingerprint, open_device, profile
from distilsearch.profiling.check import nearest_sibling
from distilsearch.profiling.device import Facts, Prepared, Regime, Work, model_name
from distilsearch.profiling.runtimes import RUNTIMES, Host, Runtime, named, runtime_names, runtime_of, stack_of
from distilsearch.testing.runtimes import RuntimeContract


class Echo:
    """Runs everything as torch does, and says that it is another."""

    devices = ("cpu",)
    dtypes = ("float32",)
    prepare_seconds = 0.01

    def __init__(self) -> None:
        self.held: list[int] = []

    def facts(self) -> Facts:
        return {"echo": "1.0"}

    @contextlib.contextmanager
    def threads(self, count: int) -> Iterator[None]:
        self.held.append(count)
        yield

    def prepare(self, work: Work, device: Host, serving: Serving) -> Prepared:
        return device.timed(device.job(work, serving))


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch) -> Echo:
    """A runtime of somebody else's, in the list of known ones."""
    runtime = Echo()
    monkeypatch.setitem(RUNTIMES, "echo", lambda: runtime)
    return runtime


class TestRuntimes(RuntimeContract):
    """Every runtime, and a stranger's."""

    @pytest.fixture(params=[*RUNTIMES, "echo"])
    def runtime(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Runtime:
        monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
        return Echo() if request.param == "echo" else RUNTIMES[request.param]()


def test_opening_runtimes_loads_no_library() -> None:
    code = (
        "import sys; from distilsearch.profiling.runtimes import RUNTIMES; [one() for one in RUNTIMES.values()];"
        "heavy = ('torch', 'transformers', 'pyarrow', 'onnx', 'onnxruntime', 'openvino');"
        "print([m for m in heavy if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_the_modes_of_torch_are_no_names_of_runtimes() -> None:
    assert runtime_names() == ["torch", "onnxruntime", "openvino", "tensorrt"]
    assert set(MODES) | set(runtime_names()) == {*RUNTIMES, "torch"}
    with pytest.raises(InputError, match=r"unknown runtime 'eager': known: onnxruntime, openvino, tensorrt, torch"):
        named("eager")
    with pytest.raises(InputError, match=r"unknown runtime 'onyx': .*known: onnxruntime, openvino, tensorrt, torch"):
        open_device("cpu").regime(Serving(runtime="onyx"))


def test_what_a_device_cannot_run_is_refused(echo: Echo) -> None:
    assert runtime_of(Serving(runtime="echo"), "cpu", ("bfloat16",)) is echo
    with pytest.raises(DeviceError, match=r"echo runs on cpu; got the device 'cuda'"):
        runtime_of(Serving(runtime="echo"), "cuda", ("float32",))
    with pytest.raises(DeviceError, match=r"echo serves float32; got dtype 'bfloat16'"):
        runtime_of(Serving(runtime="echo", dtype="bfloat16"), "cpu", ("float32", "bfloat16"))
    with pytest.raises(DeviceError, match=r"the cpu serves eager or compile; got mode 'graph'"):
        open_device("cpu").regime(Serving(mode="graph"))


def test_torch_adds_nothing_to_a_stack_and_others_say_who_they_are(echo: Echo) -> None:
    cpu = open_device("cpu")
    assert stack_of(cpu) == cpu.stack()
    assert stack_of(cpu, "echo") == {**cpu.stack(), "echo": "1.0"}
    assert fingerprint(stack_of(cpu, "echo")) != fingerprint(cpu.stack())


def test_the_threads_of_a_session_are_the_runtimes_too(echo: Echo) -> None:
    with open_device("cpu").session(Serving(threads=1, runtime="echo")):
        assert echo.held == [1]
        assert torch.get_num_threads() == 1


def test_a_runtime_has_tables_and_predictions_of_its_own(
    echo: Echo, linear: Callable[..., Operator], store: Path, tmp_path: Path, fake: Any
) -> None:
    operators, torchs, other = [linear(16, 16), linear(16, 32)], Serving(threads=1), Serving(threads=1, runtime="echo")
    tables = [profile(operators, fake, serving, store, models=0, clock=fake.clock) for serving in (torchs, other)]
    assert tables[0].folder != tables[1].folder
    assert [find_table(fake, store, name) for name in ("torch", "echo")] == tables
    assert {row.regime for row in tables[0].operators} == {Regime("float32", "eager", 1)}
    assert {row.regime for row in tables[1].operators} == {Regime("float32", "eager", 1, runtime="echo")}
    assert "runtime" not in Regime("float32", "eager", 1).to_json()
    with pytest.raises(InputError, match="one runtime; got echo, torch"):
        profile(operators, fake, [torchs, other], store)
    _loads_the_same(tables[1], other, tmp_path)


def test_tables_of_several_runtimes_lie_side_by_side_and_are_never_mixed(
    echo: Echo, linear: Callable[..., Operator], store: Path, fake: Any
) -> None:
    servings = {name: Serving(threads=1, runtime=name) for name in ("torch", "echo")}
    operators = [linear(16, 16), linear(16, 32)]
    tables = {
        name: profile(operators, fake, serving, store, models=0, clock=fake.clock) for name, serving in servings.items()
    }
    name = model_name(fake.facts())
    for runtime, table in tables.items():
        assert table.runtime == runtime
        assert find_table(name, store, runtime) == table
    assert find_table(name, store, "onnxruntime") is not None  # the last one, which the predictor refuses
    with pytest.raises(TableError, match=r"no rows for float32 echo 1 thread \(it has float32 eager 1 thread\)"):
        LatencyPredictor.fit(tables["torch"]).model.check(operators, _setting(tables["torch"], servings["echo"]))
    assert nearest_sibling(fake, store) is None  # of torch's own table there is no other stack


def _setting(table: LatencyTable, serving: Serving) -> Setting:
    return LatencyPredictor.fit(table).setting(serving)


def _loads_the_same(table: LatencyTable, serving: Serving, folder: Path) -> None:
    fitted = LatencyPredictor.fit(table)
    loaded = LatencyPredictor.load(fitted.save(folder))
    (setting,) = loaded.model.settings
    assert (setting, setting.runtime) == (loaded.setting(serving), "echo")
    assert loaded.model.settings == fitted.model.settings != [loaded.setting(Serving(threads=1))]
    assert str(setting) == "float32 echo 1 thread"
