"""Do the published systems beat our default, random search and hand-made shapes on the same budget?

From benchmarks/, where the teachers but MiniLM are made first (see `teachers.py`):

    python -m systems.compare --folder DIR --teachers TEACHERS [--only minilm] [--seeds 0 1 2] [--minutes 5]
        [--trials 12 --flash 60000] [--systems default random ...] [--threads 2]

Every cell (teacher, system, seed) is one search with the same minutes; with `--trials` and `--flash` it is one with
the same tokens instead (`--minutes 0`). Cells that have ended are kept in DIR, so a second call goes on, and one with
`--minutes` and other cells adds to the table: the rows are of all cells in DIR, whichever call ran them. What is
missing is printed. Then the front members of all systems are scored and timed together; see `scores.py`.

The hypervolume is of the plane (latency over the teacher's, held-out loss), as a share of the rectangle between the
teacher's loss at no time and the corner (1, `worst`). "At 1/7": of the students that take at most a seventh of the
teacher's measured time the one with the least held-out loss, and its STS-B test as a share of the teacher's.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from common import record, table
from systems.cells import SYSTEMS, Budget, Cell, missing, profile, run
from systems.scores import TEACHER, Scores, latencies, shape
from systems.teachers import CASES, Case, tiny

from distilsearch.distill.compute.precision import resolve_precision
from distilsearch.engine.objectives import hypervolume

SPEEDS = (3, 5, 7, 10)


def main() -> None:
    """Run what is missing, score what there is, print and record."""
    asked = _asked()
    torch.set_num_threads(asked.threads)
    asked.folder.mkdir(parents=True, exist_ok=True)
    cases = CASES | ({"tiny": tiny(asked.folder)} if asked.only == ["tiny"] else {})
    budget = Budget(minutes=asked.minutes) if asked.minutes else Budget(trials=asked.trials, flash=asked.flash)
    cells = [
        Cell(cases[name], system, seed, budget)
        for name in asked.only
        for seed in asked.seeds
        for system in asked.systems
    ]
    absent = [] if asked.score else list(_run(cells, asked))
    rows = [row for name in cases for row in _rows(cases[name], asked)]
    for line in absent:
        print("missing:", line)
    if rows:
        print(table([_short(row) for row in rows]))
        print()
        print(table(list(claims(rows))) if len(rows) > 1 else "")
        if "tiny" not in cases:
            print(record("systems", rows))


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--teachers", type=Path, default=Path("teachers"), help="the folder of the teachers' folders")
    parser.add_argument("--only", nargs="+", choices=[*CASES, "tiny"], default=["minilm"])
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--minutes", type=float, default=5.0, help="of a cell; 0: equal tokens instead")
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--flash", type=int, default=60_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--score", action="store_true", help="run nothing: score and print what there is")
    asked = parser.parse_args()
    asked.folder, asked.teachers = asked.folder.resolve(), asked.teachers.resolve()
    return asked


def _run(cells: Sequence[Cell], asked: argparse.Namespace) -> Iterator[str]:
    """Run the cells, in order; yields those that are missing afterwards, with the reason."""
    for case in dict.fromkeys(cell.case.name for cell in cells):
        mine = [cell for cell in cells if cell.case.name == case]
        os.environ["DISTILSEARCH_HOME"] = str(asked.folder / case / "home")
        train = {"device": "cpu", "precision": resolve_precision("auto"), "workers": asked.threads, "threads": 1}
        profile(mine[0].case, asked.systems, asked.teachers, train, mine[0].budget)
        for cell in mine:
            why, name = missing(cell), f"{case}, {cell.system}, seed {cell.seed}, {cell.budget.name}"
            facts = None if why else run(cell, asked.folder, asked.teachers, train)
            if facts is None:
                yield f"{name}: {why or 'it failed'}"
            else:
                print(f"{name}: {facts['minutes']:.1f} min, {facts['students']} students", flush=True)


def _rows(case: Case, asked: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each cell of a teacher that has ended, and one for the teacher."""
    root = asked.folder / case.name
    cells = [json.loads(file.read_text()) for file in sorted(root.glob("*/cell.json"))]
    if not cells:
        return []
    os.environ["DISTILSEARCH_HOME"] = str(root / "home")
    scores = Scores(case, asked.teachers, root / "scores.jsonl")
    students = [member for cell in cells for member in cell["front"]]
    timed = latencies(case, scores.teacher, students, root / "latencies.json")
    cells.sort(key=lambda cell: (cell["budget"], cell["seed"], SYSTEMS.index(cell["system"])))
    return [_row(cell, scores, timed) for cell in cells]


