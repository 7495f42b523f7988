"""Constraints that only trials show: how many of 40 trials keep one, and how good the best of those is.

From benchmarks/:

    python -m search.constraints --seeds 5

Two kinds of problem, and every seed is a problem of its own, of 5 genes with 6 choices each:

    rare     a ball that holds 1.6 % of the space, away from where the loss is low
    common   a curved ridge that cuts off the 35 % with the lowest losses

Methods: this project's sampler in an Optuna study, Optuna's GPSampler and its RandomSampler, all told the same by
`constraints_func`, all in one thread. Runs are appended to results/search/constraints.jsonl, and what is there is not
run again. `gap` is the loss of the best feasible trial above the best of the space, as a share of the range of losses.
"""

import argparse
import itertools
import json
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import optuna
import torch
from common import RESULTS, table
from search.problems import Floats

from distilsearch.engine.adapters.optuna_sampler import DistilSampler
from distilsearch.engine.objectives import Expensive
from distilsearch.space import Parameter, SearchSpace

GENES, CHOICES, TRIALS = 5, 6, 40
SHARES = {"rare": 0.016, "common": 0.65}
PATH = RESULTS / "search" / "constraints.jsonl"
Sampler = Callable[["Problem", int], optuna.samplers.BaseSampler]


@dataclass(frozen=True)
class Problem:
    """Loss and constraint (positive: broken) of every point (n,) of the grid."""

    loss: Floats
    excess: Floats

    @classmethod
    def of(cls, kind: str, seed: int) -> "Problem":
        """A problem of a kind."""
        rng = np.random.default_rng([11, seed])
        x = np.array(list(itertools.product(np.linspace(0, 1, CHOICES), repeat=GENES)))
        low, weights = rng.uniform(0.1, 0.9, GENES), rng.uniform(0.3, 1.5, GENES)
        loss = ((x - low) ** 2) @ weights + 0.2 * np.sin(5 * x[:, 0] * x[:, 1]) + 0.1 * x[:, 2] * x[:, 3]
        if kind == "rare":
            centre = np.where(low < 0.5, rng.uniform(0.6, 1.0, GENES), rng.uniform(0.0, 0.4, GENES))
            raw = ((x - centre) ** 2).sum(axis=1)
        else:
            raw = -loss + 0.3 * np.sin(4 * x[:, 0] + rng.uniform(0, 6)) + 0.3 * x[:, 1] * x[:, 4]
        return cls(loss, raw - np.quantile(raw, SHARES[kind]))

    def index(self, params: dict[str, Any]) -> int:
        """The row of a trial's parameters."""
        return int(np.ravel_multi_index([params[f"x{i}"] for i in range(GENES)], [CHOICES] * GENES))


def _constraint(problem: Problem) -> Callable[[optuna.trial.FrozenTrial], tuple[float]]:
    return lambda trial: (float(problem.excess[problem.index(trial.params)]),)


def _ours(problem: Problem, seed: int) -> optuna.samplers.BaseSampler:
    space = SearchSpace("generic", [Parameter(f"x{i}", tuple(range(CHOICES))) for i in range(GENES)])
    return DistilSampler(space, [Expensive("loss")], seed, constraints_func=_constraint(problem))


METHODS: dict[str, Sampler] = {
    "random": lambda problem, seed: optuna.samplers.RandomSampler(seed),
    "optuna-gp": lambda problem, seed: optuna.samplers.GPSampler(seed=seed, constraints_func=_constraint(problem)),
    "distilsearch": _ours,
}


def run(kind: str, method: str, seed: int) -> dict[str, Any]:
    """One study as a line of results."""
    problem = Problem.of(kind, seed)
    study = optuna.create_study(sampler=METHODS[method](problem, seed))
    start = time.perf_counter()

    def objective(trial: optuna.Trial) -> float:
        params = {f"x{i}": trial.suggest_int(f"x{i}", 0, CHOICES - 1) for i in range(GENES)}
        return float(problem.loss[problem.index(params)])

    study.optimize(objective, n_trials=TRIALS)
    rows = [problem.index(trial.params) for trial in study.trials]
    keeping = [row for row in rows if problem.excess[row] <= 0]
    best = problem.loss[problem.excess <= 0].min()
    gap = float((problem.loss[keeping].min() - best) / np.ptp(problem.loss)) if keeping else None
    return {
        "kind": kind, "method": method, "seed": seed, "share": float((problem.excess <= 0).mean()),
        "feasible": len(keeping), "distinct": len(set(keeping)), "gap": gap,
        "seconds": round(time.perf_counter() - start, 1),
        "versions": {name: version(name) for name in ("distilsearch", "optuna", "torch", "numpy")},
    }  # fmt: skip


def summary(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a kind and method."""
    rows = []
    for kind, method in itertools.product(SHARES, METHODS):
        own = sorted((x for x in lines if (x["kind"], x["method"]) == (kind, method)), key=lambda x: x["seed"])
        if own:
            gaps = [x["gap"] for x in own]
            rows.append(
                {
                    "kind": f"{kind} ({own[0]['share']:.1%})",
                    "method": method,
                    f"feasible of {TRIALS}": ", ".join(str(x["feasible"]) for x in own),
                    "distinct": ", ".join(str(x["distinct"]) for x in own),
                    "gap": ", ".join("none" if g is None else f"{g:.1%}" for g in gaps),
                    "seconds": float(np.mean([x["seconds"] for x in own])),
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kinds", nargs="+", choices=SHARES, default=list(SHARES))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", module="optuna|distilsearch")
    PATH.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.loads(line) for line in PATH.read_text().splitlines()] if PATH.exists() else []
    done = {(x["kind"], x["method"], x["seed"]) for x in lines}
    for seed, kind, method in itertools.product(range(asked.seeds), asked.kinds, asked.methods):
        if (kind, method, seed) not in done:
            lines.append(run(kind, method, seed))
            with PATH.open("a") as file:
                file.write(json.dumps(lines[-1]) + "\n")
            print({k: lines[-1][k] for k in ("kind", "method", "seed", "feasible", "gap", "seconds")}, flush=True)
    print(table(summary(lines)))


if __name__ == "__main__":
    main()
