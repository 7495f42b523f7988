"""How repeatable a table is, quiet and under load, beside a naive timer run on the same operators.

`python profiling_repeatability.py [--threads 2] [--device cpu] [--operators N]` profiles the quickstart's operators, or
N spread over them, three times, the third time with background processes that compute now and then; it prints and keeps
the median and 90th percentile of the relative differences per operator kind. The naive timer: five warm-up calls, then
the median of twenty.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from pathlib import Path

import numpy as np
from common import record

from distilsearch.families import family
from distilsearch.operators import Operator, Serving
from distilsearch.profiling import Device, LatencyTable, open_device, profile
from distilsearch.profiling.cases.plan import choose, space_operators
from distilsearch.space import SearchSpace

Times = dict[str, float]


def quickstart_space() -> SearchSpace:
    """The space of the quickstart."""
    genes = {"layers": [1, 2, 3, 4, 6], "width": [128, 192, 256, 320, 384], "ffn": [256, 384, 512, 768, 1024, 1536]}
    return family("bert").space({**genes, "heads": [2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24]})


def busy(seed: int) -> None:
    """Compute for some tenths of a second, sleep for some, forever."""
    rng = np.random.default_rng(seed)
    a = rng.random((300, 300))
    while True:
        end = time.perf_counter() + rng.uniform(0.1, 1.0)
        while time.perf_counter() < end:
            a @ a
        time.sleep(rng.uniform(0.1, 1.0))


def naive(operators: list[Operator], device: Device, serving: Serving) -> Times:
    """The timer most scripts use."""
    times = {}
    with device.session(serving):
        for operator in operators:
            prepared = device.prepare(operator, serving)
            prepared.seconds(5)
            times[operator.signature] = float(np.median([prepared.seconds(1) for _ in range(20)]))
    return times


def ours(table: LatencyTable) -> Times:
    """What the table says."""
    return {row.operator.signature: row.measured.seconds_p10 for row in table.operators}


def collect(operators: list[Operator], device: Device, serving: Serving) -> tuple[Times, Times, float]:
    """One table and one naive pass, side by side in time; seconds of the table."""
    with tempfile.TemporaryDirectory() as store:
        start = time.perf_counter()
        table = profile(operators, device, serving, Path(store))
        seconds = time.perf_counter() - start
        return ours(table), naive(operators, device, serving), seconds


def differences(one: Times, other: Times) -> dict[str, list[float]]:
    """Per operator kind and over all: median and 90th percentile of |a / b - 1|."""
    kinds: dict[str, list[float]] = {}
    for signature, seconds in one.items():
        error = abs(other[signature] / seconds - 1)
        for kind in (signature.partition("(")[0], "all"):
            kinds.setdefault(kind, []).append(error)
    return {kind: [round(float(q), 4) for q in np.quantile(e, (0.5, 0.9))] for kind, e in kinds.items()}


def main() -> None:
    """Print the figures as JSON lines."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--operators", type=int, default=10**6)
    asked = parser.parse_args()
    device, serving = open_device(asked.device), Serving(threads=asked.threads if asked.device == "cpu" else None)
    found = space_operators(quickstart_space(), serving)
    operators = choose(found, min(asked.operators, len(found)))
    quiet, again = (collect(operators, device, serving) for _ in range(2))
    context = multiprocessing.get_context("spawn")
    loads = [context.Process(target=busy, args=(i,), daemon=True) for i in range(2)]
    for load in loads:
        load.start()
    loaded = collect(operators, device, serving)
    for load in loads:
        load.terminate()
    rows = []
    for name, other in (("quiet", again), ("loaded", loaded)):
        figures = {"ours": differences(quiet[0], other[0]), "naive": differences(quiet[1], other[1])}
        rows.append({"against": name, "operators": len(operators), "seconds": round(other[2], 1), **figures})
        print(json.dumps(rows[-1]))
    record("profiling_repeatability" + (f"_{asked.device}" if asked.device != "cpu" else ""), rows)


if __name__ == "__main__":
    main()
