"""The runtimes' own profiles say that operators are fused as they are in a model."""

from pathlib import Path

import pytest

from distilsearch.errors import InputError
from distilsearch.operators import Operator
from distilsearch.profiling.runtimes import RUNTIMES
from distilsearch.profiling.runtimes.fusion import kernels
from distilsearch.profiling.runtimes.graphs import Graph, graph_of

LINEAR = "linear(activation=gelu,batch=2,bias=1,inputs=32,outputs=64,sequence=8)"
NORM = "norm(batch=2,norm=layer,residual=1,sequence=8,width=32)"


def written(signature: str, folder: Path) -> tuple[Path, Graph]:
    graph, file = graph_of(Operator.parse(signature)), folder / "work.onnx"
    assert graph is not None
    file.write_bytes(graph.model.SerializeToString())
    return file, graph


def test_onnxruntime_fuses_bias_and_activation_and_the_residual_into_the_norm(tmp_path: Path) -> None:
    file, graph = written(LINEAR, tmp_path)
    assert kernels(file, "onnxruntime", graph.inputs).counts == {"MatMul": 1, "BiasGelu": 1}
    file, graph = written(NORM, tmp_path)
    assert kernels(file, "onnxruntime", graph.inputs).counts == {"SkipLayerNormalization": 1}


def test_onnxruntime_has_one_kernel_for_a_product_in_int8(tmp_path: Path) -> None:
    file, graph = written(LINEAR, tmp_path)
    small = RUNTIMES["onnxruntime"]().quantised(file, graph.inputs)  # type: ignore[attr-defined]
    assert kernels(small, "onnxruntime", graph.inputs).counts == {"DynamicQuantizeMatMul": 1, "Gelu": 1}


def test_openvino_has_one_kernel_for_product_bias_and_activation(tmp_path: Path) -> None:
    file, graph = written(LINEAR, tmp_path)
    ran = kernels(file, "openvino", graph.inputs)
    assert ran.counts["FullyConnected"] == 1
    assert "Gelu" not in ran.counts
    assert 0 < ran.total_seconds < 1


def test_unknown_runtimes_and_damaged_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "work.onnx").write_bytes(b"no model")
    with pytest.raises(InputError, match="unknown runtime of a file"):
        kernels(tmp_path / "work.onnx", "torch", {})
    with pytest.raises(InputError, match="cannot load this file"):
        kernels(tmp_path / "work.onnx", "onnxruntime", {})
