"""Whole encoders as ONNX graphs: node for node what torch's exporter writes of BERT's and RoBERTa's, in milliseconds.

The exporter takes 4 to 20 seconds for a model, and a profile has a dozen of them. The tests hold these graphs against
the models (the same numbers of the same weights) and against the exporter's files (the same kernels in the runtime).
What has no text here, such as other families or rarer activations, is exported after all.

In the text of the nodes, # stands for the number of a layer:

    x, y       what flows into and out of a layer        texts, tokens    sizes of the request
    q, k, v    queries, keys and values; with h by head  seen             which tokens may be looked at
"""

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from distilsearch.architecture import Architecture
from distilsearch.operators import canonical_activation

from .graphs import ANY, FINISHES, LAYER_NORM, Array, graph, random

Weights = Callable[..., Array]  # (name, *shape) -> values of a parameter, by transformers' name below the base model

SPREAD = 0.02  # of transformers' fresh weights
TABLES = {  # their part of a parameter's name, and the gene that is their number of rows
    "word_table": ("word", "vocabulary"),
    "type_table": ("token_type", "types"),
    "place_table": ("position", "positions"),
}
SIZES = (
    "texts = Shape <start = 0, end = 1> (input_ids) text_count = Squeeze(texts)"
    " tokens = Shape <start = 1, end = 2> (attention_mask) token_count = Squeeze(tokens)"
    " split = Concat <axis = 0> (texts, tokens, last, head_size) joined = Concat <axis = 0> (texts, tokens, last)"
)
PLACES = {  # by family: where each token stands, and of which kind it is
    "bert": (
        "places = Slice(all_places, first, tokens, second, second) kind = GatherElements <axis = 1> (no_kinds, places)"
        " both = Concat <axis = 0> (texts, tokens) kinds = Expand(kind, both)"
    ),
    "roberta": (
        "padding = Equal(input_ids, one) there = Not(padding) whole = Cast <to = 6> (there)"
        " long = Cast <to = 7> (whole) counted = CumSum(long, one) short = Cast <to = 6> (counted)"
        " real = Mul(short, whole) wide = Cast <to = 7> (real)"
        " places = Add(wide, one) rows = Concat <axis = 0> (texts, second) every = Expand(no_kinds, rows)"
        " kinds = GatherElements <axis = 1> (every, places)"
    ),
}
LOOKED_UP = (
    "words = Gather(word_table, input_ids) typed = Gather(type_table, kinds) summed = Add(words, typed)"
    " placed = Gather(place_table, places) embedded = Add(summed, placed)"
)
SEEN = (
    "given = Cast <to = 9> (attention_mask)"
    " text = Range(nought, text_count, one) token = Range(nought, token_count, one)"
    " text3 = Unsqueeze(text, inner_axes) text4 = Unsqueeze(text3, third) token3 = Unsqueeze(token, outer_axes)"
    " queried = Unsqueeze(token3, third) keyed = Unsqueeze(token3, axis_two)"
    " inside = GreaterOrEqual(queried, nought) allowed = And(yes, inside)"
    " grid = Max(text4, keyed) spread = Shape <start = 0> (grid)"
    " text_grid = Expand(text4, spread) text_place = Unsqueeze(text_grid, last)"
    " key_grid = Expand(keyed, spread) key_place = Unsqueeze(key_grid, last)"
    " looked = Concat <axis = -1> (text_place, key_place) masks = GatherND <batch_dims = 0> (given, looked)"
    " seen = And(allowed, masks) hiding = Where(seen, nothing, least)"
)
ATTENTION = (
    "qs# = Reshape <allowzero = 1> (q#, split) qh# = Transpose <perm = [0, 2, 1, 3]> (qs#)"
    " ks# = Reshape <allowzero = 1> (k#, split) kh# = Transpose <perm = [0, 2, 1, 3]> (ks#)"
    " vs# = Reshape <allowzero = 1> (v#, split) vh# = Transpose <perm = [0, 2, 1, 3]> (vs#)"
    " shape# = Shape <start = 0> (kh#) size# = Slice(shape#, last, end)"
    " length# = Slice(shape#, last_two, last) outer# = Slice(shape#, start, last_two)"
    " flat# = Concat <axis = 0> (last, length#, size#) kf# = Reshape <allowzero = 0> (kh#, flat#)"
    " kt# = Transpose <perm = [0, 2, 1]> (kf#) back# = Concat <axis = 0> (outer#, size#, length#)"
    " kb# = Reshape <allowzero = 0> (kt#, back#) qm# = Mul(qh#, scale) km# = Mul(kb#, scale)"
    " scores# = MatMul(qm#, km#) hidden# = Add(scores#, hiding) shares# = Softmax <axis = -1> (hidden#)"
    " lost# = IsNaN(shares#) sure# = Where(lost#, nothing, shares#) mixed# = MatMul(sure#, vh#)"
    " apart# = Transpose <perm = [0, 2, 1, 3]> (mixed#) heads# = Reshape <allowzero = 1> (apart#, joined)"
)
POOLED = {
    "mean": (
        "mask = Unsqueeze(attention_mask, last) ones = Cast <to = 1> (mask)"
        " total = ReduceSum <keepdims = 0> (ones, second) count = Clip(total, few)"
        " weighted = Mul({x}, ones) sum = ReduceSum <keepdims = 0> (weighted, second) pooled = Div(sum, count)"
    ),
    "cls": "pooled = Gather <axis = 1> ({x}, nought)",
}
UNIT = (
    " norm = ReduceL2 <keepdims = 1> (pooled, last) clipped = Clip(norm, tiny) row = Concat <axis = 0> (texts, width)"
    " norms = Expand(clipped, row) sentence_embedding = Div(pooled, norms)"
)
HEADS = {  # by family: where the parameters of the head for words are
    "bert": ("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions.bias"),
    "roberta": ("lm_head.dense", "lm_head.layer_norm", "lm_head.bias"),
}


