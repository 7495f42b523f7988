"""What the trees see of an operator: its roofline terms, its sizes as a matrix product, tiles and waves.

Latency jumps where a matrix stops filling its tiles or its last wave of parallel work, so the raw sizes alone
explain it badly; the share of the last tile and wave that does useful work is given instead, for tiles of 16 to 128
rows and columns. No feature is constrained to be monotone: real tables are not. Every kind is seen as (instances
of) a matrix product m x n x k; what is no product has k = 1. Sizes are in base-2 logarithms, so that trees split
them evenly.

    m, n, k, i   rows, columns, depth and independent instances of the product
    F, B         FLOPs and bytes of the operator
    t            tile edge; eff(x, t) = x / (t ceil(x / t)), the useful share of the tiles
    u            parallel units: threads of a CPU, multiprocessors of a GPU
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from distilsearch.arrays import FloatArray
from distilsearch.errors import unknown
from distilsearch.growth import grown
from distilsearch.operators import ACTIVATIONS, DTYPE_BYTES, KINDS, MODES, TORCH, Operator

Sizes = Mapping[str, Any]

SCHEMA = 1
TILES = (16, 32, 64, 128)
WAVE_TILE = 64
CATEGORIES: dict[str, tuple[str, ...]] = {
    "activation": ACTIVATIONS,
    "norm": ("none", "layer", "rms"),
    "pool": ("cls", "mean"),
}
SETTING_ADDED: Mapping[str, Any] = {"runtime": TORCH}  # fields of `Setting` that came later; see `growth`
FLAGS = ("bias", "causal", "residual", "normalize", "transform", "tied")


@dataclass(frozen=True)
class Setting:
    """A regime as the predictor tells them apart; `units` are the u of the module's notation.

    A table is of one runtime, so the trees need not see it; `mode` tells torch's ways of issuing kernels apart.
    """

    dtype: str
    mode: str
    threads: int
    units: int
    runtime: str = TORCH

    def __str__(self) -> str:
        issued = self.mode if self.runtime == TORCH else self.runtime
        threads = f" {self.threads} thread{'s' * (self.threads > 1)}" if self.threads else ""  # a GPU has none
        return f"{self.dtype} {issued}{threads}"

    @property
    def cure(self) -> str:
        """What adds it to a table that lacks it."""
        issued = f"--mode {self.mode}" if self.runtime == TORCH else f"--runtime {self.runtime}"
        threads = f" --threads {self.threads}" if self.threads else ""  # a GPU has none
        command = f"distilsearch profile --dtype {self.dtype} {issued}{threads}"
        return f"add it on the table's machine with `{command}`, and there with --space RUN for what a run needs"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; a field that came later is left out while it has its first value."""
        return grown(vars(self), SETTING_ADDED)


@dataclass(frozen=True)
class Sample:
    """One measured operator: seconds of the undisturbed machine under one setting."""

    operator: Operator
    setting: Setting
    seconds: float


def _product(kind: str, s: Sizes) -> tuple[int, int, int, int]:
    """(m, n, k, i) of an operator."""
    rows = s["batch"] * s["sequence"]
    if kind == "linear":
        return rows, s["outputs"], s["inputs"], 1
    if kind == "head":
        return rows, s["vocabulary"], s["width"], 1
    if kind == "attention":
        return s["sequence"], s["sequence"] + s["cached"], s["head_size"], s["batch"] * s["heads"]
    if kind == "rotary":
        return rows, (s["heads"] + s["kv_heads"]) * s["head_size"], 1, 1
    return rows, s["width"], 1, 1


def names() -> list[str]:
    """The columns of `matrix`, in order: what a saved predictor is checked against."""
    kinds = [f"kind_{kind}" for kind in KINDS]
    tiles = [f"tile_{axis}_{t}" for t in TILES for axis in ("m", "n", "k")]
    regime = ["dtype_bytes", "compiled", "log_units"]
    logs = ["log_flops", "log_bytes", "log_intensity", "log_roofline", "log_parameters", "log_m", "log_n"]
    logs += ["log_k", "log_instances", "log_waves", "wave_share"]
    return kinds + logs + tiles + list(CATEGORIES) + list(FLAGS) + regime


def row(operator: Operator, roofline: float, setting: Setting) -> list[float]:
    """The features of one operator; `roofline` in seconds."""
    s = operator.sizes
    m, n, k, i = _product(operator.kind, s)
    flops, moved = operator.flops, operator.bytes(setting.dtype)
    tiles = -(-m // WAVE_TILE) * -(-n // WAVE_TILE) * i
    waves = tiles / setting.units
    # a space tabulates impossible combinations too (no head fits); they must only not break the logarithm
    logs = [flops, moved, flops / max(moved, 1), roofline, operator.parameters + 1, m, n, k, i, waves]
    values = [float(operator.kind == kind) for kind in KINDS]
    values += [float(x) for x in np.log2(np.maximum(logs, 1e-30))]
    values += [waves / max(-(-tiles // setting.units), 1)]
    values += [x / (t * max(-(-x // t), 1)) for t in TILES for x in (m, n, k)]
    values += [_category(name, s) for name in CATEGORIES]
    values += [float(s.get(flag, -1)) for flag in FLAGS]
    values += [float(DTYPE_BYTES[setting.dtype]), float(MODES.index(setting.mode)), float(np.log2(setting.units))]
    return values


def matrix(operators: Sequence[Operator], rooflines: FloatArray, setting: Setting) -> FloatArray:
    """Features (n, len(names())) of n operators with their rooflines (n,) in seconds, under one setting."""
    rows = [row(operator, float(t), setting) for operator, t in zip(operators, rooflines, strict=True)]
    return np.asarray(rows, dtype=np.float64).reshape(len(operators), len(names()))


def shape(operator: Operator) -> tuple[FloatArray, tuple[str, ...]]:
    """Where an operator lies: log2 of its numeric sizes, and what must match for a neighbour to say anything.

    Sizes that are choices (activation, bias, causal ...) and sizes of zero belong to the second part.
    """
    numbers, fixed = [], [operator.kind]
    for name, value in operator.sizes.items():
        choice = name in CATEGORIES or name in FLAGS or value == 0
        if choice:
            fixed.append(f"{name}={value}")
        else:
            numbers.append(float(np.log2(max(value, 1))))
    return np.asarray(numbers), tuple(fixed)


def _category(name: str, s: Sizes) -> float:
    if name not in s:
        return -1.0
    if s[name] not in CATEGORIES[name]:
        raise unknown(name, str(s[name]), CATEGORIES[name])
    return float(CATEGORIES[name].index(s[name]))
