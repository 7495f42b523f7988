"""Published latency measurements, read as models made of operators: HW-GPT-Bench-S, HAT, vidur.

The files say what a model is, not how it was run, so sequence lengths and batch sizes are those of the papers' code:
HW-GPT 1,024 tokens; HAT one sentence of 30 (WMT) or 23 (IWSLT) tokens, decoded step by step with a beam of 5. HAT
publishes layer averages of feed-forward sizes and head counts: layers take the whole numbers next to the average, in
such shares that the average is kept.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from common import data
from numpy.typing import NDArray

from distilsearch.operators import Operator

Counted = list[tuple[Operator, int]]
HWGPT_DEVICES = ("a100", "h100", "P100", "v100", "a40", "a6000", "rtx2080", "rtx3080")
HWGPT_CPUS = ("cpu_a6000", "cpu_alldlc", "cpu_meta", "cpu_mlgpu", "cpu_p100", "helix_cpu")
HAT_FILES = ("iwslt14deen_gpu_titanxp", "wmt14ende_gpu_titanxp", "wmt14ende_cpu_xeon", "wmt14ende_cpu_raspberrypi")
VIDUR_MODELS = ("Llama-2-7b-hf", "Meta-Llama-3-8B", "phi-2")
BEAM = 5
ATTENTION_WIDTH = 512  # of HAT, whatever the embedding width


@dataclass(frozen=True)
class Published:
    """n models with their operators, plain columns (n, d) for peers, and latencies (n,) in ms by name."""

    models: list[Counted]
    columns: NDArray[np.float64]
    counts: NDArray[np.float64]
    latency: dict[str, NDArray[np.float64]]
    noise: dict[str, float]  # the publishers' own relative spread of a latency, median over models

    def __len__(self) -> int:
        return len(self.models)


class Parts(Counter[Operator]):
    """Operators of one model, with their counts."""

    def put(self, kind: str, count: int = 1, **sizes: int | str) -> None:
        """Add `count` operators of these sizes."""
        self[Operator(kind, sizes)] += count


def hwgpt(devices: tuple[str, ...] = HWGPT_DEVICES + HWGPT_CPUS, rows: slice = slice(None)) -> Published:
    """The GPT sub-networks of HW-GPT-Bench, scale S; `counts` are width x layer-choice counts."""
    frame = pd.read_csv(data("latency/hwgpt_s.csv.gz"), dtype={"n_head": str, "mlp_ratio": str})[rows]
    layers = [
        (
            int(w),
            [int(x) for x in h.split("-")[:n]],
            [int(x) for x in m.split("-")[:n]],
            int(b),
        )
        for w, n, h, m, b in zip(frame.embed_dim, frame.n_layer, frame.n_head, frame.mlp_ratio, frame.bias, strict=True)
    ]
    deepest = max(len(heads) for _, heads, _, _ in layers)
    columns = [[w, len(h), b, *h, *[0] * (deepest - len(h)), *m, *[0] * (deepest - len(m))] for w, h, m, b in layers]
    counted = [
        Counter([f"w{w}", f"b{b}"] + [f"w{w}h{x}" for x in h] + [f"w{w}m{x}" for x in m]) for w, h, m, b in layers
    ]
    names = sorted({name for each in counted for name in each})
    counts = np.array([[each[name] for name in names] for each in counted], dtype=np.float64)
    latency = {device: frame[f"lat_{device}"].to_numpy() for device in devices}
    noise = {device: float(np.median(frame[f"std_{device}"] / frame[f"lat_{device}"])) for device in devices}
    return Published([gpt(*each) for each in layers], np.array(columns, dtype=np.float64), counts, latency, noise)


def gpt(width: int, heads: list[int], ratios: list[int], bias: int, sequence: int = 1024) -> Counted:
    """A GPT with its own head count and feed-forward ratio in each layer; heads of 64."""
    parts, rows = Parts(), {"batch": 1, "sequence": sequence}
    parts.put("embedding", **rows, width=width, vocabulary=50257, positions=0, types=0, norm="none")
    for h, ratio in zip(heads, ratios, strict=True):
        parts.put("linear", **rows, inputs=width, outputs=3 * 64 * h, bias=bias, activation="none")
        parts.put("attention", **rows, heads=h, kv_heads=h, head_size=64, causal=1, cached=0)
        parts.put("rotary", **rows, heads=h, kv_heads=h, head_size=64)
        parts.put("linear", **rows, inputs=64 * h, outputs=width, bias=bias, activation="none")
        parts.put("linear", **rows, inputs=width, outputs=ratio * width, bias=bias, activation="gelu")
        parts.put("linear", **rows, inputs=ratio * width, outputs=width, bias=bias, activation="none")
        parts.put("norm", 2, **rows, width=width, norm="layer", residual=1)
    parts.put("head", **rows, width=width, vocabulary=50257, transform=0, tied=0)
    return list(parts.items())


def hat(name: str, side: str) -> Published:
    """The encoders or decoders (`side`) of one HAT file; `counts` are the terms of a linear fit."""
    frame = pd.read_csv(data(f"latency/hat/{name}_all.csv"))
    tokens = 23 if name.startswith("iwslt") else 30
    columns = frame.iloc[:, :10].to_numpy(dtype=np.float64)
    own = slice(0, 4) if side == "encoder" else slice(4, 10)
    depth = columns[:, own][:, 1:2]
    terms = np.hstack([columns, columns[:, own] * depth])
    build = hat_encoder if side == "encoder" else hat_decoder
    models = [build(row, tokens) for row in columns.tolist()]
    latency = frame[f"latency_mean_{side}"].to_numpy()
    noise = float(np.median(frame[f"latency_std_{side}"] / latency))
    return Published(models, columns, terms, {name: latency}, {name: noise})


def hat_encoder(row: list[float], tokens: int) -> Counted:
    """An encoder of the first four columns."""
    width, layers, ffn, heads = int(row[0]), int(row[1]), row[2], row[3]
    parts, rows = Parts(), {"batch": 1, "sequence": tokens}
    parts.put("embedding", **rows, width=width, vocabulary=32768, positions=0, types=0, norm="none")
    _linear(parts, rows, width, 3 * ATTENTION_WIDTH, layers)
    for h, count in _shares(heads, layers):
        size = ATTENTION_WIDTH // h
        parts.put("attention", count, **rows, heads=h, kv_heads=h, head_size=size, causal=0, cached=0)
    _linear(parts, rows, ATTENTION_WIDTH, width, layers)
    _feed_forward(parts, rows, width, ffn, layers)
    parts.put("norm", 2 * layers, **rows, width=width, norm="layer", residual=1)
    return list(parts.items())


def hat_decoder(row: list[float], tokens: int) -> Counted:
    """A decoder of the last six columns, all steps of one sentence; keys of the encoder are computed once."""
    source, width, layers = int(row[0]), int(row[4]), int(row[5])
    ffn, heads, cross, attended = row[6:10]
    parts, rows, calls = Parts(), {"batch": BEAM, "sequence": 1}, layers * tokens
    parts.put("embedding", tokens, **rows, width=width, vocabulary=32768, positions=0, types=0, norm="none")
    _linear(parts, rows, width, 3 * ATTENTION_WIDTH, calls)
    _linear(parts, rows, width, ATTENTION_WIDTH, calls)
    _linear(parts, rows, ATTENTION_WIDTH, width, 2 * calls)
    keys = round(attended * tokens)
    _linear(parts, {"batch": BEAM, "sequence": keys}, source, 2 * ATTENTION_WIDTH, layers)
    for number, cached in ((heads, tokens // 2), (cross, keys)):
        for h, count in _shares(number, layers):
            size = ATTENTION_WIDTH // h
            parts.put("attention", count * tokens, **rows, heads=h, kv_heads=h, head_size=size, causal=0, cached=cached)
    _feed_forward(parts, rows, width, ffn, calls)
    parts.put("norm", 3 * calls, **rows, width=width, norm="layer", residual=1)
    parts.put("head", tokens, **rows, width=width, vocabulary=32768, transform=0, tied=1)
    return list(parts.items())


def _linear(
    parts: Parts, rows: dict[str, int], inputs: int, outputs: int, count: int, activation: str = "none"
) -> None:
    parts.put("linear", count, **rows, inputs=inputs, outputs=outputs, bias=1, activation=activation)


def _feed_forward(parts: Parts, rows: dict[str, int], width: int, ffn: float, count: int) -> None:
    _linear(parts, rows, width, round(ffn), count, "relu")
    _linear(parts, rows, round(ffn), width, count)


def _shares(average: float, layers: int) -> list[tuple[int, int]]:
    """Whole numbers next to an average over layers, with how many layers have each."""
    low, more = divmod(round(average * layers), layers)
    return [(value, count) for value, count in ((low, layers - more), (low + 1, more)) if count]


@dataclass(frozen=True)
class Timed:
    """One operator as vidur timed it: its name there, the model and tensor parallelism, and the median in seconds."""

    operator: Operator
    name: str
    model: str
    parallel: int
    tokens: int
    seconds: float
    noise: float


def vidur(models: tuple[str, ...] = VIDUR_MODELS) -> list[Timed]:
    """vidur's A100 tables: one entry an operator; repeated rows are pooled by their median."""
    found: list[Timed] = []
    for model in models:
        frame = pd.read_csv(data(f"latency/vidur-a100/{model}-mlp.csv"))
        names = [c.split(".")[1] for c in frame.columns if c.startswith("time_stats.") and c.endswith(".median")]
        for (tokens, parallel), rows in frame.groupby(["num_tokens", "num_tensor_parallel_workers"]):
            shapes = vidur_operators(rows.iloc[0], int(tokens), int(parallel))
            for name in names:
                median = rows[f"time_stats.{name}.median"]
                seconds = float(median.median()) / 1e3
                noise = float((rows[f"time_stats.{name}.std"] / median).median())
                if name in shapes and seconds > 0:
                    found.append(Timed(shapes[name], name, model, int(parallel), int(tokens), seconds, noise))
    return found


