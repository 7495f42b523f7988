"""Dynamic int8 of an ONNX graph: what `onnxruntime.quantization.quantize_dynamic` makes of it, many times faster.

The library goes through weights channel by channel, for half of a profile's time. The tests hold this against it,
weight for weight and node for node. Where a graph has more than products and look-ups for it to change, it is the
library's to do: `int8_of` gives None.

    a, w, y    what flows into a product, its weights (inputs, outputs) and what flows out: y = a w
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from .libraries import library

OTHERS = ("Attention", "Conv", "EmbedLayerNormalization", "Gemm", "LSTM", "Transpose")  # the library changes them too
LEAST = float(np.finfo(np.float32).tiny)

Array = npt.NDArray[Any]


def int8_of(model: Any) -> Any | None:
    """A model (changed in place) with weights of products in int8 per output channel, and its tables in uint8.

    What flows into products is scaled as it comes. None, and no change, where only the library knows what to do.
    """
    onnx = library("onnx")
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    small = _changed(model.graph, weights, onnx.TensorProto.FLOAT)
    if not small:
        return None
    tables = {node.input[0] for node in model.graph.node if node.op_type == "Gather"}
    nodes, scaled = [], set[str]()
    for node in model.graph.node:
        if not small & set(node.input):
            nodes.append(node)
            continue
        table = node.op_type == "Gather"
        nodes += _lookup(onnx.helper, node) if table else _product(onnx.helper, node, scaled)
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in small]
    fresh = [part for name in small for part in _parts(onnx, name, weights[name], name in tables)]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend([*kept, *fresh])
    return model


def _changed(graph: Any, weights: dict[str, Any], real: int) -> set[str]:
    """The weights that become small; empty where that is not all that would change."""
    uses = defaultdict(set)
    read = defaultdict(set)  # by value: kinds of nodes that read it
    for node in graph.node:
        if any(part.HasField("g") or part.graphs for part in node.attribute):
            return set()
        for place, name in enumerate(node.input):
            uses[name].add((node.op_type, place))
            read[name].add(node.op_type)
    small = {name for name, tensor in weights.items() if tensor.data_type == real and _weighs(uses[name])}
    looked = {
        name for node in graph.node if node.op_type == "Gather" and node.input[0] in small for name in node.output
    }
    mixed = any(len(uses[name]) > 1 or (("MatMul", 1) in uses[name] and len(weights[name].dims) != 2) for name in small)
    answered = (small | looked) & {answer.name for answer in graph.output}
    strange = any(read[name] & {"MatMul", "Gather", *OTHERS} for name in looked)
    others = any(
        node.op_type in OTHERS[:-1] or (node.op_type == "MatMul" and node.input[0] in weights) for node in graph.node
    )
    products = [tuple(node.input) for node in graph.node if node.op_type == "MatMul"]
    twice = len(set(products)) < len(products)
    return set() if mixed or answered or strange or others or twice else small


def _weighs(uses: set[tuple[str, int]]) -> bool:
    """Whether anything makes a weight small."""
    return bool(uses & {("MatMul", 1), ("Gather", 0)})


def _product(helper: Any, node: Any, scaled: set[str]) -> Iterator[Any]:
    """y = a w: a is scaled once, whoever reads it; the product of whole numbers is scaled back."""
    (a, w), y = node.input, node.output[0]
    if a not in scaled:
        scaled.add(a)
        yield helper.make_node("DynamicQuantizeLinear", [a], [f"{a}_quantized", f"{a}_scale", f"{a}_zero_point"])
    scale, whole = f"{a}_scale_{w}_scale_mul:0", f"{y}_output_quantized"
    given = [f"{a}_quantized", f"{w}_quantized", f"{a}_zero_point", f"{w}_zero_point"]
    yield helper.make_node("Mul", [f"{a}_scale", f"{w}_scale"], [scale])
    yield helper.make_node("MatMulInteger", given, [whole])
    yield helper.make_node("Cast", [whole], [f"{whole}_cast_output"], to=1)
    yield helper.make_node("Mul", [f"{whole}_cast_output", scale], [y])


def _lookup(helper: Any, node: Any) -> Iterator[Any]:
    """Rows of a table, made real again."""
    table, y = node.input[0], node.output[0]
    node.input[0], node.output[0] = f"{table}_quantized", f"{y}_quantized"
    yield node
    yield helper.make_node("DequantizeLinear", [f"{y}_quantized", f"{table}_scale", f"{table}_zero_point"], [y])


def _parts(onnx: Any, name: str, tensor: Any, table: bool) -> Iterator[Any]:
    """A weight as whole numbers, their scale and the number that stands for nought."""
    values: Array = onnx.numpy_helper.to_array(tensor)
    parts = _table(values) if table else _channels(values)
    for part, value in zip(("quantized", "scale", "zero_point"), parts, strict=True):
        yield onnx.numpy_helper.from_array(value, f"{name}_{part}")


def _channels(w: Array) -> tuple[Array, Array, Array]:
    """(inputs, outputs) in -127 .. 127, with a scale for each output; nought is nought."""
    scale = _scale(2 * np.abs(w).max(axis=0).astype(np.float64) / 254)
    return np.clip((w / scale).round(), -128, 127).astype(np.int8), scale, np.zeros(w.shape[1], np.int8)


def _table(values: Array) -> tuple[Array, Array, Array]:
    """In 0 .. 255, from the least to the largest number, with nought among them."""
    low, high = min(values.min(), np.float32(0)), max(values.max(), np.float32(0))
    exact = (np.float64(high) - np.float64(low)) / 255
    scale = _scale(exact)
    nought = np.round(-low / exact) if exact >= LEAST else np.float64(0)
    whole = (values / scale).round() + nought.astype(np.uint8)
    return np.clip(whole, 0, 255).astype(np.uint8), scale, np.array(nought, np.uint8)


def _scale(exact: Any) -> Array:
    """In float32; one where all is nought."""
    return np.where(exact < LEAST, 1.0, exact).astype(np.float32)
