"""Predicted against measured latency of held-out students on this machine, beside repeating the measurement.

    python benchmarks/predictor_students.py [--students 24] [--store FOLDER]

Profiles a BERT space, predicts random students of it that the table has not seen, and measures them twice. Peers:
latency proportional to FLOPs (fitted to the table's models) and the plain sum of operators.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import record, table

from distilsearch.families import family
from distilsearch.lowering import flops
from distilsearch.operators import Serving
from distilsearch.predictors import quality
from distilsearch.predictors.latency import LatencyPredictor
from distilsearch.predictors.totals import Lowered
from distilsearch.profiling import measure, profile

CHOICES = {
    "layers": [1, 2, 3, 4, 6],
    "width": [128, 192, 256, 320, 384],
    "heads": [2, 4, 6, 8, 12],
    "ffn": [256, 512, 768, 1024, 1280, 1536],
    "inherit": ["even"],
}


def row(name: str, predicted: Any, measured: Any) -> dict[str, Any]:
    """One line of the result."""
    e = quality.errors(predicted, measured)
    shares = {"within_5": e.within_5, "within_10": e.within_10, "kendall": quality.kendall(predicted, measured)}
    return {"predictor": name, "n": e.n, "median": e.median, "mean": e.mean, "p90": e.p90, "p99": e.p99, **shares}


def run(students: int, store: Path, serving: Serving) -> list[dict[str, Any]]:
    """Profile, predict, measure twice."""
    space = family("bert").space(CHOICES)
    known = profile(space, "cpu", serving, store=store, models=9)
    seen = {model.architecture for model in known.models}
    drawn = space.decode(space.sample(4 * students, np.random.default_rng(1)))
    held = [a for a in dict.fromkeys(drawn) if a not in seen][:students]
    start = time.perf_counter()
    predictor = LatencyPredictor.fit(known)
    fitted = time.perf_counter() - start
    p = predictor.predict(held, serving)
    once, again = (
        np.array([1e3 * m.seconds_p10 for m in measure(held, "cpu", serving, store=store, seed=seed)])
        for seed in (0, 1)
    )
    work = np.array([flops(m.architecture, serving) for m in known.models])
    rate = float(np.median([1e3 * m.measured.seconds_p10 for m in known.models] / work))
    lowered = Lowered.of(held, serving)
    alone = predictor.model.estimate(lowered.distinct, predictor.setting(serving)).seconds
    rows = [
        row("distilsearch", p.mean_ms, once),
        row("sum of operators", 1e3 * lowered.sums(alone[:, None])[:, 0], once),
        row("FLOPs-proportional", rate * np.array([flops(a, serving) for a in held]), once),
        row("the same measurement again", again, once),
    ]
    codes = space.sample(1_000_000, np.random.default_rng(0))
    compiled, start = predictor.compile(space, serving), time.perf_counter()
    compiled(codes)
    rows[0] |= {
        "covered": quality.coverage(p.lower_ms, p.upper_ms, once).share,
        "operators": len(known.operators),
        "models": len(known.models),
        "fit_seconds": fitted,
        "architectures_per_second": len(codes) / (time.perf_counter() - start),
    }
    return rows


def main() -> None:
    """Print and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--students", type=int, default=24)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--store", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = run(chosen.students, chosen.store or Path(folder), Serving(threads=chosen.threads))
    record("predictor_students", rows)
    print(table([{name: r[name] for name in rows[-1]} for r in rows]))
    print({name: value for name, value in rows[0].items() if name not in rows[-1]})


if __name__ == "__main__":
    main()
