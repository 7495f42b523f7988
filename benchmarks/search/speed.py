"""Seconds and memory per proposal against results and pool: screening alone, and 8 proposals, the fit apart.

python -m search.speed      # from benchmarks/, on a quiet machine; the engine computes on one thread
"""

import itertools
import resource
import time

import numpy as np
import torch
from common import record, table

from distilsearch.engine.beliefs import Beliefs
from distilsearch.engine.engine import Engine
from distilsearch.engine.objectives import Expensive, Known
from distilsearch.engine.strategies.ehvi import screen
from distilsearch.predictors.threads import one_thread
from distilsearch.space import Parameter, SearchSpace

RESULTS, DIGITS, PROPOSALS = (60, 200), (4, 5, 6), 8


def told_engine(digits: int, results: int) -> Engine:
    """An engine of a space of 10^digits that was told some results, additive with an interaction and noise."""
    space = SearchSpace("generic", [Parameter(f"x{i}", tuple(range(10))) for i in range(digits)])
    engine = Engine(space, [Expensive("loss"), Known("ms", lambda codes: 1.0 + codes.sum(1))], initial=5)
    rng = np.random.default_rng(0)
    for codes in np.unique(space.sample(results, rng), axis=0):
        loss = 1 / (1 + codes[0]) + 0.1 * codes[1] + 0.05 * np.sin(codes[2] * codes[3])
        (architecture,) = space.decode(codes[None])
        engine.tell(architecture, {"loss": float(loss + 0.02 * rng.standard_normal())})
    return engine


def measure(digits: int, results: int) -> dict[str, float | int | str]:
    """One row; the first ask also lists the grid and is not counted."""
    engine = told_engine(digits, results)
    view = engine._view([])
    pool = view.space.grid(10**digits)
    with one_thread():
        start = time.perf_counter()
        beliefs = Beliefs.of(view)
        fit = time.perf_counter() - start
        score = screen(beliefs, torch.float32)
        rates = []
        for _ in range(3):
            start = time.perf_counter()
            score(pool)
            rates.append(len(pool) / (time.perf_counter() - start))
    engine.ask()
    clock, cpu = time.perf_counter(), time.process_time()
    engine.ask(PROPOSALS)
    took, worked = time.perf_counter() - clock, time.process_time() - cpu
    return {
        "results": results,
        "candidates": len(pool),
        "surrogate": beliefs.surrogates[0].report.kernel,
        "fit s": fit,
        "screened a second": round(max(rates)),
        f"{PROPOSALS} proposals without the fit, s": took - fit,
        "CPU s with the fit": worked,
        "peak memory of the process, MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def main() -> None:
    rows = [measure(digits, results) for digits, results in itertools.product(DIGITS, RESULTS)]
    record("search_speed", rows)
    print(table(rows))


if __name__ == "__main__":
    main()
