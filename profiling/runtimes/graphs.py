"""Operators as ONNX graphs: node for node what torch's exporter writes of them inside a whole model.

Exporting an operator takes half a second, and a space has hundreds; these few lines of text take a millisecond, and the
tests hold them against the exporter. What has no text here (see `graph_of`) is exported after all. Attention has the
mask of a padded batch, which a served file always reads.

    B, S     batch and sequence              W, I, O   widths
    H, D     heads and their size            V, P, T   rows of the tables of words, positions and types
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from distilsearch.artefacts.libraries import library
from distilsearch.operators import Operator

Sizes = Mapping[str, Any]
Array = npt.NDArray[Any]

OPSET, IR = 20, 10
ANY = "batch,sequence"  # sizes that a file leaves open; where they were fixed, other kernels would be chosen
LAYER_NORM = "LayerNormalization <axis = -1, epsilon = 1e-12>"
FINISHES = {  # activations: nodes from x to y
    "none": "{y} = Identity({x})",
    "gelu": '{y} = Gelu <approximate = "none"> ({x})',
    "relu": "{y} = Relu({x})",
    "tanh": "{y} = Tanh({x})",
    "silu": "{y}_gate = Sigmoid({x}) {y} = Mul({x}, {y}_gate)",
}


@dataclass(frozen=True)
class Graph:
    """Work as ONNX: `model` computes its outputs from `inputs`, by name."""

    model: Any
    inputs: Mapping[str, Array]


def random(*shape: int, seed: int = 0) -> Array:
    """Normal numbers of float32, the same ones at every call."""
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def graph(
    takes: str, gives: str, nodes: str, inputs: Mapping[str, Array], weights: Mapping[str, Array], within: str = ""
) -> Graph:
    """A graph of ONNX's own textual form, with values for what it takes and for the weights it names.

    `within` states shapes of values on the way that cannot be seen from the nodes.
    """
    onnx = library("onnx")
    parsed = onnx.parser.parse_graph(f"work ({takes}) => ({gives}) <{within}> {{ {nodes} }}")
    parsed.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in weights.items())
    opsets = [onnx.helper.make_opsetid("", OPSET)]
    return Graph(onnx.helper.make_model(parsed, opset_imports=opsets, ir_version=IR), inputs)


def graph_of(operator: Operator) -> Graph | None:
    """The graph of an operator with random weights and inputs; None where only the exporter knows it."""
    written = WRITTEN.get(operator.kind)
    return written(operator.sizes) if written else None


def _embedding(s: Sizes) -> Graph | None:
    if not (s["positions"] and s["types"] and s["norm"] in ("layer", "none")):
        return None
    b, n, width = s["batch"], s["sequence"], s["width"]
    norm = f"y = {LAYER_NORM} (x, gain, offset)" if s["norm"] == "layer" else "y = Identity(x)"
    ids = np.random.default_rng(0).integers(s["vocabulary"], size=(b, n))
    return graph(
        f"int64[{ANY}] ids, int64[{ANY}] kinds, int64[1,sequence] places", f"float[{ANY},{width}] y",
        "words = Gather(word_table, ids) typed = Gather(type_table, kinds) summed = Add(words, typed)"
        f" placed = Gather(place_table, places) x = Add(summed, placed) {norm}",
        {"ids": ids, "kinds": np.zeros((b, n), np.int64), "places": np.arange(n)[None] % s["positions"]},
        {
            "word_table": random(s["vocabulary"], width), "type_table": random(s["types"], width),
            "place_table": random(s["positions"], width), **_norm_weights(width),
        },
    )  # fmt: skip


def _linear(s: Sizes) -> Graph | None:
    if s["activation"] not in FINISHES:
        return None
    product = "z = MatMul(a, weight) x = Add(z, bias)" if s["bias"] else "x = MatMul(a, weight)"
    bias = {"bias": random(s["outputs"])} if s["bias"] else {}
    return graph(
        f"float[{ANY},{s['inputs']}] a", f"float[{ANY},{s['outputs']}] y", f"{product} {finished(s)}",
        {"a": random(s["batch"], s["sequence"], s["inputs"])},
        {"weight": random(s["inputs"], s["outputs"]) / np.float32(s["inputs"] ** 0.5), **bias},
    )  # fmt: skip


def finished(s: Sizes) -> str:
    """The nodes of an operator's activation, from x to y."""
    return FINISHES[s["activation"]].format(x="x", y="y")


def _attention(s: Sizes) -> Graph | None:
    if s["causal"] or s["cached"] or s["kv_heads"] != s["heads"]:
        return None
    b, n, h, d = s["batch"], s["sequence"], s["heads"], s["head_size"]
    given = {name: random(b, n, h * d) for name in ("q", "k", "v")}
    flows = f"float[{ANY},{h * d}]"
    apart = " ".join(
        f"{x}s = Reshape({x}, heads) {x}h = Transpose <perm = [0, 2, 1, 3]> ({x}s)" for x in ("q", "k", "v")
    )
    return graph(
        f"{flows} q, {flows} k, {flows} v, float[batch,1,sequence,sequence] mask", f"{flows} y",
        f"{apart} turned = Transpose <perm = [0, 1, 3, 2]> (kh) qm = Mul(qh, scale) km = Mul(turned, scale)"
        " scores = MatMul(qm, km) masked = Add(scores, mask) shares = Softmax <axis = -1> (masked)"
        " lost = IsNaN(shares) sure = Where(lost, zero, shares) mixed = MatMul(sure, vh)"
        " back = Transpose <perm = [0, 2, 1, 3]> (mixed) y = Reshape(back, flat)",
        {**given, "mask": np.zeros((b, 1, n, n), np.float32)},
        {
            "heads": np.array([0, 0, -1, d]), "flat": np.array([0, 0, h * d]),
            "scale": np.array(d**-0.25, np.float32), "zero": np.array(0, np.float32),
        },
    )  # fmt: skip


