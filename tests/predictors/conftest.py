"""A toy device: a hidden law of latency, and the table that profiling it would give."""

import numpy as np
import pytest

from distilsearch.architecture import Architecture
from distilsearch.families import family
from distilsearch.lowering import operators
from distilsearch.operators import Operator, Serving
from distilsearch.profiling.clock import Measured
from distilsearch.profiling.device import Regime
from distilsearch.profiling.tables.table import LatencyTable, ModelRow, OperatorRow, Roof, TableMeta
from distilsearch.space import SearchSpace

ROOF = Roof(peak_flops=1e11, bandwidth=2e10, launch_floor_seconds=2e-6)
SLOWNESS = {"linear": 1.6, "attention": 2.5, "norm": 1.4, "embedding": 1.8, "pooling": 3.0, "head": 1.5}
SLOWNESS |= {"gate": 1.3, "rotary": 2.0}


def measured(seconds: float) -> Measured:
    return Measured(seconds, 1.05 * seconds, 1.3 * seconds, 7, 0.05, 1.0, "ok")


class ToyDevice:
    """A machine whose latencies follow a law that predictors do not know: tiles of 16, start-up, in-context factors."""

    def __init__(self, noise: float = 0.01, in_context: float = 1.25, host: float = 5e-5, speed: float = 1.0) -> None:
        self.noise, self.in_context, self.host, self.speed = noise, in_context, host, speed

    def operator_seconds(self, operator: Operator, dtype: str = "float32") -> float:
        wide = operator.sizes.get("outputs", operator.sizes.get("head_size", 16))
        tiles = -(-int(wide) // 48) * 48 / int(wide)
        busy = max(operator.flops / ROOF.peak_flops, operator.bytes(dtype) / ROOF.bandwidth) * tiles
        return (SLOWNESS[operator.kind] * busy + 3 * ROOF.launch_floor_seconds) / self.speed

    def model_seconds(self, architecture: Architecture, serving: Serving) -> float:
        parts = operators(architecture, serving)
        total = sum(self.operator_seconds(operator, serving.dtype) * count for operator, count in parts)
        return self.in_context * total + self.host / self.speed

    def rounds(self, seconds: float, rng: np.random.Generator) -> Measured:
        return measured(seconds * float(np.exp(self.noise * rng.standard_normal())))

    def table(
        self, space: SearchSpace, models: int = 12, share: float = 1.0, serving: Serving | None = None, seed: int = 0
    ) -> LatencyTable:
        """A table of `share` of the distinct operators of some architectures, and of `models` whole models."""
        rng, serving = np.random.default_rng(seed), serving or Serving(threads=2)
        architectures = space.decode(space.sample(200, rng))
        found = dict.fromkeys(o for a in architectures for o, _ in operators(a, serving))
        regime = Regime(serving.dtype, serving.mode, serving.threads or 2)
        rows = [self._row(operator, regime, rng) for operator in found]
        kept = [row for row in rows if rng.random() < share or row.operator.kind in ("embedding", "pooling")]
        whole = [ModelRow(a, serving, self.rounds(self.model_seconds(a, serving), rng)) for a in architectures[:models]]
        return LatencyTable(tuple(kept), tuple(whole), toy_meta(regime), {})

    def _row(self, operator: Operator, regime: Regime, rng: np.random.Generator) -> OperatorRow:
        moved = operator.bytes(regime.dtype)
        time = self.rounds(self.operator_seconds(operator, regime.dtype), rng)
        return OperatorRow(operator, regime, time, operator.flops, moved, ROOF.seconds(operator.flops, moved))


def toy_meta(regime: Regime) -> TableMeta:
    return TableMeta(
        schema=1,
        device={"model": "toy", "cores": 2},
        stack={"torch": "0"},
        peak_flops={regime.dtype: ROOF.peak_flops},
        bandwidth=ROOF.bandwidth,
        launch_floor_seconds=ROOF.launch_floor_seconds,
        noise_floor=0.01,
        additivity_error=0.3,
        collector="toy",
        roofs={f"{regime.dtype}/{regime.threads}": ROOF},
    )


@pytest.fixture(scope="session")
def toy() -> ToyDevice:
    return ToyDevice()


@pytest.fixture(scope="session")
def space() -> SearchSpace:
    choices = {
        "layers": [1, 2, 3, 4, 6],
        "width": [128, 192, 256, 320, 384],
        "heads": [2, 4, 6, 8, 12],
        "ffn": [256, 512, 768, 1024, 1536],
        "inherit": ["even"],
    }
    return family("bert").space(choices)


@pytest.fixture(scope="session")
def serving() -> Serving:
    return Serving(threads=2)


@pytest.fixture(scope="session")
def table(toy: ToyDevice, space: SearchSpace) -> LatencyTable:
    return toy.table(space)


@pytest.fixture(scope="session")
def sparse(toy: ToyDevice, space: SearchSpace) -> LatencyTable:
    return toy.table(space, share=0.6)
