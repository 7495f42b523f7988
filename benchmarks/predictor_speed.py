"""How fast latency is predicted: the compiled function, `predict`, and a saved predictor's size and load time.

    python benchmarks/predictor_speed.py [--codes 1000000]

The table is a made-up one (a law with tiles and noise), since only its size matters here: every operator of 400
students of a space of a million architectures. Threads are as the environment has them; each figure is the best of
five, `noise` how far the slowest of them was off.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import record, table
from predictor_students import space_of

from distilsearch.lowering import operators
from distilsearch.operators import Operator, Serving
from distilsearch.predictors.latency import LatencyPredictor
from distilsearch.profiling.clock import Measured
from distilsearch.profiling.device import Regime
from distilsearch.profiling.tables.table import LatencyTable, ModelRow, OperatorRow, Roof, TableMeta

ROOF = Roof(peak_flops=1e11, bandwidth=2e10, launch_floor_seconds=2e-6)
SERVING = Serving(threads=2)
REPEATS = 5


def seconds(operator: Operator) -> float:
    """A law with tiles of 48 columns."""
    wide = int(operator.sizes.get("outputs", 48))
    busy = max(operator.flops / ROOF.peak_flops, operator.bytes("float32") / ROOF.bandwidth)
    return 1.7 * busy * (-(-wide // 48) * 48 / wide) + 6e-6


def made_up(students: int = 400) -> LatencyTable:
    """A table of the operators of random students, and of twelve whole models."""
    rng, space, regime = np.random.default_rng(0), space_of("large"), Regime("float32", "eager", 2)
    drawn = space.decode(space.sample(students, rng))

    def noisy(value: float) -> Measured:
        value *= float(np.exp(0.02 * rng.standard_normal()))
        return Measured(value, 1.05 * value, 1.3 * value, 7, 0.05, 1.0, "ok")

    found = dict.fromkeys(o for a in drawn for o, _ in operators(a, SERVING))
    rows = [
        OperatorRow(
            o, regime, noisy(seconds(o)), o.flops, o.bytes("float32"), ROOF.seconds(o.flops, o.bytes("float32"))
        )
        for o in found
    ]
    whole = [
        ModelRow(a, SERVING, noisy(1.2 * sum(seconds(o) * n for o, n in operators(a, SERVING)))) for a in drawn[:12]
    ]
    meta = TableMeta(
        schema=1,
        device={"model": "made up", "cores": 2},
        stack={},
        peak_flops={"float32": ROOF.peak_flops},
        bandwidth=ROOF.bandwidth,
        launch_floor_seconds=ROOF.launch_floor_seconds,
        noise_floor=0.02,
        additivity_error=0.2,
        collector="benchmark",
        roofs={"float32/2": ROOF},
    )
    return LatencyTable(tuple(rows), tuple(whole), meta, {})


def timed(what: str, work: float, unit: str, call: Callable[[], object]) -> dict[str, Any]:
    """One line: the best of REPEATS."""
    spent = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        spent.append(time.perf_counter() - start)
    best, worst = min(spent), max(spent)
    return {"what": what, "value": work / best if work else best, "unit": unit, "noise": worst / best - 1}


def main() -> None:
    """Print and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--codes", type=int, default=1_000_000)
    chosen, known, space = parser.parse_args(), made_up(), space_of("large")
    predictor = LatencyPredictor.fit(known)
    codes = space.sample(chosen.codes, np.random.default_rng(1))
    few = space.decode(codes[:200])
    start = time.perf_counter()
    compiled = predictor.compile(space, SERVING)
    compiling = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        saved = predictor.save(folder)
        size = sum(path.stat().st_size for path in Path(saved).iterdir())
        rows = [
            timed("compiled, mean", len(codes), "architectures/s", lambda: compiled(codes)),
            timed("compiled, upper bound", len(codes), "architectures/s", lambda: compiled.upper(codes)),
            timed("predict", len(few), "architectures/s", lambda: predictor.predict(few, SERVING)),
            timed("load", 0, "s", lambda: LatencyPredictor.load(folder)),
        ]
    rows.append({"what": "compile", "value": compiling, "unit": "s", "noise": 0.0})
    rows.append({"what": "saved file", "value": size / 1e3, "unit": "kB", "noise": 0.0})
    rows.append({"what": "operators in it", "value": float(len(known.operators)), "unit": "", "noise": 0.0})
    record("predictor_speed", rows)
    print(table(rows))


if __name__ == "__main__":
    main()
