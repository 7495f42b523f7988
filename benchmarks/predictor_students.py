"""Predicted against measured latency of held-out students on this machine, beside repeating the measurement.

    python benchmarks/predictor_students.py [--space quickstart|large] [--dtype bfloat16] [--mode compile]

Profiles a BERT space, then measures random students of it that the table has not seen, twice, a few at a time. What
was measured is kept in `--work`, so that an interrupted run continues; the predictor sees the profile alone. Peers:
latency proportional to FLOPs (fitted to the profile's models), the plain sum of the operators (measured ones as
measured), and nn-Meter's way (a random forest for each kind of operator on its sizes, plain sum). The last line
repeats the measurement: no predictor can be expected to do better.
"""

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from common import record, table
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor

from distilsearch.architecture import Architecture
from distilsearch.engine.quickstart import quickstart_run
from distilsearch.families import family
from distilsearch.home import write_atomically
from distilsearch.lowering import flops
from distilsearch.operators import Operator, Serving
from distilsearch.predictors import quality
from distilsearch.predictors.latency import LatencyPredictor
from distilsearch.predictors.totals import Lowered
from distilsearch.profiling import LatencyTable, measure, profile
from distilsearch.space import SearchSpace

LARGE = {
    "layers": list(range(1, 13)),
    "width": list(range(96, 641, 8)),
    "heads": [1, 2, 3, 4, 5, 6, 8, 10, 12, 16],
    "ffn": list(range(128, 2561, 4)),
}
AT_A_TIME, ROUNDS = 12, 7
Floats = NDArray[np.float64]


def space_of(name: str) -> SearchSpace:
    """The quickstart's space, or one of millions of architectures."""
    genes = quickstart_run().space.genes if name == "quickstart" else LARGE
    return family("bert").space({**genes, "inherit": ["even"]})  # which layers are inherited is no matter of latency


def profiled(space: SearchSpace, serving: Serving, work: Path, operators: int) -> tuple[LatencyTable, float]:
    """The table as profiling left it, before students were measured, and the seconds it took."""
    start = time.perf_counter()
    known = profile(space, "cpu", serving, store=work, models=6, most_operators=operators, budget_seconds=90.0)
    spent = time.perf_counter() - start
    note = work / f"profiled-{serving.dtype}-{serving.mode}.json"
    if not note.exists():
        keys = sorted({row.architecture.key for row in known.models})
        write_atomically(note, json.dumps({"models": keys, "seconds": spent}))
    noted = json.loads(note.read_text())
    kept = tuple(row for row in known.models if row.architecture.key in noted["models"])
    return replace(known, models=kept), noted["seconds"]


def measured(held: list[Architecture], serving: Serving, work: Path) -> Floats:
    """Milliseconds (2, n) of students, twice, each few of them one time after the other; resumes."""
    path = work / f"students-{serving.dtype}-{serving.mode}.jsonl"
    found = {row["key"]: row["ms"] for row in map(json.loads, path.read_text().splitlines())} if path.exists() else {}
    waiting = [a for a in held if a.key not in found]
    for start in range(0, len(waiting), AT_A_TIME):
        few = waiting[start : start + AT_A_TIME]
        seeds = (2 * start, 2 * start + 1)
        twice = [measure(few, "cpu", serving, store=work, rounds=ROUNDS, seed=seed) for seed in seeds]
        with path.open("a") as file:
            for a, *both in zip(few, *twice, strict=True):
                found[a.key] = [1e3 * m.seconds_p10 for m in both]
                file.write(json.dumps({"key": a.key, "ms": found[a.key]}) + "\n")
        print(f"measured {len(found)} of {len(held)}", flush=True)
    return np.array([found[a.key] for a in held]).T


