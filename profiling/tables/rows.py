"""The values a table is made of: rows of operators and of models, roofs, and what a table says of itself."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from distilsearch.architecture import Architecture
from distilsearch.arrays import FloatArray
from distilsearch.operators import Operator, Serving

from ..clock import Measured
from ..device import Facts, Regime


@dataclass(frozen=True)
class OperatorRow:
    """One operator in one regime; `roofline_seconds` is the least time its work and traffic can take here."""

    operator: Operator
    regime: Regime
    measured: Measured
    flops: int
    bytes: int
    roofline_seconds: float


@dataclass(frozen=True)
class ModelRow:
    """One whole model under one serving."""

    architecture: Architecture
    serving: Serving
    measured: Measured


Amount = TypeVar("Amount", float, FloatArray)  # of one operator, or (n,) of n


class Roof(NamedTuple):
    """What the device reaches at best in one dtype with so many threads: FLOP/s, bytes/s, seconds of a launch."""

    peak_flops: float
    bandwidth: float
    launch_floor_seconds: float

    def terms(self, flops: Amount, moved: Amount) -> tuple[float, Amount, Amount]:
        """Seconds of starting, of computing at the peak, of moving every byte once; the roofline is the largest."""
        return self.launch_floor_seconds, flops / self.peak_flops, moved / self.bandwidth

    def seconds(self, flops: int, moved: int) -> float:
        """The roofline: the least time that so much work and traffic can take."""
        return max(self.terms(flops, moved))


@dataclass(frozen=True)
class TableMeta:
    """What a table says of itself.

    `noise_floor` is the median relative difference of two measurements of half the rounds each;
    `additivity_error` the median of measured model / sum of its operators - 1 (NaN without models).
    `sentinel_seconds` is the undisturbed sentinel of each number of threads. `roofs` keeps the roof of each
    "dtype/threads"; `peak_flops`, `bandwidth` and `launch_floor_seconds` the best.
    """

    schema: int
    device: Facts
    stack: Facts
    peak_flops: Mapping[str, float]
    bandwidth: float
    launch_floor_seconds: float
    noise_floor: float
    additivity_error: float
    collector: str
    sentinel_seconds: Mapping[str, float] = field(default_factory=dict)
    roofs: Mapping[str, Roof] = field(default_factory=dict)
    hashes: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; figures that are not there are null."""
        plain = {**vars(self), "roofs": {name: roof._asdict() for name, roof in self.roofs.items()}}
        return {n: None if isinstance(v, float) and math.isnan(v) else v for n, v in plain.items()}
