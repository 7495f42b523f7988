"""Calibrating a predictor to a new device with 10 or 20 whole models, from what is known of another device.

    python benchmarks/predictor_calibration.py [--seeds 3]

Source: 200 measured students on an A100 (for the CPUs: on one CPU). Targets: the other devices of HW-GPT-Bench-S.
Compared: calibrated, fitted to the few models alone, and the source's prediction times one factor.
"""

import argparse
from typing import Any

import numpy as np
from common import record, table
from numpy.typing import NDArray
from published import HWGPT_CPUS, HWGPT_DEVICES, Published, hwgpt

from distilsearch.predictors import quality
from distilsearch.predictors.pairs.pairs import PairPredictor

SOURCE, SIZES, TEST = 200, (10, 20), 300


def split(known: Published, source: PairPredictor, y: NDArray[np.float64], n: int, seed: int) -> dict[str, float]:
    """Mean errors on one split."""
    order = SOURCE + np.random.default_rng(seed).permutation(len(known) - SOURCE)
    few, test = [known.models[i] for i in order[:n]], [known.models[i] for i in order[n : n + TEST]]
    measured, truth = y[order[:n]], y[order[n : n + TEST]]
    carried = source.calibrate(few, measured).predict_operators(test)
    factor = float(np.median(measured / source.predict_operators(few).mean_ms))
    guesses = {
        "calibrated": carried.mean_ms,
        "alone": PairPredictor.fit(few, measured).predict_operators(test).mean_ms,
        "one factor": factor * source.predict_operators(test).mean_ms,
    }
    errors = {name: quality.errors(guess, truth).mean for name, guess in guesses.items()}
    return errors | {"covered": quality.coverage(carried.lower_ms, carried.upper_ms, truth).share}


def run(seeds: int) -> list[dict[str, Any]]:
    """One row a size and target."""
    known, rows = hwgpt(rows=slice(7000, 8000)), []
    for devices in (HWGPT_DEVICES, HWGPT_CPUS):
        source = PairPredictor.fit(known.models[:SOURCE], known.latency[devices[0]][:SOURCE])
        for target in devices[1:]:
            y = known.latency[target]
            for n in SIZES:
                found = [split(known, source, y, n, 40 + seed) for seed in range(seeds)]
                mean = {name: float(np.mean([each[name] for each in found])) for name in found[0]}
                rows.append({"source": devices[0], "target": target, "models": n, **mean})
                rows[-1]["noise"] = known.noise[target]
                print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Print and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    rows = run(parser.parse_args().seeds)
    record("predictor_calibration", rows)
    print(table(rows))


if __name__ == "__main__":
    main()