def forests(known: LatencyTable, lowered: Lowered) -> Floats:
    """Milliseconds (n,) of students nn-Meter's way."""

    def sizes(operator: Operator) -> list[float]:
        return [float(v) for v in operator.sizes.values() if not isinstance(v, str)] + [float(operator.flops)]

    seconds = np.zeros(len(lowered.distinct))
    for kind in {o.kind for o in lowered.distinct}:
        rows = [row for row in known.operators if row.operator.kind == kind and row.measured.usable]
        model = RandomForestRegressor(200, random_state=0, n_jobs=1)
        model.fit([sizes(row.operator) for row in rows], [row.measured.seconds_p10 for row in rows])
        at = [index for index, o in enumerate(lowered.distinct) if o.kind == kind]
        seconds[at] = model.predict([sizes(lowered.distinct[index]) for index in at])
    return 1e3 * lowered.sums(seconds[:, None])[:, 0]


def row(name: str, predicted: Any, truth: Any) -> dict[str, Any]:
    """One line of the result."""
    e = quality.errors(predicted, truth)
    shares = {"within_5": e.within_5, "within_10": e.within_10, "kendall": quality.kendall(predicted, truth)}
    return {"predictor": name, "n": e.n, "median": e.median, "mean": e.mean, "p90": e.p90, "p99": e.p99, **shares}


def run(chosen: argparse.Namespace, work: Path) -> list[dict[str, Any]]:
    """Profile, predict, measure twice."""
    serving = Serving(threads=chosen.threads, dtype=chosen.dtype, mode=chosen.mode)
    space = space_of(chosen.space)
    known, profiling = profiled(space, serving, work, chosen.operators)
    print(f"profiled {len(known.operators)} operators, {len(known.models)} models in {profiling:.0f} s", flush=True)
    seen = {model.architecture for model in known.models}
    drawn = space.decode(space.sample(20 * chosen.students, np.random.default_rng(1)))
    held = [a for a in dict.fromkeys(drawn) if a not in seen][: chosen.students]
    once, again = measured(held, serving, work)
    start = time.perf_counter()
    predictor = LatencyPredictor.fit(known)
    fitted = time.perf_counter() - start
    p = predictor.predict(held, serving)
    known = replace(known, operators=tuple(r for r in known.operators if r.regime.mode == chosen.mode))
    work_done = np.array([flops(m.architecture, m.serving) for m in known.models])
    rate = float(np.median([1e3 * m.measured.seconds_p10 for m in known.models] / work_done))
    lowered = Lowered.of(held, serving)
    alone = predictor.model.estimate(lowered.distinct, predictor.setting(serving)).seconds
    truth = np.sqrt(once * again)
    rows = [
        row("distilsearch", p.mean_ms, truth),
        row("sum of operators", 1e3 * lowered.sums(alone[:, None])[:, 0], truth),
        row("random forest a kind", forests(known, lowered), truth),
        row("FLOPs-proportional", rate * np.array([flops(a, serving) for a in held]), truth),
        row("the same measurement again", again, once),
    ]
    about = {"space": chosen.space, "size": float(space.size), "dtype": chosen.dtype, "mode": chosen.mode}
    rows[0] |= {
        "covered": quality.coverage(p.lower_ms, p.upper_ms, truth).share,
        "interval": float(np.median(p.upper_ms / p.mean_ms)),
        "operators": len(known.operators),
        "models": len(known.models),
        "noise_floor": known.meta.noise_floor,
        "profile_seconds": profiling,
        "fit_seconds": fitted,
        "tiers": {tier: int((p.tier == tier).sum()) for tier in sorted(set(p.tier.tolist()))},
    }
    return [about | each for each in rows]


def main() -> None:
    """Print and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", choices=("quickstart", "large"), default="quickstart")
    parser.add_argument("--students", type=int, default=60)
    parser.add_argument("--operators", type=int, default=200, help="operators to profile at most")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--mode", default="eager")
    parser.add_argument("--work", type=Path, help="folder of measurements; kept, and continued from")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = run(chosen, chosen.work or Path(folder))
    record(f"predictor_students_{chosen.space}_{chosen.dtype}_{chosen.mode}", rows)
    print(table([{name: r[name] for name in rows[-1]} for r in rows]))
    print({name: value for name, value in rows[0].items() if name not in rows[-1]})


if __name__ == "__main__":
    main()