def _row(cell: dict[str, Any], scores: Scores, timed: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    teacher_ms, teacher_loss = timed[TEACHER]["ms"], scores.loss(TEACHER)
    members = [_member(one, scores, timed, teacher_ms) for one in cell["front"] if shape(one["architecture"]) in timed]
    points = [[one["share"], one["loss"]] for one in members]
    whole = scores.case.worst - teacher_loss
    volume = hypervolume([[x, y - teacher_loss] for x, y in points], [1.0, whole]) / whole if points else 0.0
    best = {f"at 1/{speed}": _best(members, speed, scores) for speed in SPEEDS}
    kept = {name: value for name, value in cell.items() if name not in ("front", "versions")}
    teacher = {"ms": teacher_ms, "loss": teacher_loss, "STS-B": scores.similarity(TEACHER)}
    front = [{name: value for name, value in one.items() if name != "folder"} for one in members]
    return kept | {"hypervolume": volume, **best, "front": front, "teacher is": teacher, "worst": scores.case.worst}


def _member(
    one: Mapping[str, Any], scores: Scores, timed: Mapping[str, Mapping[str, float]], teacher_ms: float
) -> dict[str, Any]:
    latency = timed[shape(one["architecture"])]
    return {
        **{name: one[name] for name in ("key", "architecture", "tokens", "parameters", "folder")},
        **latency,
        "share": latency["ms"] / teacher_ms,
        "loss": scores.loss(one["folder"]),
    }


def _best(members: Sequence[Mapping[str, Any]], speed: float, scores: Scores) -> dict[str, Any] | None:
    """What a user would take at a speed: the least held-out loss; STS-B was not looked at."""
    fast = [one for one in members if one["share"] <= 1 / speed]
    if not fast:
        return None
    best = min(fast, key=lambda one: float(one["loss"]))
    values = {"loss": best["loss"], "share": best["share"], "key": best["key"]}
    test = scores.similarity(best["folder"])
    if test is None:
        return values
    own = scores.similarity(TEACHER) or 1.0
    dev = scores.similarity(best["folder"], "dev") if len(scores.case.languages) == 1 else None  # of five it takes long
    return values | {"STS-B dev": dev, "STS-B": test, "kept": test / own}


def _short(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the printed table."""
    names = ("teacher", "budget", "seed", "system", "minutes", "students")
    short = {name: round(row[name], 2) if name == "minutes" else row[name] for name in names}
    short |= {"M tokens": round(row["tokens"] / 1e6, 2), "front": len(row["front"])}
    short |= {"hypervolume": round(row["hypervolume"], 4)}
    for speed in SPEEDS:
        best = row[f"at 1/{speed}"]
        kept = f", {best['kept']:.1%}" if best and "kept" in best else ""
        short[f"at 1/{speed}"] = f"{best['loss']:.3f}{kept}" if best else ""
    return short


def claims(rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Each published claim against what came out, by teacher and budget, of all seeds that ran."""
    for teacher, budget in dict.fromkeys((row["teacher"], row["budget"]) for row in rows):
        mine = [row for row in rows if (row["teacher"], row["budget"]) == (teacher, budget)]
        found = {system: [row for row in mine if row["system"] == system] for system in SYSTEMS}
        ours = {row["seed"]: row["hypervolume"] for row in found["default"]}
        for system in SYSTEMS[1:]:
            both = [row for row in found[system] if row["seed"] in ours]
            if both:
                won = sum(ours[row["seed"]] > row["hypervolume"] for row in both)
                what = f"the default's hypervolume is above {system}'s"
                yield _claim(teacher, budget, what, f"in {won} of {len(both)} seeds")
        for row in found["kdnas"] + found["default"]:
            if (best := row["at 1/7"]) and "kept" in best:
                what = f"{row['system']}: 7x faster at 90 % of STS-B (seed {row['seed']})"
                yield _claim(teacher, budget, what, f"{best['kept']:.1%} at {1 / best['share']:.1f}x")
        for row in found["autodistill"] + found["default"]:
            for other in found[SYSTEMS[-1]]:
                if other["seed"] == row["seed"] and other["front"]:
                    what = f"{row['system']}: better and faster than MobileBERT's shape (seed {row['seed']})"
                    yield _claim(teacher, budget, what, _both_better(row["front"], other["front"]))


def _both_better(ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]]) -> str:
    shape_alone = min(theirs, key=lambda one: float(one["loss"]))
    better = [one for one in ours if one["loss"] < shape_alone["loss"] and one["share"] < shape_alone["share"]]
    if not better:
        return f"none of {len(ours)}"
    fastest = min(float(one["share"]) for one in better)
    gain = max(shape_alone["loss"] - one["loss"] for one in better)
    return f"{len(better)} of {len(ours)}, up to {shape_alone['share'] / fastest:.2f}x, loss {gain:.3f} lower"


def _claim(teacher: str, budget: str, what: str, result: str) -> dict[str, Any]:
    return {"teacher": teacher, "budget": budget, "claim": what, "result": result}


if __name__ == "__main__":
    sys.exit(main())
