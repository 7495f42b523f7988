"""Runtimes of exported files: what is timed is what the exporter writes, in the precision that was asked for."""

import tempfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from distilsearch.artefacts import openvino
from distilsearch.artefacts.onnx import to_onnx
from distilsearch.artefacts.running import opened
from distilsearch.errors import DeviceError, InputError, TableError
from distilsearch.families import family
from distilsearch.operators import Operator, Serving
from distilsearch.predictors.latency import LatencyPredictor
from distilsearch.profiling import find_table, open_device, profile
from distilsearch.profiling.device import Unsupported
from distilsearch.profiling.kernels import kernel
from distilsearch.profiling.runtimes import RUNTIMES, files, stack_of
from distilsearch.profiling.runtimes.exported import Entry, Inside
from distilsearch.profiling.runtimes.files import exported_graph, operator_graph
from distilsearch.profiling.runtimes.graphs import FINISHES, Graph, graph_of
from distilsearch.testing.devices import GENES

NAMES = ("onnxruntime", "openvino")
SMALL = {"batch": 2, "sequence": 8}


def operator(kind: str, **sizes: int | str) -> Operator:
    return Operator(kind, {**SMALL, **sizes})


LINEAR = operator("linear", inputs=32, outputs=64, bias=1, activation="gelu")
NORM = operator("norm", width=32, norm="layer", residual=1)
WRITTEN = [
    LINEAR,
    operator("linear", inputs=32, outputs=16, bias=0, activation="silu"),
    NORM,
    operator("norm", width=32, norm="none", residual=0),
    operator("gate", width=32, activation="silu"),
    operator("pooling", width=32, pool="mean", normalize=1),
    operator("pooling", width=32, pool="cls", normalize=0),
    operator("head", width=32, vocabulary=100, transform=1, tied=1),
    operator("head", width=32, vocabulary=100, transform=0, tied=1),
    operator("embedding", width=32, vocabulary=100, positions=64, types=2, norm="layer"),
    operator("attention", heads=2, kv_heads=2, head_size=16, causal=0, cached=0),
]
WEIGHTS = {  # of our graphs, by the kernel's names; matrices are turned
    "weight": "dense.weight", "bias": "dense.bias", "gain": "norm.weight", "offset": "norm.bias",
    "dense": "transform.weight", "lift": "transform.bias", "table": "decoder.weight",
    "word_table": "tokens.weight", "type_table": "types.weight", "place_table": "positions.weight",
}  # fmt: skip
TURNED = ("weight", "dense", "table")


def answers(graph: Graph, folder: Path) -> list[np.ndarray]:
    file = folder / "work.onnx"
    file.write_bytes(graph.model.SerializeToString())
    return list(opened(file, "onnxruntime", threads=1)(graph.inputs).values())


def expected(one: Operator, graph: Graph) -> np.ndarray:
    """What the kernel makes of the graph's own weights and inputs."""
    module = kernel(one)
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.model.graph.initializer}
    with torch.no_grad():
        own = dict(module.named_parameters())
        for name, value in held.items():
            turned = torch.tensor(value.T if name in TURNED else value)
            target = WEIGHTS.get(name, "")
            if name == "bias" and one.kind == "head":
                target = "decoder.bias"
            if target in own:
                own[target].copy_(turned)
        given = [torch.tensor(value) for name, value in graph.inputs.items() if name not in ("mask", "kinds", "places")]
        more = [torch.tensor(graph.inputs["mask"])] if one.kind == "pooling" else []
        answer: np.ndarray = module(*given, *more).numpy()
        return answer


@pytest.mark.parametrize("one", WRITTEN, ids=lambda one: one.signature)
def test_a_written_graph_computes_what_the_kernel_does(one: Operator, tmp_path: Path) -> None:
    graph = graph_of(one)
    assert graph is not None
    onnx.checker.check_model(graph.model, full_check=True)
    (answer,) = answers(graph, tmp_path)
    np.testing.assert_allclose(answer, expected(one, graph), atol=2e-5)


