"""Run methods on problems and keep every trace; what is kept already is not run again.

From benchmarks/:

    python -m search.compare --problems hwgpt-a100 macro --methods random optuna-tpe --seeds 10

Traces lie in benchmarks/results/search/METHOD.jsonl, one line a run: the evaluated codes, the share of the largest
hypervolume after each, the seconds of each proposal (on whatever the machine was doing), and versions.
"""

import argparse
import json
import os
from importlib.metadata import version
from pathlib import Path

import numpy as np
from search.ours import OURS
from search.peers import PEERS
from search.problems import PROBLEMS, Problem
from search.tuning import TUNING

FOLDER = Path(__file__).resolve().parents[1] / "results" / "search"
LIBRARIES = {"optuna": ("optuna",), "botorch": ("botorch", "gpytorch"), "ax": ("ax-platform", "botorch")}
BUDGET = 60


def kept(method: str) -> list[dict[str, object]]:
    """The runs of a method that are kept."""
    path = FOLDER / f"{method}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def run(problem: Problem, method: str, seed: int, budget: int) -> dict[str, object]:
    """One run as a line of results."""
    rows, seconds = [], []
    for row, took in (PEERS | OURS)[method](problem, seed, budget):
        rows.append(row[0])
        seconds.append(round(took, 3))
    codes = np.array(rows)
    library = LIBRARIES.get(method.split("-")[0], ("distilsearch",))
    return {
        "problem": problem.name,
        "method": method,
        "seed": seed,
        "reference": list(map(float, problem.reference)),
        "versions": {name: version(name) for name in (*library, "torch", "numpy")},
        "shares": [round(s, 5) for s in problem.shares(codes)],
        "seconds": seconds,
        "codes": codes.tolist(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS | TUNING, required=True)
    parser.add_argument("--methods", nargs="+", choices=PEERS | OURS, required=True)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--budget", type=int, default=BUDGET)
    parser.add_argument("--again", action="store_true", help="drop the kept runs of these methods on these problems")
    asked = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in asked.problems:
        problem = (PROBLEMS | TUNING)[name]()
        for method in asked.methods:
            path = FOLDER / f"{method}.jsonl"
            if asked.again:
                others = [line for line in kept(method) if line["problem"] != name]
                path.write_text("".join(json.dumps(line) + "\n" for line in others))
        for seed in range(asked.seeds):
            for method in asked.methods:
                done = {(line["problem"], line["seed"]) for line in kept(method)}
                if (name, seed) in done:
                    continue
                line = run(problem, method, seed, asked.budget)
                with os.fdopen(
                    os.open(FOLDER / f"{method}.jsonl", os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o644), "w"
                ) as file:
                    file.write(json.dumps(line) + "\n")
                shares, seconds = line["shares"], line["seconds"]
                assert isinstance(shares, list)
                assert isinstance(seconds, list)
                at = {s: next((i + 1 for i, v in enumerate(shares) if v >= s), None) for s in (0.9, 0.95, 0.98)}
                print(
                    name, method, seed, at, f"after {len(shares)}: {shares[-1]:.3f}, {sum(seconds):.0f} s", flush=True
                )


if __name__ == "__main__":
    main()