def encoder_model(architecture: Architecture, weights: Weights | None = None) -> Any | None:
    """The ONNX model of an architecture, for any batch and length; None where only the exporter knows it.

    Takes `input_ids` and `attention_mask` (batch, sequence), gives `sentence_embedding`: whatever the family serves.

    Args:
        weights: of its parameters, in torch's shapes; by default random ones.
    """
    a: Any = architecture.values
    finish = canonical_activation(str(a.get("activation")))
    if architecture.family not in PLACES or finish not in FINISHES or (a["head"] != "mlm" and a["pool"] not in POOLED):
        return None
    writing = Writing(weights or fresh)
    writing.embedding(architecture)
    x = "x0"
    for layer in range(a["layers"]):
        x = writing.layer(layer, x, a["width"], a["ffn"], finish)
    if a["head"] == "mlm":
        writing.words(architecture.family, x, a["width"], a["vocabulary"], finish)
    else:
        writing.nodes.append(POOLED[a["pool"]].format(x=x) + UNIT)
    answer = f"{ANY},{a['vocabulary']}" if a["head"] == "mlm" else f"batch,{a['width']}"
    takes = f"int64[{ANY}] input_ids, int64[{ANY}] attention_mask"
    flows = ["embedded", *(f"heads{layer}" for layer in range(a["layers"]))]
    within = ", ".join(f"float[{ANY},{a['width']}] {name}" for name in flows)
    values = writing.values | _constants(architecture)
    return graph(takes, f"float[{answer}] sentence_embedding", " ".join(writing.nodes), {}, values, within).model


def fresh(name: str, *shape: int) -> Array:
    """A parameter of a model that nobody trained.

    None is one or nought throughout, and no two are alike: OpenVINO would leave out the former, and compute but one of
    the latter.
    """
    values: Array = random(*shape, seed=zlib.crc32(name.encode())) * np.float32(SPREAD)
    return values + np.float32(name.lower().replace("_", "").endswith("layernorm.weight"))