def nodes(graph: Graph) -> list[str]:
    """What a graph is made of, without what only names a value."""
    return sorted(node.op_type for node in graph.model.graph.node if node.op_type not in ("Identity", "Expand"))


@pytest.mark.parametrize("one", [LINEAR, NORM, WRITTEN[5]], ids=lambda one: one.kind)
def test_a_written_graph_is_made_of_what_the_exporter_writes(one: Operator) -> None:
    written = graph_of(one)
    assert written is not None
    assert nodes(written) == nodes(exported_graph(one))


def test_attention_is_what_the_exporter_writes_of_attention_with_a_mask(tmp_path: Path) -> None:
    class Masked(torch.nn.Module):
        def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            q, k, v = (x.view(2, 8, -1, 16).transpose(1, 2) for x in (q, k, v))
            x = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
            return x.transpose(1, 2).reshape(2, 8, -1)

    given = {name: torch.randn(2, 8, 32) for name in "qkv"} | {"mask": torch.zeros(2, 1, 8, 8)}
    to_onnx(Masked().eval(), given, tmp_path / "m.onnx", outputs=["y"])
    written = graph_of(WRITTEN[-1])
    assert written is not None
    theirs = [node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node]
    for kind in ("MatMul", "Softmax", "Mul", "Add"):
        assert nodes(written).count(kind) == theirs.count(kind), (kind, theirs)


def test_what_has_no_text_is_exported(tmp_path: Path) -> None:
    rare = operator("linear", inputs=8, outputs=8, bias=1, activation="mish")
    assert "mish" not in FINISHES
    assert graph_of(rare) is None
    (answer,) = answers(operator_graph(rare), tmp_path)
    assert answer.shape == (2, 8, 8)


@pytest.mark.parametrize("name", NAMES)
def test_int8_work_is_in_int8_and_the_rest_as_it_was(name: str, tmp_path: Path) -> None:
    runtime: Any = RUNTIMES[name]()
    for one, smaller in ((LINEAR, True), (NORM, False)):
        graph = operator_graph(one)
        file = tmp_path / "work.onnx"
        file.write_bytes(graph.model.SerializeToString())
        small = runtime.quantised(file, graph.inputs)
        content = small.read_bytes() if name == "onnxruntime" else small.with_suffix(".xml").read_bytes()
        assert (b"MatMulInteger" in content or b"FakeQuantize" in content) is smaller
        (answer,) = opened(small, name, threads=1)(graph.inputs).values()
        (exact,) = answers(graph, tmp_path)
        assert 0 <= np.abs(answer - exact).max() < 0.2


def test_int8_of_a_profile_has_the_operators_of_the_file_that_is_served(tmp_path: Path) -> None:
    graph, file = operator_graph(LINEAR), tmp_path / "work.onnx"
    file.write_bytes(graph.model.SerializeToString())
    openvino.quantised(file, tmp_path / "served.xml", samples=[graph.inputs] * 2)
    mine = RUNTIMES["openvino"]().quantised(file, graph.inputs)  # type: ignore[attr-defined]
    kinds = [
        Counter(node.get_type_name() for node in openvino.read(one).get_ops())
        for one in (mine, tmp_path / "served.xml")
    ]
    assert kinds[0] == kinds[1]
    assert kinds[0]["FakeQuantize"] > 0


class Calls:
    """Prepared work that takes as long as it is told."""

    def __init__(self, *seconds: float) -> None:
        self.left = list(seconds)

    def seconds(self, calls: int) -> float:
        return calls * (self.left.pop(0) if len(self.left) > 1 else self.left[0])


