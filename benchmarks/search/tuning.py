"""Problems for tuning only: nothing that is reported is among them.

zdt1, zdt3              15,625 points each
lts, bert               1,000 trained decoders, 500 trained encoders
elastic0 ... elastic7   4,000 made-up sub-networks of up to 8 layers that differ from each other
students0 ... students7 made-up power laws of depth, width and feed-forward size with noise
"""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from common import data
from search.problems import Floats, Problem, discretised, of_table, tabulated

from distilsearch.space import Parameter, SearchSpace

ELASTIC: tuple[tuple[str, tuple[int, ...]], ...] = (("heads", (4, 8, 12)), ("ratio", (2, 3, 4)))
STUDENTS = {
    "layers": (1, 2, 3, 4, 6),
    "width": (128, 192, 256, 320, 384),
    "heads": (4, 6, 8, 12),
    "ffn": (256, 384, 512, 768, 1024, 1536),
}


def _zdt(kind: int) -> Callable[[Floats], Floats]:
    def function(x: Floats) -> Floats:
        f, g = x[:, 0], 1 + 9 * x[:, 1:].mean(axis=1)
        wave = f / g * np.sin(10 * np.pi * f) if kind == 3 else 0.0
        return np.column_stack([g * (1 - np.sqrt(f / g) - wave), f + 0.01])

    return function


def _bowl(x: Floats) -> Floats:
    valley = ((x[:, 1:] - 0.7) ** 2) @ np.array([1.5, 1.0, 0.7, 0.5, 0.3])
    return np.column_stack([1.2 - x[:, 0] ** 0.7 + valley * (1 + x[:, 0]), 0.1 + x[:, 0]])


def lts() -> Problem:
    """Decoders of the LTS paper: perplexity against the decoder's parameters."""
    with data("nas/lts_tables.csv").open() as file:
        rows = [r for r in csv.DictReader(file) if r["set"] in ("random_GPT2_lm1b", "random_GPT2_wt103")]
    plain: list[dict[str, float | str]] = []
    for r in rows:
        inner, heads = ([int(v) for v in r[column].split("-")] for column in ("d_inner", "n_head"))
        shape = {"inner": round(float(np.mean(inner)) / 100), "heads": round(float(np.mean(heads)))}
        plain.append({"text": r["set"], "layers": int(r["n_layer"]), "width": int(r["d_model"]), **shape})
    values = np.array([[float(r["test_ppl"]), float(r["decoder_params"]) / 1e6] for r in rows])
    return tabulated("lts", plain, values)


def bert() -> Problem:
    """NAS-Bench-BERT: 100 - GLUE against the sum of feed-forward widths and heads."""
    rows = [r for r in json.loads(data("nas/BERT_benchmark.json").read_text()) if r["completed"]]
    plain, values = [], []
    for row in rows:
        hparams = row["hparams"]["model_hparam_overrides"]
        layers = hparams["nas_config"]["encoder_layers"]
        genes: dict[str, float | str] = {"width": hparams["hidden_size"], "layers": len(layers)}
        for i in range(4):
            layer = layers[i] if i < len(layers) else None
            genes[f"kind{i}"] = f"{layer['operation_type']}-{layer['operation_parameter']}" if layer else "none"
            genes[f"ffn{i}"] = layer["feed_forward_dimension"] * layer["num_feed_forward"] if layer else 0
            genes[f"heads{i}"] = layer["num_operation_heads"] if layer else 0
        plain.append(genes)
        h = hparams["hidden_size"]
        cost = sum(4 * h * h + 2 * h * la["feed_forward_dimension"] * la["num_feed_forward"] for la in layers) / 1e6
        values.append([100 - row["scores"]["glue"], cost])
    return tabulated("bert", plain, np.array(values))


