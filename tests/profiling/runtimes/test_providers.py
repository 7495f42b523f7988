"""Graphics cards by onnxruntime's providers, as far as a machine without one can tell: by a fake, and refusals."""

import importlib
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from distilsearch.artefacts.libraries import version_of
from distilsearch.errors import DeviceError, InputError
from distilsearch.operators import Operator, Serving
from distilsearch.profiling.runtimes import RUNTIMES, runtime_of

# the package's own name hides the module of the runtime behind the function that opens it
MODULE = importlib.import_module("distilsearch.profiling.runtimes.onnxruntime")
CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
NORM = Operator("norm", {"batch": 1, "sequence": 8, "width": 32, "norm": "layer", "residual": 1})


class Card:
    """A device by its name."""

    name = "cuda"


class Fake:
    """What is asked of onnxruntime: which providers it has, and sessions, in which only some of them start."""

    def __init__(self, there: Sequence[str], starting: Sequence[str] = (CPU, CUDA, TENSORRT)) -> None:
        self.there, self.starting = there, starting
        self.asked: list[dict[str, Any]] = []

    def get_available_providers(self) -> list[str]:
        return list(self.there)

    def InferenceSession(self, file: Path, options: Any, **asked: Any) -> Any:  # noqa: N802 - onnxruntime's own name
        self.asked.append(asked)
        started = [name for name in [*asked["providers"], CPU] if name in self.starting]

        class Session:
            def get_providers(self) -> list[str]:
                return started

            def run(self, outputs: None, inputs: Any) -> list[str]:
                return started

        return Session()


@pytest.fixture
def fake(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """A fake in the place of the package."""
    one = Fake(*request.param)
    monkeypatch.setattr(MODULE, "library", lambda name: one)
    return one


def asked(name: str) -> Any:
    """A request of a runtime, for a card."""
    serving = Serving(runtime=name)
    return runtime_of(serving, "cuda", ()).request(Path("x.onnx"), {}, Card(), serving)  # type: ignore[attr-defined]


@pytest.mark.parametrize("fake", [((TENSORRT, CUDA, CPU),)], indirect=True)
def test_each_runtime_asks_for_its_own_providers_with_their_options(fake: Fake) -> None:
    assert asked("onnxruntime")() == [CUDA, CPU]
    assert fake.asked[0] == {"providers": [CUDA], "provider_options": [{}]}
    assert asked("tensorrt")() == [TENSORRT, CUDA, CPU]
    assert fake.asked[1]["providers"] == [TENSORRT, CUDA]
    first, second = fake.asked[1]["provider_options"]
    assert first == {"trt_engine_cache_enable": "0", "trt_fp16_enable": "0"}
    assert second == {}


@pytest.mark.parametrize("fake", [((CUDA, CPU),)], indirect=True)
def test_a_provider_that_is_not_there_is_named_with_what_brings_it(fake: Fake) -> None:
    with pytest.raises(DeviceError, match=rf"has no {TENSORRT} \(it has {CUDA}, {CPU}\).*onnxruntime-gpu tensorrt"):
        asked("tensorrt")
    assert fake.asked == []


@pytest.mark.parametrize("fake", [((TENSORRT, CUDA, CPU), (CPU, CUDA))], indirect=True)
def test_a_provider_that_onnxruntime_goes_on_without_is_refused(fake: Fake) -> None:
    with pytest.raises(DeviceError, match=rf"could not start its {TENSORRT}.*serve with runtime onnxruntime"):
        asked("tensorrt")
    assert asked("onnxruntime")() == [CUDA, CPU]


def test_the_onnxruntime_of_this_machine_refuses_cards() -> None:
    for name, wanted in (("onnxruntime", CUDA), ("tensorrt", TENSORRT)):
        with pytest.raises(DeviceError, match=rf"has no {wanted} .*onnxruntime-gpu"):
            RUNTIMES[name]().prepare(NORM, Card(), Serving(runtime=name))  # type: ignore[arg-type]


def test_what_no_card_serves_is_refused() -> None:
    with pytest.raises(DeviceError, match="tensorrt runs on cuda; got the device 'cpu'"):
        runtime_of(Serving(runtime="tensorrt"), "cpu", ())
    with pytest.raises(DeviceError, match=r"tensorrt serves float32; got dtype 'int8' \(runtime 'onnxruntime' or"):
        runtime_of(Serving(runtime="tensorrt", dtype="int8"), "cuda", ())
    with pytest.raises(DeviceError, match="openvino runs on cpu; got the device 'cuda'"):
        runtime_of(Serving(runtime="openvino"), "cuda", ())


def test_its_tables_are_told_from_those_of_onnxruntime_and_by_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = RUNTIMES["tensorrt"]().facts()
    assert bare != RUNTIMES["onnxruntime"]().facts()
    there = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "10.9" if name == "tensorrt-cu12" else there(name))
    assert RUNTIMES["tensorrt"]().facts() == {**bare, "tensorrt": "10.9"}


def test_the_build_for_cards_counts_as_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    def only(*names: str) -> Any:
        def version(name: str) -> str:
            if name not in names:
                raise metadata.PackageNotFoundError(name)
            return "1.2"

        return version

    monkeypatch.setattr(metadata, "version", only("onnxruntime-gpu"))
    assert version_of("onnxruntime") == "1.2"
    monkeypatch.setattr(metadata, "version", only())
    with pytest.raises(InputError, match=r"onnxruntime is not installed.*distilsearch\[onnx\]"):
        version_of("onnxruntime")
