"""What are the students that runs hand back worth on STS-B, by eager torch and as they are served best?

`python -m serving.fronts NAME=RUN ... [--folder DIR] [--threads 1]`: folders of finished runs of the quickstart's
teacher, each with what to call it. Every member of their fronts and the teacher are exported in every way, and each
file is scored on STS-B test (1,379 pairs, never trained or tuned on) by its runtime in a process without torch, as
`serving.loading` does. Latencies are timed side by side, all models of a serving in turn, the faster of two sessions.
`speed` is a multiple of the teacher in eager float32 torch, `of best` one of the teacher in whatever serves it fastest
here. The last table has the best STS-B at each speed, of each run by torch alone and by any runtime. What was scored is
kept in DIR.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from common import record, table
from serving.loading import rows_of

from distilsearch import profiling
from distilsearch.architecture import Architecture
from distilsearch.operators import Serving
from distilsearch.profiling import open_device

TEACHER, TORCH = "quickstart", "torch float32"
SPEEDS = (3.0, 5.0, 7.0, 10.0)
WAYS = (TORCH, "onnxruntime float32", "onnxruntime int8", "openvino float32", "openvino int8")
SESSIONS = 2

Timings = Mapping[tuple[Architecture, str], float]  # seconds, by student and way


def main() -> None:
    """Score what is missing, time all side by side, print the tables, record the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=lambda given: given.partition("=")[::2], metavar="NAME=RUN")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/serving-fronts"))
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    runs = {name: Path(folder) for name, folder in asked.runs}
    results = {name: json.loads((run / "result.json").read_text()) for name, run in runs.items()}
    teacher = Architecture.from_json(next(iter(results.values()))["teacher"]["architecture"])
    scores = [(TEACHER, teacher, scored(TEACHER, asked.folder))]
    for name, member in ((name, member) for name, result in results.items() for member in result["front"]):
        student = Architecture.from_json(member["architecture"])
        scores.append((name, student, scored(str(runs[name] / member["student"]), asked.folder)))
    timings = timed({student for _, student, _ in scores}, asked.threads, asked.folder / "timings")
    isa = open_device("cpu").facts()["isa"]
    rows = [{"threads": asked.threads, "isa": isa, **row} for row in listed(scores, teacher, timings)]
    print(table([{name: row[name] for name in list(rows[0])[2:]} for row in rows]))
    print("\n" + table(best(rows)), "\n\n", f"on {' '.join(isa)}")
    print(record("serving_fronts", rows))


def scored(model: str, folder: Path) -> dict[str, dict[str, Any]]:
    """What `serving.loading` says of a model, by way; kept once it is there."""
    kept = folder / "scores.json"
    known: dict[str, dict[str, dict[str, Any]]] = json.loads(kept.read_text()) if kept.exists() else {}
    if model not in known:
        rows = rows_of(model, folder)
        known[model] = {" ".join(row["served"].split()[:2]): row for row in rows}
        kept.write_text(json.dumps(known, indent=1))
        print(f"scored {model}", flush=True)
    return known[model]


def timed(students: set[Architecture], threads: int, store: Path) -> Timings:
    """Seconds of every student in every way."""
    own, seconds = sorted(students, key=lambda student: student.key), dict[tuple[Architecture, str], float]()
    for _ in range(SESSIONS):
        for way in WAYS:
            runtime, dtype = way.split()
            serving = Serving(sequence=128, threads=threads, runtime=runtime, dtype=dtype)
            for student, one in zip(own, profiling.measure(own, "cpu", serving, store=store), strict=True):
                seconds[student, way] = min(one.seconds_p10, seconds.get((student, way), np.inf))
    return seconds


def listed(
    scores: list[tuple[str, Architecture, dict[str, dict[str, Any]]]], teacher: Architecture, timings: Timings
) -> Iterator[dict[str, Any]]:
    """A row a model and way."""
    fastest = min(timings[teacher, way] for way in WAYS)
    whole = scores[0][2][TORCH]["STS-B"]
    for run, student, by_way in scores:
        for way in WAYS:
            seconds = timings[student, way]
            yield {
                "run": run,
                "model": "teacher" if run == TEACHER else shape(student),
                "served": way,
                "STS-B": by_way[way]["STS-B"],
                "share of teacher": by_way[way]["STS-B"] / whole,
                "ms": 1e3 * seconds,
                "speed": timings[teacher, TORCH] / seconds,
                "of best": fastest / seconds,
                **{name: by_way[way][name] for name in ("MB", "seconds to first", "memory MB")},
            }


def shape(student: Architecture) -> str:
    """A student in a few words."""
    return "{layers} x {width}, {heads} heads, FFN {ffn}, {inherit}".format(**dict(student.values))


def best(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The best share of the teacher's STS-B at each speed: a row a run, denominator and choice of ways."""
    out = []
    for run in dict.fromkeys(row["run"] for row in rows):
        for words, against in (("eager torch", "speed"), ("its best", "of best")):
            for served, ways in (("torch", (TORCH,)), ("any", WAYS)):
                here = [row for row in rows if row["run"] in (run, TEACHER) and row["served"] in ways]
                out.append({"run": run, "teacher by": words, "served by": served, **at_speeds(here, against)})
    return out


def at_speeds(rows: list[dict[str, Any]], against: str) -> dict[str, float]:
    """The best share of the teacher's STS-B among those at least so fast, by speed; NaN where there is none."""
    shares = {speed: [row["share of teacher"] for row in rows if row[against] >= speed] for speed in SPEEDS}
    return {f"{speed:g}x": max(those, default=float("nan")) for speed, those in shares.items()}


if __name__ == "__main__":
    main()
