"""Predicted against measured latency of held-out students on this machine, beside repeating the measurement.

    python benchmarks/predictor_students.py [--space large] [--dtype bfloat16] [--mode compile] [--runtime openvino]

Profiles a BERT space, then times the profile's operators and models again together with random students that no
predictor sees, in one session, every case once in each round. What was measured is kept in `--work`. Peers: latency
proportional to FLOPs (fitted to the profile's models), the plain sum of the operators (measured ones as measured), and
nn-Meter's way (a random forest for each kind of operator on its sizes, plain sum). "Profiled before" is what the
predictor says from the profile alone, made minutes earlier: the machine's own drift is in it. The last line is one half
of the rounds against the other half: no predictor can be expected to do much better.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from common import record, table
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor

from distilsearch.architecture import Architecture
from distilsearch.engine.job.commands.quickstart import quickstart_run
from distilsearch.families import family
from distilsearch.home import write_atomically
from distilsearch.lowering import flops
from distilsearch.operators import Operator, Serving
from distilsearch.predictors import quality
from distilsearch.predictors.latency import LatencyPredictor
from distilsearch.predictors.operators.totals import Lowered
from distilsearch.profiling import Device, LatencyTable, open_device, profile, table_folder
from distilsearch.profiling.cases.plan import MODELS, Case
from distilsearch.profiling.clock import summarise
from distilsearch.profiling.collect import probe_cases
from distilsearch.profiling.measuring.sweep import Sweep
from distilsearch.profiling.tables import derive, rounds
from distilsearch.space import SearchSpace

LARGE = {
    "layers": list(range(1, 13)),
    "width": list(range(96, 641, 8)),
    "heads": [1, 2, 3, 4, 5, 6, 8, 10, 12, 16],
    "ffn": list(range(128, 2561, 4)),
}
ROUNDS = 16
Floats = NDArray[np.float64]


def space_of(name: str) -> SearchSpace:
    """The quickstart's space, or one of millions of architectures."""
    genes = quickstart_run().space.genes if name == "quickstart" else LARGE
    return family("bert").space({**genes, "inherit": ["even"]})  # which layers are inherited is no matter of latency


def of_rounds(folder: Path, names: Iterable[str]) -> LatencyTable:
    """The table that some of the files of rounds in a folder make by themselves."""
    with tempfile.TemporaryDirectory() as alone:
        for name in names:
            write_atomically(Path(alone) / rounds.ROUNDS / name, (folder / rounds.ROUNDS / name).read_bytes())
        return LatencyTable.read(Path(alone))


def profiled(space: SearchSpace, device: Device, serving: Serving, chosen: argparse.Namespace) -> list[str]:
    """Profile as a user would; the names of the files of rounds that this made."""
    note = chosen.work / "profiled.json"
    if not note.exists():
        start = time.perf_counter()
        asked = {"models": chosen.models, "most_operators": chosen.operators}
        found = profile(space, device, serving, store=chosen.work, **asked)
        print(f"{len(found.operators)} operators, {len(found.models)} models: {time.perf_counter() - start:.0f} s")
        chosen.seconds = time.perf_counter() - start
        write_atomically(note, json.dumps(rounds.names(table_folder(device, chosen.work, serving.runtime))))
    return list(json.loads(note.read_text()))


def together(known: LatencyTable, held: list[Architecture], device: Device, serving: Serving, folder: Path) -> None:
    """Time the profile again beside the students, unless that was done."""
    again = [Case(r.operator, serving) for r in known.operators if r.regime == device.regime(serving)]
    models = dict.fromkeys(Case(r.architecture, serving) for r in known.models)
    done = {r.architecture for r in LatencyTable.read(folder).models}
    if not done.issuperset(held):
        sweep = Sweep(device, folder, np.random.default_rng(0), least=ROUNDS, most=2 * ROUNDS, runtime=serving.runtime)
        sweep.run([*probe_cases(device, [serving]), *again, *models, *(Case(a, serving) for a in held)])


def of_students(held: list[Architecture], serving: Serving, device: Device, files: list[Path]) -> Floats:
    """Milliseconds (3, n) of each student: by all its rounds, and by either half of them."""
    groups = derive.grouped(map(rounds.read, files))
    kept = [groups["model", Case(a, serving).signature, device.regime(serving)] for a in held]
    parts = (slice(None), slice(0, None, 2), slice(1, None, 2))
    figures = [
        [summarise(g.seconds[p], g.sentinels[p], g.baseline, g.levels[p]).seconds_p10 for g in kept] for p in parts
    ]
    return 1e3 * np.array(figures)


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


def issued(chosen: argparse.Namespace) -> str:
    """Who runs the models, or how torch does."""
    return str(chosen.mode if chosen.runtime == "torch" else chosen.runtime)


