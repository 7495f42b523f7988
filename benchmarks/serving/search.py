"""Does it pay to search architecture, precision and runtime at once? Against the same trials spent on float32.

`together`: one search over students, runtimes and precisions. `after`: as many trials of a search for torch in
float32, whose front is then served in every runtime and precision ("front"), or its chosen student alone ("winner").
Both train in homes of their own, for equal tokens. What they hand over is timed side by side with the teacher in each
serving, and speeds are multiples of the teacher by eager torch in float32, and of the teacher in whatever serves it
fastest here. Quality is 1 - loss: of the very file that is served.

`python -m serving.search --out FOLDER [--trials 24 --seeds 0 1 2]`, called again, goes on where it was.
"""

import argparse
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import record, table
from job.searches import finished, start, write_run

from distilsearch import profiling
from distilsearch.architecture import Architecture
from distilsearch.engine.objectives import hypervolume, nondominated
from distilsearch.operators import Serving

LEARNT = (".identity", "trials", "targets", "runs", "depot")  # what of a home is not profiled but of searches
SPEEDS = (3.0, 5.0, 7.0, 10.0)
SPACE = """
layers = [1, 2, 3, 4, 6]
width = [128, 192, 256, 320, 384]
heads = [4, 6, 8, 12]
ffn = [256, 384, 512, 768, 1024, 1536]
"""


@dataclass(frozen=True)
class Pair:
    """A student and how it is served, with its loss so."""

    student: Architecture
    serving: Serving
    loss: float


def main() -> None:
    """Run what is missing, time what came out, print the table and record the rows."""
    asked = _asked()
    rows = [row for seed in asked.seeds for row in _seed(asked, seed)]
    print(table(rows))
    print(record("serving_search", rows))


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of runs and homes")
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--tokens", type=int, default=160_000)
    parser.add_argument("--runtimes", nargs="+", default=["torch", "onnxruntime"])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16", "int8"])
    parser.add_argument("--sequence", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--teacher", default="quickstart")
    parser.add_argument("--text", default="python-docs")
    parser.add_argument("--space", default=SPACE, help="choices of genes, in TOML")
    parser.add_argument("--sessions", type=int, default=2, help="of timing; the faster one counts")
    return parser.parse_args()


# Runs


def _seed(asked: argparse.Namespace, seed: int) -> list[dict[str, Any]]:
    """The rows of one seed: what each way of searching hands over."""
    folder = asked.out / f"seed-{seed}"
    choices = {"runtime": asked.runtimes, "dtype": asked.dtypes}
    together = _run(asked, folder, "together", "together", seed, asked.trials, choices)
    plain = _run(asked, folder, "after", "float32", seed, asked.trials, {"runtime": "torch", "dtype": "float32"})
    after = _run(asked, folder, "after", "served", seed, 0, choices)  # trains nothing: what is known is judged
    best = {_student(member).key for member in plain["front"]}
    chosen = {_student(member).key for member in plain["front"] if member["key"] == plain["knee"]}
    known = _pairs(after, after["trials"])
    handed = {
        "together": _pairs(together, together["front"]),
        "after, front": [pair for pair in known if pair.student.key in best],
        "after, winner": [pair for pair in known if pair.student.key in chosen],
    }
    teacher = Architecture.from_json(plain["teacher"]["architecture"])
    servings = list(dict.fromkeys(pair.serving for pair in known))
    pairs = {(p.student, p.serving) for pairs in handed.values() for p in pairs}
    timed = _timed(asked, [*pairs, *((teacher, serving) for serving in servings)])
    return [_row(seed, name, pairs, teacher, servings, timed) for name, pairs in handed.items()]


def _run(
    asked: argparse.Namespace, folder: Path, home: str, name: str, seed: int, trials: int, choices: Mapping[str, Any]
) -> dict[str, Any]:
    """The result of a run in a home of this benchmark; tables are made once for all of them."""
    place, store = folder / home, asked.out / "profiled"
    place.mkdir(parents=True, exist_ok=True)
    if store.is_dir() and not (place / "home").exists():
        shutil.copytree(store, place / "home")
    serving = {"batch": 1, "sequence": asked.sequence, "threads": asked.threads, **choices}
    own = {"name": name, "teacher": asked.teacher, "text": asked.text, "trials": trials, "seed": seed}
    more = {"genes": asked.space, "tokens": asked.tokens, "serving": serving, "strategy": "ehvi"}
    write_run(place, **own, **more, workers=None, threads=None)
    result = finished(start(["search", f"{name}.toml"], place / "home", place), place, name)
    if not store.is_dir():
        shutil.copytree(place / "home", store, ignore=shutil.ignore_patterns(*LEARNT))
    return result


def _pairs(result: Mapping[str, Any], members: Iterable[Mapping[str, Any]]) -> list[Pair]:
    """Those of a result's members or trials that are known."""
    conditions = result["targets"][0]["serving"]
    return [
        Pair(_student(one), Serving.from_json({**conditions, **one["served"]}), float(one["loss"]))
        for one in members
        if one.get("state", "complete") == "complete"
    ]


def _student(member: Mapping[str, Any]) -> Architecture:
    return Architecture.from_json(member["architecture"])


# Latencies and figures


def _timed(
    asked: argparse.Namespace, pairs: Sequence[tuple[Architecture, Serving]]
) -> dict[tuple[Architecture, Serving], float]:
    """Seconds of each student as it is served: those of a serving side by side, the faster of some sessions."""
    best: dict[tuple[Architecture, Serving], float] = {}
    for _ in range(asked.sessions):
        for serving in dict.fromkeys(serving for _, serving in pairs):
            own = sorted({student for student, other in pairs if other == serving}, key=lambda student: student.key)
            store = asked.out / "timings"
            for student, one in zip(own, profiling.measure(own, "cpu", serving, store=store), strict=True):
                if one.usable:
                    best[student, serving] = min(one.seconds_p10, best.get((student, serving), np.inf))
    return best


def _row(
    seed: int,
    name: str,
    pairs: Sequence[Pair],
    teacher: Architecture,
    servings: Sequence[Serving],
    timed: Mapping[tuple[Architecture, Serving], float],
) -> dict[str, Any]:
    """What one way of searching hands over. The hypervolume is in units of the teacher's latency by eager torch, below
    that latency and a loss of 1."""
    eager = next(s for s in servings if (s.runtime, s.dtype, s.mode) == ("torch", "float32", "eager"))
    fastest = min(servings, key=lambda serving: timed.get((teacher, serving), np.inf))
    known = [pair for pair in pairs if (pair.student, pair.serving) in timed]
    points = np.array([[timed[p.student, p.serving] / timed[teacher, eager], p.loss] for p in known])
    front = np.flatnonzero(nondominated(points))
    ways = sorted({f"{known[i].serving.runtime} {known[i].serving.dtype}" for i in front})
    row: dict[str, Any] = {
        "seed": seed,
        "search": name,
        "front": len(front),
        "served by": ", ".join(ways),
        "hypervolume": hypervolume(points[points[:, 0] < 1.0], np.array([1.0, 1.0])),
        "teacher's best": f"{fastest.runtime} {fastest.dtype}",
        "its speed": timed[teacher, eager] / timed[teacher, fastest],
    }
    for words, serving in (("eager torch", eager), ("its best", fastest)):
        ratio = timed[teacher, serving] / timed[teacher, eager]
        for speed in SPEEDS:
            fast = points[points[:, 0] * speed <= ratio, 1]
            row[f"{speed:g}x of {words}"] = 1.0 - float(fast.min()) if len(fast) else "none"
    return row


if __name__ == "__main__":
    main()