def vidur_operators(row: Any, tokens: int, parallel: int) -> dict[str, Operator]:
    """The operators of one row by vidur's names; each device holds 1 / `parallel` of heads and hidden units."""
    width, heads, shared = int(row.n_embd), int(row.n_head) // parallel, max(int(row.n_kv_head) // parallel, 1)
    size, hidden = width // int(row.n_head), int(row.n_expanded_embd) // parallel
    gated = 2 if row.use_gated_mlp else 1
    act = "silu" if row.use_gated_mlp else "gelu"
    rows = {"batch": 1, "sequence": tokens}

    def linear(inputs: int, outputs: int) -> Operator:
        return Operator("linear", {**rows, "inputs": inputs, "outputs": outputs, "bias": 0, "activation": "none"})

    def norm(kind: str, residual: int) -> Operator:
        return Operator("norm", {**rows, "width": width, "norm": kind, "residual": residual})

    lookup = {"width": width, "vocabulary": int(row.vocab_size) // parallel, "positions": 0, "types": 0, "norm": "none"}
    return {
        "emb": Operator("embedding", {**rows, **lookup}),
        "input_layernorm": norm("rms" if gated == 2 else "layer", 0),
        "post_attention_layernorm": norm("rms" if gated == 2 else "layer", 0),
        "attn_pre_proj": linear(width, (heads + 2 * shared) * size),
        "attn_rope": Operator("rotary", {**rows, "heads": heads, "kv_heads": shared, "head_size": size}),
        "attn_post_proj": linear(heads * size, width),
        "mlp_up_proj": linear(width, gated * hidden),
        "mlp_act": Operator("gate", {**rows, "width": hidden, "activation": act}),
        "mlp_down_proj": linear(hidden, width),
        "add": norm("none", 1),
    }
