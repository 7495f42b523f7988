"""How fast a teacher and ten students are in each runtime and precision on this processor, side by side.

From benchmarks/:

    python -m serving.runtimes [--students 10] [--threads 1 2] [--rounds 12] [--sequence 128] [--only torch onnxruntime]

The teacher has the shape of the quickstart's, students are drawn from the quickstart's space, weights are random: what
is timed does not depend on them. Every model is timed in every regime once a round, in random order. A time is the
low quantile of its rounds. `speed` is the model's own eager float32 torch at its best number of threads over this
regime at its best one; `teacher_eager` and `teacher_best` are the teacher's time over this one, the teacher in eager
float32 torch and in its own best regime. The profiler's own loops wait 20 ms before each model, for threads of the one
before that still spin.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from common import record, table

from distilsearch.architecture import Architecture
from distilsearch.engine.job.commands.quickstart import quickstart_run
from distilsearch.families import family
from distilsearch.operators import Serving
from distilsearch.profiling import Device, open_device
from distilsearch.profiling.clock import SystemClock, undisturbed, visit, warm_up
from distilsearch.profiling.device import Prepared, Unsupported

TEACHER = {"layers": [6], "width": [384], "heads": [12], "ffn": [1536]}
REGIMES = {
    "torch eager": {},
    "torch compile": {"mode": "compile"},
    "torch bfloat16": {"dtype": "bfloat16"},
    "onnxruntime float32": {"runtime": "onnxruntime"},
    "onnxruntime int8": {"runtime": "onnxruntime", "dtype": "int8"},
    "openvino float32": {"runtime": "openvino"},
    "openvino int8": {"runtime": "openvino", "dtype": "int8"},
}
PLAIN = "torch eager"
SPINNING_SECONDS = 0.02

Key = tuple[str, str, int]  # model, regime, threads
Times = dict[Key, list[float]]


def models(count: int, seed: int) -> dict[str, Architecture]:
    """The teacher and some students, by name."""
    space = family("bert").space({**quickstart_run().space.genes, "inherit": ["even"]})
    drawn = dict.fromkeys(space.decode(space.sample(20 * count, np.random.default_rng(seed))))
    (teacher,) = family("bert").space({**TEACHER, "inherit": ["even"]}).decode(np.zeros((1, space.d), np.int16))
    named = {f"{a['layers']} x {a['width']}, {a['heads']} heads, FFN {a['ffn']}": a for a in list(drawn)[:count]}
    return {"teacher": teacher} | named


def prepared(
    device: Device, chosen: argparse.Namespace, named: dict[str, Architecture]
) -> Iterator[tuple[Key, Serving, Prepared]]:
    """Everything that runs here, ready; what does not is said and left out."""
    for regime, said in REGIMES.items():
        if chosen.only and regime not in chosen.only and regime.split()[0] not in chosen.only:
            continue
        for threads in chosen.threads:
            serving = replace(Serving(sequence=chosen.sequence, threads=threads), **said)
            for name, model in named.items():
                try:
                    with device.session(serving):
                        work = device.prepare(model, serving)
                        warm_up(work, SystemClock())
                    yield (name, regime, threads), serving, work
                except Unsupported as error:
                    print(f"left out: {name} in {regime}: {error}")
        print(f"{regime}: ready")


def timed(device: Device, chosen: argparse.Namespace, named: dict[str, Architecture]) -> Times:
    """Seconds of each round of everything."""
    ready, rng = list(prepared(device, chosen, named)), np.random.default_rng(0)
    times: Times = {key: [] for key, _, _ in ready}
    for number in range(chosen.rounds):
        for place in rng.permutation(len(ready)):
            key, serving, work = ready[int(place)]
            with device.session(serving):
                time.sleep(SPINNING_SECONDS)
                times[key].append(visit(work))
        print(f"round {number + 1} of {chosen.rounds}", flush=True)
    return times


def rows(times: Times) -> list[dict[str, Any]]:
    """A row a model and regime: milliseconds at each number of threads, and ratios at the best one."""
    low = {key: 1e3 * undisturbed(seconds) for key, seconds in times.items()}
    names = list(dict.fromkeys(name for name, _, _ in low))
    regimes = list(dict.fromkeys(regime for _, regime, _ in low))
    threads = sorted({count for _, _, count in low})
    at = {(n, r): [low[n, r, t] for t in threads if (n, r, t) in low] for n in names for r in regimes}
    best = {key: min(figures) for key, figures in at.items() if figures}
    teachers = [value for (name, _), value in best.items() if name == "teacher"]
    listed = []
    for (name, regime), value in best.items():
        own = {f"ms_{t}": low.get((name, regime, t), float("nan")) for t in threads}
        ratios = {"speed": best.get((name, PLAIN), float("nan")) / value}
        ratios |= {"teacher_eager": best.get(("teacher", PLAIN), float("nan")) / value}
        listed.append({"model": name, "regime": regime, **own, **ratios, "teacher_best": min(teachers) / value})
    return listed


def medians(listed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Speed against each model's own eager float32 torch: the teacher's, and the students' median, least and most."""
    out = []
    for regime in dict.fromkeys(row["regime"] for row in listed):
        here = [row for row in listed if row["regime"] == regime]
        students = [row["speed"] for row in here if row["model"] != "teacher"] or [float("nan")]
        teacher = next((row["speed"] for row in here if row["model"] == "teacher"), float("nan"))
        spread = {"median": float(np.median(students)), "least": min(students), "most": max(students)}
        out.append({"regime": regime, "teacher": teacher, **spread})
    return out


def main() -> None:
    """Print and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--students", type=int, default=10)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--sequence", type=int, default=128)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", help="regimes, or runtimes; others are left out")
    chosen = parser.parse_args()
    device = open_device("cpu")
    facts = {"machine": device.facts()["model"], "isa": device.facts()["isa"], "sequence": chosen.sequence}
    listed = rows(timed(device, chosen, models(chosen.students, chosen.seed)))
    record("serving_runtimes", [facts | row for row in listed])
    print(table(listed), "\n\n", table(medians(listed)), "\n\n", f"on {' '.join(facts['isa'])}")


if __name__ == "__main__":
    main()
