"""Dynamic int8 as it is written here: the library's, weight for weight and node for node."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from distilsearch.artefacts.dynamic import int8_of
from distilsearch.artefacts.libraries import library, quietly
from distilsearch.artefacts.onnx import quantised

HEAD = '<ir_version: 10, opset_import: ["" : 20]>\n'
BERT = """work (int64[n,s] ids, int64[n,s] kinds) => (float[n,s,5] y, float[n,s,3] z) {
    words = Gather(table, ids) typed = Gather(few, kinds) x = Add(words, typed)
    q = MatMul(x, a) k = MatMul(x, b) both = Add(q, k) y = Relu(both) z = MatMul(y, c)
}"""
SHAPES = {"table": (40, 6), "few": (2, 6), "a": (6, 5), "b": (6, 5), "c": (5, 3)}


def model_of(text: str, **weights: np.ndarray) -> Any:
    parsed = onnx.parser.parse_model(HEAD + text)
    parsed.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in weights.items())
    return parsed


def drawn(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.normal(0.3, 1, shape).astype(np.float32) for name, shape in shapes.items()}


def by_library(model: Any, folder: Path) -> Any:
    onnx.save(model, folder / "whole.onnx")
    quantisation = library("onnxruntime.quantization")
    with quietly():
        quantisation.quantize_dynamic(
            folder / "whole.onnx", folder / "small.onnx", per_channel=True, weight_type=quantisation.QuantType.QInt8
        )
    return onnx.load(folder / "small.onnx")


def held(model: Any) -> dict[str, Any]:
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def nodes(model: Any) -> Counter[tuple[Any, ...]]:
    return Counter((node.op_type, *node.input, "->", *node.output) for node in model.graph.node)


def test_weights_and_nodes_are_the_library_s(tmp_path: Path) -> None:
    weights = drawn(**SHAPES)
    weights["a"][:, 1] = 0  # a channel of nothing
    weights["few"][:] = np.abs(weights["few"])  # a table with nought at its end
    theirs = by_library(model_of(BERT, **weights), tmp_path)
    ours = int8_of(model_of(BERT, **weights))
    assert ours is not None
    onnx.checker.check_model(ours, full_check=True)
    assert nodes(ours) == nodes(theirs)
    assert held(ours).keys() == held(theirs).keys()
    for name, value in held(theirs).items():
        assert held(ours)[name].dtype == value.dtype
        np.testing.assert_array_equal(held(ours)[name], value, name)


UNKNOWN = {
    "a table that is multiplied with": "y = MatMul(x, table) r = Gather(table, i)",
    "a table that is turned": "t = Transpose(table) r = Gather(table, i) y = MatMul(x, a)",
    "rows that are multiplied": "r = Gather(table, i) y = MatMul(r, a)",
    "weights on the left": "y = MatMul(a, b)",
    "another kind": "y = LSTM(x, a3, b3)",
    "a product with its bias": "z = MatMul(x, a) y = Gemm <transB = 1> (z, b)",
    "one product twice": "z = MatMul(x, a) t = MatMul(x, a) y = Add(z, t)",
    "nothing": "y = Relu(x)",
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_what_else_the_library_would_change_is_left_to_it(case: str) -> None:
    text = f"work (float[n,6] x, int64[n] i) => (float[n,6] y) {{ {UNKNOWN[case]} }}"
    model = model_of(text, **drawn(table=(6, 6), a=(6, 6), b=(6, 6), a3=(1, 24, 6), b3=(1, 24, 6)))
    before = model.SerializeToString()
    assert int8_of(model) is None
    assert model.SerializeToString() == before


def test_weights_that_are_an_answer_stay_what_they_are() -> None:
    model = model_of("work (float[n,6] x) => (float[n,6] y, float[6,6] a) { y = MatMul(x, a) }", **drawn(a=(6, 6)))
    assert int8_of(model) is None


def test_a_file_comes_out_as_by_the_library_either_way(tmp_path: Path) -> None:
    for text in (BERT, BERT.replace("x = Add(words, typed)", "u = Transpose(table) x = Add(words, typed)")):
        onnx.save(model_of(text, **drawn(**SHAPES)), tmp_path / "m.onnx")
        quantised(tmp_path / "m.onnx", tmp_path / "s.onnx")
        theirs = by_library(onnx.load(tmp_path / "m.onnx"), tmp_path)
        assert nodes(onnx.load(tmp_path / "s.onnx")) == nodes(theirs)
