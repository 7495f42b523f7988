"""Whole-model latency of HW-GPT-Bench-S from a few measured models, on 14 devices.

    python benchmarks/predictor_hwgpt.py [--seeds 5]

Peers: ridge on width x layer-choice counts (relative errors weighted, penalty by cross-validation) and XGBoost, on
the counts and on the plain columns, whichever is better. Rows 5,000 and up: the predictor was developed on others.
Figures are mean relative errors over splits, and `noise` what the publishers' own spread leaves to a median.
"""

import argparse
from typing import Any

import numpy as np
import xgboost as xgb
from common import record, table
from numpy.typing import NDArray
from published import Published, hwgpt
from sklearn.linear_model import RidgeCV

from distilsearch.predictors import quality
from distilsearch.predictors.pairs.pairs import PairPredictor

FRESH = slice(5000, 10000)
SIZES, TEST = (20, 50, 200), 400
Rows = NDArray[np.int64]


def ridge(known: Published, y: NDArray[np.float64], train: Rows, test: Rows) -> NDArray[np.float64]:
    """Predictions of the linear peer."""
    middle = y[train].mean()
    model = RidgeCV(np.logspace(-4, 3, 15))
    model.fit(known.counts[train], y[train] / middle, sample_weight=(middle / y[train]) ** 2)
    return np.asarray(model.predict(known.counts[test]) * middle)


def boosted(columns: NDArray[np.float64], y: NDArray[np.float64], train: Rows, test: Rows) -> NDArray[np.float64]:
    """Predictions of plain XGBoost."""
    model = xgb.XGBRegressor(n_estimators=300, max_depth=4, learning_rate=0.08, n_jobs=1)
    return np.asarray(model.fit(columns[train], y[train]).predict(columns[test]), dtype=np.float64)


def split(known: Published, y: NDArray[np.float64], n: int, seed: int) -> dict[str, float]:
    """Mean errors on one split, and the share of test models inside their intervals."""
    order = np.random.default_rng(seed).permutation(len(known))
    train, test = order[TEST : TEST + n], order[:TEST]
    fitted = PairPredictor.fit([known.models[i] for i in train], y[train])
    p = fitted.predict_operators([known.models[i] for i in test])
    guesses = {
        "distilsearch": p.mean_ms,
        "ridge": ridge(known, y, train, test),
        "xgboost counts": boosted(known.counts, y, train, test),
        "xgboost columns": boosted(known.columns, y, train, test),
    }
    errors = {name: quality.errors(np.maximum(guess, 1e-3), y[test]).mean for name, guess in guesses.items()}
    return errors | {"covered": quality.coverage(p.lower_ms, p.upper_ms, y[test]).share}


def run(seeds: int) -> list[dict[str, Any]]:
    """One row a size and device."""
    known, rows = hwgpt(rows=FRESH), []
    for n in SIZES:
        for device, y in known.latency.items():
            found = [split(known, y, n, 7000 + seed) for seed in range(seeds)]
            mean = {name: float(np.mean([each[name] for each in found])) for name in found[0]}
            best = min(value for name, value in mean.items() if name not in ("distilsearch", "covered"))
            wins = [f["distilsearch"] < min(f["ridge"], f["xgboost counts"], f["xgboost columns"]) for f in found]
            spread = known.noise[device]
            row = {"train": n, "device": device, **mean, "noise": spread, "below": mean["distilsearch"] < best}
            rows.append(row | {"splits_below": f"{sum(wins)}/{seeds}"})
            print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Print and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    rows = run(parser.parse_args().seeds)
    record("predictor_hwgpt", rows)
    print(table(rows))


if __name__ == "__main__":
    main()