def elastic(seed: int) -> Problem:
    """A capacity that layers add to unequally, a loss that decays with it, a cost by FLOPs.

    In every third one width decides nearly all of the loss and depth of the cost, in every third one width of both.
    """
    rng, layers = np.random.default_rng([5, seed]), 8
    kinds = [Parameter(f"{kind}{i}", choices) for kind, choices in ELASTIC for i in range(layers)]
    codes = rng.integers(3, size=(4_000, 2 + 2 * layers)).astype(np.int16)
    depth, width = 6 + codes[:, 1], np.array([256, 384, 512])[codes[:, 0]]
    there = np.arange(layers) < depth[:, None]
    codes[:, 2:] *= np.tile(there, 2)
    heads, ratio = (np.array(c)[codes[:, 2 + k * layers :][:, :layers]] for k, (_, c) in enumerate(ELASTIC))
    worth = rng.lognormal(-3.2, 0.6, layers), rng.lognormal(-2.6, 0.6, layers)
    worth = [w * (0.4 if seed % 3 == 2 else 1.0) for w in worth]
    by_width, by_depth = seed % 3 > 0, seed % 3 == 1
    capacity = (1.75 if by_width else 0.55) * np.log(width / 256) + 0.05 * depth
    capacity += ((worth[0] * np.log(heads / 4) + worth[1] * np.log(ratio / 2)) * there).sum(axis=1)
    capacity += 0.15 * (capacity - capacity.mean()) * np.log(width / 384)
    loss = 18 + 22 * np.exp(-capacity) + rng.normal(0, 0.04, len(codes))
    flops = ((256 * heads * width[:, None] + 2 * ratio * width[:, None] ** 2) * there).sum(axis=1) / 1e6
    cost = 3 + 2 * depth + (0.15 if by_depth else 1.0) * flops * np.where(width == 384, 1.15, 1.0)
    cost = np.where(by_width and not by_depth, width / 64 * (1 + depth / 8) + 0.2 * flops, cost)
    unique, first = np.unique(codes, axis=0, return_index=True)
    parameters = [Parameter("width", (256, 384, 512)), Parameter("layers", (6, 7, 8)), *kinds]
    return of_table(f"elastic{seed}", parameters, unique, np.column_stack([loss, cost])[first])


def students(seed: int) -> Problem:
    """Power laws of depth, width and feed-forward size; what is told is noisy."""
    rng = np.random.default_rng([6, seed])
    space = SearchSpace("generic", [Parameter(gene, choices) for gene, choices in STUDENTS.items()])
    codes = space.grid(10_000)
    genes = np.array([[p.choices[c] for p, c in zip(space.parameters, row, strict=True)] for row in codes])
    codes, genes = codes[whole := genes[:, 1] % genes[:, 2] == 0], genes[whole].astype(float)
    layers, width, heads, ffn = genes.T
    powers = rng.uniform(0.2, 0.6), rng.uniform(0.3, 0.9), rng.uniform(0.1, 0.35)
    laws = rng.uniform(0.3, 1) * layers ** -powers[0] + (width / 128) ** -powers[1] + (ffn / 256) ** -powers[2] / 2
    loss = 0.05 + laws / 4 + 0.01 * np.abs(np.log(width / heads / 32)) + rng.normal(0, 0.006, len(codes))
    per = 0.15 + (4 * width**2 + 2 * width * ffn + 128 * width) / 6e5 * np.where(width % 256 > 0, 1.1, 1.0)
    made = of_table(f"students{seed}", list(space.parameters), codes, np.column_stack([loss, 0.2 + layers * per]))
    return replace(made, told=lambda c, rng: made.truth(c)[:, 0] + rng.normal(0, 0.006, len(c)))


TUNING: dict[str, Callable[[], Problem]] = {
    "zdt1": lambda: discretised("zdt1", 6, 5, _zdt(1)),
    "zdt3": lambda: discretised("zdt3", 6, 5, _zdt(3)),
    "bowl": lambda: discretised("bowl", 6, 5, _bowl),
    "lts": lts,
    "bert": bert,
    **{f"elastic{i}": partial(elastic, i) for i in range(8)},
    **{f"students{i}": partial(students, i) for i in range(8)},
}
