"""Single operators on an A100: vidur's tables, with token counts or whole shapes left out.

    python benchmarks/predictor_vidur.py [--tokens 120]

Tokens: a fifth of the token counts is left out everywhere. Shapes: operators without their token count are left out
in five folds, those of a kind with too few to leave any out (norms) aside. Peer: a random forest an operator name,
as vidur fits it (one for each model and parallelism on token counts; for shapes, the shape is given to it as well).
vidur's clock ticks in microseconds, so `noise` holds its rounding beside its spread.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
from common import record, table
from numpy.typing import NDArray
from published import Timed, vidur
from sklearn.ensemble import RandomForestRegressor

from distilsearch.operators import Operator
from distilsearch.predictors import quality
from distilsearch.predictors.operators.features import Sample, Setting, shape
from distilsearch.predictors.operators.roofline import Ceilings
from distilsearch.predictors.operators.utilisation import OperatorModel
from distilsearch.profiling.tables.rows import Roof

A100 = Setting("float16", "eager", 108, 108)
CEILINGS = Ceilings({("float16", 108): Roof(312e12, 2.039e12, 2e-6)})  # data sheet, and the shortest kernel
TICK, SMALL, FOLDS = 1e-6, 128, 5
Floats = NDArray[np.float64]


def pooled(rows: list[Timed]) -> list[Timed]:
    """One row an operator, name, model and parallelism; the same operator elsewhere is the same operator."""
    groups: dict[Operator, list[float]] = defaultdict(list)
    for row in rows:
        groups[row.operator].append(row.seconds)
    first = {row.operator: row for row in reversed(rows)}
    return [Timed(**{**vars(first[o]), "seconds": float(np.median(v))}) for o, v in groups.items()]


def ours(train: list[Timed], test: list[Timed]) -> Floats:
    """Seconds of the test operators by the operator model."""
    model = OperatorModel.fit([Sample(row.operator, A100, row.seconds) for row in train], CEILINGS)
    return model.estimate([row.operator for row in test], A100).seconds


def forest(train: list[Timed], test: list[Timed], key: Callable[[Timed], Any]) -> Floats:
    """Seconds by one random forest for each group; the mean of all where a group was never measured."""
    out = np.full(len(test), float(np.mean([row.seconds for row in train])))
    for group in {key(row) for row in test}:
        known = [row for row in train if key(row) == group]
        at = [index for index, row in enumerate(test) if key(row) == group]
        if known:
            model = RandomForestRegressor(250, random_state=0, n_jobs=1)
            model.fit([sizes(row) for row in known], [row.seconds for row in known])
            out[at] = model.predict([sizes(test[index]) for index in at])
    return out


def sizes(row: Timed) -> list[float]:
    """The numeric sizes of an operator."""
    return [float(value) for value in row.operator.sizes.values() if not isinstance(value, str)]


def summary(split: str, predictor: str, guess: Floats, rows: list[Timed]) -> list[dict[str, Any]]:
    """Errors on all rows, small ones, those the clock resolves, and each kind."""
    true = np.array([row.seconds for row in rows])
    small = np.array([row.tokens <= SMALL for row in rows])
    kinds = np.array([row.operator.kind for row in rows])
    parts = {"all": true > 0, f"<= {SMALL} tokens": small, ">= 10 us": true >= 10 * TICK}
    parts |= {kind: kinds == kind for kind in sorted(set(kinds.tolist()))}
    noise = np.array([max(row.noise, 0.25 * TICK / row.seconds) for row in rows])
    found = []
    for name, of in parts.items():
        if of.any():
            e = quality.errors(guess[of], true[of])
            figures = {"n": e.n, "median": e.median, "mean": e.mean, "p90": e.p90, "within_10": e.within_10}
            head = {"left_out": split, "predictor": predictor, "rows": name}
            found.append({**head, **figures, "noise": float(np.median(noise[of]))})
    return found


def by_tokens(rows: list[Timed], rng: np.random.Generator) -> list[dict[str, Any]]:
    """A fifth of the token counts left out, never the least and the most."""
    counts = sorted({row.tokens for row in rows})
    out = set(rng.choice(counts[1:-1], len(counts) // 5, replace=False).tolist())
    train, test = ([row for row in rows if (row.tokens in out) is held] for held in (False, True))
    peer = forest(train, test, lambda row: (row.name, row.model, row.parallel))
    return summary("tokens", "distilsearch", ours(train, test), test) + summary("tokens", "vidur", peer, test)


def by_shapes(rows: list[Timed], rng: np.random.Generator) -> list[dict[str, Any]]:
    """Every shape left out once, with a fifth of the others."""

    def of(row: Timed) -> str:
        return repr([row.operator.kind, sorted((n, v) for n, v in row.operator.sizes.items() if n != "sequence")])

    kinds: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for row in rows:
        kinds[shape(row.operator)[1]].add(of(row))
    rows = [row for row in rows if len(kinds[shape(row.operator)[1]]) > 2]
    shapes = sorted({of(row) for row in rows})
    fold_of = dict(zip(shapes, (rng.permutation(len(shapes)) % FOLDS).tolist(), strict=True))
    tests, mine, peers = [], [], []
    for fold in range(FOLDS):
        train, test = ([row for row in rows if (fold_of[of(row)] == fold) is held] for held in (False, True))
        tests += test
        mine.append(ours(train, test))
        peers.append(forest(train, test, lambda row: row.name))
        print(f"fold {fold} of {FOLDS}: {len(test)} rows", flush=True)
    found = summary("shapes", "distilsearch", np.concatenate(mine), tests)
    return found + summary("shapes", "vidur", np.concatenate(peers), tests)


def main() -> None:
    """Print and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=120, help="token counts taken of the 451 in the tables")
    chosen, rng = parser.parse_args(), np.random.default_rng(31)
    rows = vidur()
    counts = sorted({row.tokens for row in rows})
    few = counts[: chosen.tokens // 2]  # the sizes of students, all of them
    few += rng.choice(counts[len(few) :], chosen.tokens - len(few), replace=False).tolist()
    rows = pooled([row for row in rows if row.tokens in set(few)])
    found = by_tokens(rows, rng) + by_shapes(rows, rng)
    record("predictor_vidur", found)
    print(table(found))


if __name__ == "__main__":
    main()