def _norm(s: Sizes) -> Graph | None:
    if s["norm"] not in ("layer", "none"):
        return None
    flows, width = f"float[{ANY},{s['width']}]", s["width"]
    added = "x = Add(a, b)" if s["residual"] else "x = Identity(a)"
    scaled = f"y = {LAYER_NORM} (x, gain, offset)" if s["norm"] == "layer" else "z = Mul(x, gain) y = Add(z, offset)"
    given = {name: random(s["batch"], s["sequence"], width) for name in "ab"[: 1 + s["residual"]]}
    return graph(
        ", ".join(f"{flows} {name}" for name in given), f"{flows} y", f"{added} {scaled}", given, _norm_weights(width)
    )


def _gate(s: Sizes) -> Graph | None:
    if s["activation"] not in FINISHES:
        return None
    flows = f"float[{ANY},{s['width']}]"
    given = {name: random(s["batch"], s["sequence"], s["width"]) for name in ("x", "b")}
    return graph(f"{flows} x, {flows} b", f"{flows} out", f"{finished(s)} out = Mul(y, b)", given, {})


def _pooling(s: Sizes) -> Graph | None:
    b, n, width = s["batch"], s["sequence"], s["width"]
    mean = (
        "wide = Unsqueeze(mask, last) ones = Cast <to = 1> (wide) weighted = Mul(x, ones)"
        " total = ReduceSum <keepdims = 0> (weighted, first) counted = ReduceSum <keepdims = 0> (ones, first)"
        " count = Clip(counted, few) pooled = Div(total, count)"
    )
    unit = "length = ReduceL2 <keepdims = 1> (pooled, last) long = Clip(length, least) y = Div(pooled, long)"
    return graph(
        f"float[{ANY},{width}] x, int64[{ANY}] mask", f"float[batch,{width}] y",
        f"{mean if s['pool'] == 'mean' else 'pooled = Gather <axis = 1> (x, cls)'}"
        f" {unit if s['normalize'] else 'y = Identity(pooled)'}",
        {"x": random(b, n, width), "mask": np.ones((b, n), np.int64)},
        {
            "first": np.array([1]), "last": np.array([-1]), "few": np.array(1e-9, np.float32),
            "least": np.array(1e-12, np.float32), "cls": np.array(0),
        },
    )  # fmt: skip


def _head(s: Sizes) -> Graph | None:
    b, n, width, words = s["batch"], s["sequence"], s["width"], s["vocabulary"]
    before = (
        f"t = MatMul(a, dense) u = Add(t, lift) v = Gelu(u) x = {LAYER_NORM} (v, gain, offset)"
        if s["transform"]
        else "x = Identity(a)"
    )
    after = "z = MatMul(x, table) y = Add(z, bias)" if s["transform"] else "y = MatMul(x, table)"
    return graph(
        f"float[{ANY},{width}] a", f"float[{ANY},{words}] y", f"{before} {after}", {"a": random(b, n, width)},
        {
            "dense": random(width, width) / np.float32(width**0.5), "lift": random(width), **_norm_weights(width),
            "table": random(width, words), "bias": random(words),
        },
    )  # fmt: skip


def _norm_weights(width: int) -> dict[str, Array]:
    """None is one or nought throughout, as after training: OpenVINO would leave it out."""
    return {"gain": 1 + random(width) / 64, "offset": random(width) / 64}


WRITTEN: dict[str, Callable[[Sizes], Graph | None]] = {
    "embedding": _embedding,
    "linear": _linear,
    "attention": _attention,
    "norm": _norm,
    "gate": _gate,
    "pooling": _pooling,
    "head": _head,
}


def number_graph() -> Graph:
    """The least that can be asked: what entering a graph costs, and little else."""
    return graph("float[1] x", "float[1] y", "y = Neg(x)", {"x": random(1)}, {})


def copy_graph(elements: int) -> Graph:
    """One pass over memory: so many numbers read, and as many written."""
    return graph(f"float[{elements}] x", f"float[{elements}] y", "y = Neg(x)", {"x": random(elements)}, {})


def chain_graph(rows: int, width: int, length: int) -> Graph:
    """Products one after another, each with weights of its own: (rows, width) -> (rows, width)."""
    names = [f"w{place}" for place in range(length)]
    nodes = " ".join(f"x{place + 1} = MatMul(x{place}, {name})" for place, name in enumerate(names))
    weights = {name: random(width, width) / np.float32(width**0.5) for name in names}
    shape = f"float[{rows},{width}]"
    return graph(f"{shape} x0", f"{shape} x{length}", nodes, {"x0": random(rows, width)}, weights)
