"""Latency of HAT's encoder-decoder students from measured ones, on four published files.

    python benchmarks/predictor_hat.py [--seeds 3]

Trained on 400 and on 1,600 rows of a file, tested on 400 others, which were never used while developing. Peers: a
linear fit (of the columns, and of the columns with their products with depth, relative errors weighted, whichever is
better) and plain XGBoost on the columns.
"""

import argparse
from typing import Any

import numpy as np
import xgboost as xgb
from common import record, table
from numpy.typing import NDArray
from published import HAT_FILES, Published, hat
from sklearn.linear_model import LinearRegression

from distilsearch.predictors import quality
from distilsearch.predictors.pairs.pairs import PairPredictor

SIZES, TEST, RESERVED = (400, 1600), 400, 2026
Rows = NDArray[np.int64]


def guesses(known: Published, y: NDArray[np.float64], train: Rows, test: Rows) -> dict[str, NDArray[np.float64]]:
    """Predictions of the peers."""
    plain, terms = known.columns, known.counts
    weighted = LinearRegression().fit(terms[train], y[train], sample_weight=(y[train].mean() / y[train]) ** 2)
    trees = xgb.XGBRegressor(n_estimators=300, max_depth=4, learning_rate=0.08, n_jobs=1)
    return {
        "linear, columns": LinearRegression().fit(plain[train], y[train]).predict(plain[test]),
        "linear, products": weighted.predict(terms[test]),
        "xgboost": trees.fit(plain[train], y[train]).predict(plain[test]),
    }


def split(known: Published, y: NDArray[np.float64], n: int, seed: int) -> dict[str, float]:
    """Mean errors on the reserved rows after training on `n` others."""
    order = np.random.default_rng(RESERVED).permutation(len(known))
    test, train = order[:TEST], np.random.default_rng(seed).permutation(order[TEST:])[:n]
    fitted = PairPredictor.fit([known.models[i] for i in train], y[train])
    p = fitted.predict_operators([known.models[i] for i in test])
    e = quality.errors(p.mean_ms, y[test])
    peers = {
        name: quality.errors(np.maximum(guess, 1e-3), y[test]).mean
        for name, guess in guesses(known, y, train, test).items()
    }
    covered = quality.coverage(p.lower_ms, p.upper_ms, y[test]).share
    return {"distilsearch": e.mean, "median": e.median, **peers, "covered": covered}


def run(seeds: int) -> list[dict[str, Any]]:
    """One row a file, side and size."""
    rows = []
    for name in HAT_FILES:
        for side in ("encoder", "decoder"):
            known = hat(name, side)
            y = known.latency[name]
            for n in SIZES:
                repeats = seeds if n < len(known) - TEST else 1
                found = [split(known, y, n, 9000 + seed) for seed in range(repeats)]
                mean = {key: float(np.mean([each[key] for each in found])) for key in found[0]}
                below = mean["distilsearch"] < min(v for k, v in mean.items() if k.startswith(("linear", "xgb")))
                rows.append({"file": name, "side": side, "train": n, **mean, "noise": known.noise[name]})
                rows[-1]["below"] = below
                print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Print and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    rows = run(parser.parse_args().seeds)
    record("predictor_hat", rows)
    print(table(rows))


if __name__ == "__main__":
    main()
