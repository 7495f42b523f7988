"""Does the area under short curves help to foretell what longer training gives?

    python benchmarks/distill_longer.py --folder runs/fidelity [--short 160000] [--long 3200000] [--told 4]

Takes the students that `distill_fidelity.py` has left in its folder. An engine is told the short training of all of
them and the long one of a few, drawn anew many times; what its surrogate says of the others' long training is compared
with what came out, with areas told and without, and with the order of the short losses alone.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import record, table
from scipy.stats import spearmanr

from distilsearch.architecture import Architecture
from distilsearch.arrays import FloatArray
from distilsearch.distill.teachers.teacher import load_teacher
from distilsearch.engine.beliefs import Beliefs
from distilsearch.engine.engine import Engine
from distilsearch.engine.job.commands.quickstart import quickstart_run
from distilsearch.engine.job.loop.proposing import size_features
from distilsearch.engine.objectives import Expensive
from distilsearch.families import family
from distilsearch.operators import Serving
from distilsearch.space import SearchSpace

DRAWS = 20
Row = Mapping[str, Any]


def main() -> None:
    """Compare, print and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--short", type=int, default=160_000)
    parser.add_argument("--long", type=int, default=3_200_000)
    parser.add_argument("--told", type=int, default=4)
    options = parser.parse_args()
    run = quickstart_run(trials=18)
    genes = {**run.space.genes, "inherit": ("even", "first", "last", "none")}
    space = family(run.space.family).space(genes, load_teacher(run.teacher).facts)
    short, long = (_rows(options.folder, tokens) for tokens in (options.short, options.long))
    students = sorted(short.keys() & long.keys())
    print(f"{len(students)} students")
    found: dict[str, list[tuple[float, float]]] = {}
    for draw in range(DRAWS):
        known = set(np.random.default_rng(draw).choice(students, options.told, replace=False))
        rest = [s for s in students if s not in known]
        truth = np.array([long[s]["loss"] for s in rest])
        guesses = {"short losses": np.array([short[s]["loss"] for s in rest])}
        for name, areas in (("surrogate", False), ("surrogate told areas", True)):
            engine = _told(space, short, {s: long[s] for s in known}, areas)
            guesses[name] = _foretold(engine, [short[s] for s in rest])
        for name, guess in guesses.items():
            error = float(np.abs(guess - truth).mean()) if name != "short losses" else float("nan")
            found.setdefault(name, []).append((error, float(spearmanr(guess, truth).statistic)))
    rows = [
        {
            "predictor": name,
            "students": len(students),
            "tokens": options.short,
            "against": options.long,
            "told_long": options.told,
            "error": None if np.isnan(values[0][0]) else round(float(np.mean([e for e, _ in values])), 4),
            "spearman": round(float(np.mean([rho for _, rho in values])), 3),
            "spearman_least": round(min(rho for _, rho in values), 3),
        }
        for name, values in found.items()
    ]
    print(table(rows))
    record("distill_longer", rows)


def _rows(folder: Path, tokens: int) -> dict[str, Row]:
    """The finished students of a budget, by their architecture's key."""
    rows = [json.loads(path.read_text()) for path in folder.glob(f"*-{tokens}.json")]
    return {Architecture.from_json(row["architecture"]).key: row for row in rows if "loss" in row}


def _told(space: SearchSpace, short: Mapping[str, Row], long: Mapping[str, Row], areas: bool) -> Engine:
    engine = Engine(space, [Expensive("loss")], features=size_features(space, Serving()))
    for row in (*short.values(), *long.values()):
        architecture = Architecture.from_json(row["architecture"])
        area = row["area"] if areas else None
        engine.tell(architecture, {"loss": row["loss"]}, fidelity=float(row["tokens"]), area=area)
    return engine


def _foretold(engine: Engine, rows: Sequence[Row]) -> FloatArray:
    """The medians (n,) of the long losses."""
    beliefs = Beliefs.of(engine._view([]))
    codes = engine.space.encode([Architecture.from_json(row["architecture"]) for row in rows])
    return beliefs.raw(0, beliefs.surrogates[0].marginals(beliefs.features(codes))[0]).numpy()


if __name__ == "__main__":
    main()