def row(name: str, predicted: Any, truth: Any) -> dict[str, Any]:
    """One line of the result."""
    e = quality.errors(predicted, truth)
    shares = {"within_5": e.within_5, "within_10": e.within_10, "kendall": quality.kendall(predicted, truth)}
    return {"predictor": name, "n": e.n, "median": e.median, "mean": e.mean, "p90": e.p90, "p99": e.p99, **shares}


def run(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """Profile, measure, predict."""
    threads = chosen.threads if chosen.device == "cpu" else None
    serving = Serving(threads=threads, dtype=chosen.dtype, mode=chosen.mode, runtime=chosen.runtime)
    device, space = open_device(chosen.device), space_of(chosen.space)
    first, folder = profiled(space, device, serving, chosen), table_folder(device, chosen.work, chosen.runtime)
    before = of_rounds(folder, first)
    drawn = space.decode(space.sample(20 * chosen.students, np.random.default_rng(chosen.seed)))
    seen = {model.architecture for model in before.models}
    held = [a for a in dict.fromkeys(drawn) if a not in seen][: chosen.students]
    together(before, held, device, serving, folder)
    session = sorted(set(rounds.names(folder)) - set(first))
    truth, once, again = of_students(held, serving, device, [folder / rounds.ROUNDS / name for name in session])
    known, hidden = of_rounds(folder, session), set(held)
    known = replace(known, models=tuple(m for m in known.models if m.architecture not in hidden))
    start = time.perf_counter()
    predictor = LatencyPredictor.fit(known)
    fitted = time.perf_counter() - start
    p = predictor.predict(held, serving)
    known = replace(known, operators=tuple(r for r in known.operators if r.regime.mode == chosen.mode))
    work_done = np.array([flops(m.architecture, m.serving) for m in known.models])
    rate = float(np.median([1e3 * m.measured.seconds_p10 for m in known.models] / work_done))
    lowered = Lowered.of(held, serving)
    alone = predictor.model.estimate(lowered.distinct, predictor.setting(serving)).seconds
    rows = [
        row("distilsearch", p.mean_ms, truth),
        row("distilsearch, profiled before", LatencyPredictor.fit(before).predict(held, serving).mean_ms, truth),
        row("sum of operators", 1e3 * lowered.sums(alone[:, None])[:, 0], truth),
        row("random forest a kind", forests(known, lowered), truth),
        row("FLOPs-proportional", rate * np.array([flops(a, serving) for a in held]), truth),
        row("half of the rounds against the other", again, once),
    ]
    machine = str(device.facts().get("model", chosen.device))
    about = {"device": chosen.device, "machine": machine, "space": chosen.space}
    about |= {"size": float(space.size), "dtype": chosen.dtype}
    rows[0] |= {
        "covered": quality.coverage(p.lower_ms, p.upper_ms, truth).share,
        "interval": float(np.median(p.upper_ms / p.mean_ms)),
        "operators": len(known.operators),
        "models": len(known.models),
        "noise_floor": known.meta.noise_floor,
        "fit_seconds": fitted,
        "profile_seconds": getattr(chosen, "seconds", None),
        "tiers": {tier: int((p.tier == tier).sum()) for tier in sorted(set(p.tier.tolist()))},
    }
    return [about | {"mode": chosen.mode, "runtime": chosen.runtime} | each for each in rows]


def arguments(about: str | None) -> argparse.ArgumentParser:
    """What can be said on the command line."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--space", choices=("quickstart", "large"), default="quickstart")
    parser.add_argument("--device", choices=("cpu", "cuda", "xla"), default="cpu")
    parser.add_argument("--students", type=int, default=60)
    parser.add_argument("--operators", type=int, default=200, help="operators to profile at most")
    parser.add_argument("--models", type=int, default=MODELS, help="students that the profile takes whole")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--mode", default="eager")
    parser.add_argument("--runtime", default="torch", help="torch, onnxruntime or openvino")
    parser.add_argument("--seed", type=int, default=1, help="which students are held out")
    parser.add_argument("--work", type=Path, help="folder of measurements, kept")
    return parser


def main() -> None:
    """Print and keep the result."""
    chosen = arguments(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        chosen.work = chosen.work or Path(folder)
        chosen.work /= f"{chosen.device}-{chosen.space}-{chosen.dtype}-{issued(chosen)}"  # sees nothing of the others
        rows = run(chosen)
    device = "" if chosen.device == "cpu" else f"_{chosen.device}"
    record(f"predictor_students{device}_{chosen.space}_{chosen.dtype}_{issued(chosen)}", rows)
    print(table([{name: r[name] for name in rows[-1]} for r in rows]))
    print({name: value for name, value in rows[0].items() if name not in rows[-1]})


if __name__ == "__main__":
    main()