class Writing:
    """The nodes and weights of a model, written down from its beginning to its end."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.nodes: list[str] = []
        self.values: dict[str, Array] = {}

    def embedding(self, architecture: Architecture) -> None:
        """From tokens to `x0`, and what all layers ask: sizes of the request, and what may be seen."""
        a: Any = architecture.values
        for table, (name, rows) in TABLES.items():
            self.values[table] = self.weights(f"embeddings.{name}_embeddings.weight", a[rows], a["width"])
        self.nodes += [SIZES, PLACES[architecture.family], LOOKED_UP, SEEN]
        self.norm("embeddings.LayerNorm", "embedded", "x0", a["width"])

    def layer(self, layer: int, x: str, width: int, ffn: int, finish: str) -> str:
        """One layer; the name of what comes out of it."""
        at, y = f"encoder.layer.{layer}", f"x{layer + 1}"
        for value, name in (("q", "query"), ("k", "key"), ("v", "value")):
            self.product(f"{at}.attention.self.{name}", x, f"{value}{layer}", (width, width))
        self.nodes.append(ATTENTION.replace("#", str(layer)))
        self.product(f"{at}.attention.output.dense", f"heads{layer}", f"o{layer}", (width, width))
        self.nodes.append(f"a{layer} = Add(o{layer}, {x})")
        self.norm(f"{at}.attention.output.LayerNorm", f"a{layer}", f"n{layer}", width)
        self.product(f"{at}.intermediate.dense", f"n{layer}", f"u{layer}", (width, ffn), finish)
        self.product(f"{at}.output.dense", f"u{layer}", f"d{layer}", (ffn, width))
        self.nodes.append(f"r{layer} = Add(d{layer}, n{layer})")
        self.norm(f"{at}.output.LayerNorm", f"r{layer}", y, width)
        return y

    def words(self, family: str, x: str, width: int, vocabulary: int, finish: str) -> None:
        """From the last layer to the logits of all words, whose table is that of the embeddings."""
        dense, norm, bias = HEADS[family]
        self.product(dense, x, "transformed", (width, width), finish if family == "bert" else "gelu")
        self.norm(norm, "transformed", "last_x", width)
        self.values["word_product"] = self.values["word_table"].T
        self.values["word_bias"] = self.weights(bias, vocabulary)
        self.nodes.append("logits = MatMul(last_x, word_product) sentence_embedding = Add(logits, word_bias)")

    def product(self, name: str, x: str, y: str, sizes: tuple[int, int], finish: str = "none") -> None:
        """y = finish(x weight + bias); `sizes`: inputs, outputs."""
        weight, bias = f"{y}_weight", f"{y}_bias"
        self.values[weight] = self.weights(f"{name}.weight", *sizes[::-1]).T
        self.values[bias] = self.weights(f"{name}.bias", sizes[1])
        plain = y if finish == "none" else f"{y}_plain"
        self.nodes.append(f"{y}_product = MatMul({x}, {weight}) {plain} = Add({y}_product, {bias})")
        if finish != "none":
            self.nodes.append(FINISHES[finish].format(x=plain, y=y))

    def norm(self, name: str, x: str, y: str, width: int) -> None:
        """y = norm(x)."""
        gain, offset = f"{y}_gain", f"{y}_offset"
        self.values[gain], self.values[offset] = (self.weights(f"{name}.{part}", width) for part in ("weight", "bias"))
        self.nodes.append(f"{y} = {LAYER_NORM} ({x}, {gain}, {offset})")


def _constants(architecture: Architecture) -> dict[str, Array]:
    """What the nodes name that is no weight."""
    a: Any = architecture.values
    size, rows = a["width"] // a["heads"], (1, a["positions"])
    whole = {
        "nought": 0, "one": 1, "first": [0], "second": [1], "axis_two": [2], "third": [3], "last": [-1],
        "last_two": [-2], "inner_axes": [1, 2], "outer_axes": [0, 1], "start": [np.iinfo(np.int64).min],
        "end": [np.iinfo(np.int64).max], "head_size": [size], "width": [a["width"]],
    }  # fmt: skip
    real = {"nothing": 0.0, "least": np.finfo(np.float32).min, "few": 1e-9, "tiny": 1e-12, "scale": size**-0.25}
    return {
        "yes": np.array(True),
        "all_places": np.arange(a["positions"])[None],
        "no_kinds": np.zeros(rows, np.int64),
        **{name: np.array(value, np.int64) for name, value in whole.items()},
        **{name: np.array(value, np.float32) for name, value in real.items()},
    }
