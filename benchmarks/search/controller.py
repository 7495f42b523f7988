"""Is KD-NAS's controller worth its while? Its episodes against random choice, at equal trials, on tables of results.

From benchmarks/:

    python -m search.controller [--problems bert lts hwgpt-cpu] [--seeds 5] [--trials 60]

    random      any free architecture is as likely as any other
    kdnas       as re-implemented: one target of 0.6, the exponent -0.06 on both sides of it
    budgets     as the preset has it: targets of 0.6, 0.3 and 0.15, the exponent -1 beyond them

A reward is told by its share: 0 is the median of the space, 1 its best, by true values. Episodes hold a fifteenth of
the trials. What is in results/search/controller.jsonl, one line a run, is not run again. Nothing of the strategy was
set on these problems: its numbers are those of the re-implementation, but for how long the predictor learns.
"""

import argparse
import json
import time
from importlib.metadata import version
from typing import Any

import numpy as np
from common import RESULTS, table
from search.problems import GRID, PROBLEMS, Floats, Problem
from search.summary import quartiles
from search.tuning import TUNING

from distilsearch.engine.engine import Engine
from distilsearch.engine.objectives import Expensive, Known, Objective
from distilsearch.engine.strategies import Strategy
from distilsearch.engine.strategies.kdnas import KDNAS
from distilsearch.engine.strategies.random import Random
from distilsearch.space import Codes

PATH = RESULTS / "search" / "controller.jsonl"
ALPHA = -0.06
EPISODES = 15
THIRD = 3  # of a run's trials, the last ones: those that the controller has learnt for


def strategies(trials: int) -> dict[str, Strategy]:
    """Those that are compared."""
    candidates = max(1, round(trials / EPISODES))
    several = KDNAS(candidates=candidates, targets=(0.6, 0.3, 0.15), beyond=-1.0)
    return {"random": Random(), "kdnas": KDNAS(candidates=candidates), "budgets": several}


def rewards(problem: Problem, codes: Codes) -> Floats:
    """True rewards (n,) by the published exponent, up to a factor."""
    values, worst = problem.truth(codes), max(1.0, problem.reference[0])
    return np.asarray((worst - values[:, 0]) * values[:, 1] ** ALPHA)


def run(problem: Problem, name: str, seed: int, trials: int) -> dict[str, object]:
    """One run as a line of results."""
    objectives: list[Objective] = [Expensive("loss"), Known("cost", problem.cost)]
    reference = dict(zip(("loss", "cost"), map(float, problem.reference), strict=True))
    engine = Engine(problem.space, objectives, seed, reference=reference, strategy=strategies(trials)[name])
    rng, rows, started = np.random.default_rng([31, seed]), [], time.process_time()
    for _ in range(trials):
        (architecture,) = engine.ask()
        row = problem.space.encode([architecture])
        engine.tell(architecture, {"loss": float(problem.told(row, rng)[0])})
        rows.append(row[0])
    codes, everything = np.array(rows), rewards(problem, problem.space.grid(GRID))
    middle, best = float(np.median(everything)), float(everything.max())
    reached = (rewards(problem, codes) - middle) / (best - middle)
    return {
        "problem": f"controller {problem.name}, {trials} trials",
        "method": name,
        "seed": seed,
        "versions": {one: version(one) for one in ("distilsearch", "torch", "numpy")},
        "shares": [round(share, 5) for share in problem.shares(codes)],
        "best_reward": [round(float(value), 5) for value in np.maximum.accumulate(reached)],
        "rewards": [round(float(value), 5) for value in reached],
        "cpu_seconds": round(time.process_time() - started, 1),
        "codes": codes.tolist(),
    }


def kept() -> list[dict[str, Any]]:
    """The runs there are."""
    return [json.loads(line) for line in PATH.read_text().splitlines()] if PATH.exists() else []


def spread(values: list[float]) -> str:
    """Median and quartiles."""
    low, middle, high = quartiles(values)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def summary(names: list[str]) -> list[dict[str, Any]]:
    """A row for each problem and method: medians and quartiles over the seeds."""
    lines, rows = kept(), []
    for title in sorted({str(line["problem"]) for line in lines}):
        for name in names:
            if not (runs := [line for line in lines if (line["problem"], line["method"]) == (title, name)]):
                continue
            late = [float(np.mean(line["rewards"][-(len(line["rewards"]) // THIRD) :])) for line in runs]
            row = {"problem": title.removeprefix("controller "), "method": name, "seeds": len(runs)}
            row |= {"best reward": spread([line["best_reward"][-1] for line in runs])}
            row |= {"mean reward of the last third": spread(late)}
            rows.append(row | {"hypervolume": spread([line["shares"][-1] for line in runs])})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    known = PROBLEMS | TUNING
    parser.add_argument("--problems", nargs="+", choices=known, default=["bert", "lts", "hwgpt-cpu"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=60)
    asked = parser.parse_args()
    problems, names = {name: known[name]() for name in asked.problems}, list(strategies(asked.trials))
    for seed in range(asked.seeds):
        for problem in problems.values():
            done = {(line["problem"], line["method"], line["seed"]) for line in kept()}
            for name in names:
                if (f"controller {problem.name}, {asked.trials} trials", name, seed) not in done:
                    with PATH.open("a") as file:
                        file.write(json.dumps(run(problem, name, seed, asked.trials)) + "\n")
    print(table(summary(names)))


if __name__ == "__main__":
    main()