def test_entering_is_subtracted_at_its_best_and_never_leaves_less_than_nothing() -> None:
    entry = Entry(Calls(9.0, 2.0, 1.0))
    assert entry.best == 1.0
    assert Inside(Calls(3.0), entry).seconds(4) == pytest.approx(8.0)
    assert 0 < Inside(Calls(0.5), entry).seconds(4) < 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_probes_and_the_sentinel_are_the_runtimes_own(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    device, serving = open_device("cpu"), Serving(sequence=8, threads=1, runtime=name, dtype="int8")
    with device.session(serving):
        probes = {probe.name: device.prepare(probe, serving) for probe in device.probes(serving)}
        assert all(prepared.seconds(2) > 0 for prepared in probes.values())
        monkeypatch.setattr(torch, "mm", None)
        assert device.sentinel(serving).seconds(2) > 0


@pytest.mark.parametrize("name", NAMES)
def test_phases_and_precisions_that_no_file_has_are_refused(name: str) -> None:
    cpu = open_device("cpu")
    with pytest.raises(DeviceError, match=rf"{name} serves the phase encode here; got 'decode'"):
        cpu.regime(Serving(runtime=name, phase="decode"))
    with pytest.raises(DeviceError, match=rf"{name} serves float32 or int8; got dtype 'bfloat16'"):
        cpu.regime(Serving(runtime=name, dtype="bfloat16"))
    with pytest.raises(DeviceError, match="the cpu serves float32 or bfloat16; got dtype 'int8'"):
        cpu.regime(Serving(dtype="int8"))


def test_each_runtime_says_what_it_is_and_none_as_another() -> None:
    cpu = open_device("cpu")
    stacks = [stack_of(cpu, name) for name in ("torch", *NAMES)]
    assert len({str(stack) for stack in stacks}) == 3
    assert stacks[1]["onnxruntime"]
    assert stacks[2]["openvino"]


def test_a_model_that_cannot_be_exported_is_a_finding_and_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Path:
        raise InputError("ONNX cannot express this model (aten.bessel_j0)")

    monkeypatch.setattr(files, "_made", broken)
    model = family("bert").space(GENES).decode(np.zeros((1, 11), np.int16))[0]
    with pytest.raises(Unsupported, match="bessel_j0"):
        RUNTIMES["onnxruntime"]().prepare(model, open_device("cpu"), Serving(runtime="onnxruntime", threads=1))


def test_a_space_is_profiled_and_predicted_in_int8_beside_float32(tmp_path: Path) -> None:
    space = family("bert").space(GENES | {"layers": [1], "width": [32], "heads": [2], "ffn": [64]})
    servings = [Serving(sequence=8, threads=1, runtime="onnxruntime", dtype=dtype) for dtype in ("float32", "int8")]
    table = profile(space, "cpu", servings, tmp_path, models=1)
    assert table.runtime == "onnxruntime"
    assert {name.partition("/")[0] for name in table.meta.roofs} == {"float32", "int8"}
    assert find_table("cpu", tmp_path) is None
    predictor, students = LatencyPredictor.fit(table), space.decode(space.grid(8))
    for serving in servings:
        answer = predictor.predict(students, serving)
        assert set(answer.tier) == {"exact"}
        assert (answer.lower_ms > 0).all()
        assert (answer.lower_ms < answer.upper_ms).all()
    loaded = LatencyPredictor.load(predictor.save(tmp_path / "predictor"))
    assert np.array_equal(
        loaded.predict(students, servings[1]).mean_ms, predictor.predict(students, servings[1]).mean_ms
    )
    with pytest.raises(TableError, match=r"no rows for float32 eager"):
        predictor.predict(students, Serving(sequence=8, threads=1))


def test_a_model_in_int8_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []
    runtime: Any = RUNTIMES["onnxruntime"]()
    model = family("bert").space(GENES).decode(np.zeros((1, 11), np.int16))[0]
    serving = Serving(sequence=8, threads=1, runtime="onnxruntime", dtype="int8")
    quantised = type(runtime).quantised

    def counted(self: Any, file: Path, inputs: Any) -> Path:
        made.append(file)
        return Path(quantised(self, file, inputs))

    monkeypatch.setattr(type(runtime), "quantised", counted)
    monkeypatch.setattr(files, "_folder", lambda: folder)
    with tempfile.TemporaryDirectory() as place:
        folder = SimpleNamespace(name=place)
        for _ in range(2):
            assert runtime.prepare(model, open_device("cpu"), serving).seconds(1) > 0
    assert len(made) == 1
