"""How often 90 % intervals hold: on random students, and on the winners that a search picks.

    python benchmarks/predictor_coverage.py [--train 40] [--repeats 2]

Sources are the 14 devices of HW-GPT-Bench-S and the 8 latencies of HAT. Random students: a few tests a fit, so that
they are nearly independent. Winners: a search replayed on the published rows; with some random students measured it
asks, again and again, for the predicted fastest unmeasured student with at least so many parameters, measures it,
and lets the intervals adapt; every `REFIT` winners it fits anew with all it has measured and keeps what the intervals
have learnt of winners. `fixed` is the same search with intervals that do not adapt.
"""

import argparse
from typing import Any

import numpy as np
from common import record, table
from numpy.typing import NDArray
from published import HAT_FILES, Counted, hat, hwgpt

from distilsearch.predictors import quality
from distilsearch.predictors.pairs.pairs import PairPredictor

TESTS, WINNERS, REFIT, POOL = 10, 12, 4, 400
Source = tuple[str, list[Counted], NDArray[np.float64]]


def sources() -> list[Source]:
    """(name, models, ms) of every published latency; of HW-GPT the rows that development did not see."""
    known = hwgpt(rows=slice(5000, 7000))
    found: list[Source] = [(name, known.models, ms) for name, ms in known.latency.items()]
    for name in HAT_FILES:
        for side in ("encoder", "decoder"):
            each = hat(name, side)
            found.append((f"{name} {side}", each.models, each.latency[name]))
    return found


def inside(fitted: PairPredictor, models: list[Counted], ms: NDArray[np.float64]) -> list[bool]:
    """Whether each of n models lies inside its interval."""
    p = fitted.predict_operators(models)
    return list(((p.lower_ms <= ms) & (ms <= p.upper_ms)).tolist())


def replay(source: Source, train: int, seed: int) -> dict[str, list[bool]]:
    """Which random students, and which winners of one replayed search, lie inside their intervals."""
    _, models, ms = source
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(models))[: train + TESTS + POOL].tolist()
    known, test, left = rows[:train], rows[train : train + TESTS], rows[train + TESTS :]
    size = {i: sum(o.parameters * n for o, n in models[i]) for i in left}
    found: dict[str, list[bool]] = {"winners": [], "winners, fixed": []}
    shift = 0.0
    for number in range(WINNERS):
        if number % REFIT == 0:
            fitted = PairPredictor.fit([models[i] for i in known], ms[known])
            mean = dict(zip(left, fitted.predict_operators([models[i] for i in left]).mean_ms.tolist(), strict=True))
        if not number:
            found["random"] = inside(fitted, [models[i] for i in test], ms[test])
        least = np.quantile([size[i] for i in left], rng.uniform(0.0, 0.9))
        best = min((i for i in left if size[i] >= least), key=lambda i: mean[i])
        for name, moved in (("winners, fixed", 0.0), ("winners", shift)):
            fitted.intervals.shift = moved
            found[name] += inside(fitted, [models[best]], ms[[best]])
        fitted.observe(models[best], float(ms[best]))
        shift = fitted.intervals.shift
        known.append(best)
        left.remove(best)
    return found


def row(what: str, held: list[bool], searches: int) -> dict[str, Any]:
    """One line of the result."""
    value = np.array(held, dtype=np.float64)
    c = quality.coverage(np.full(len(value), 0.5), np.full(len(value), 1.5), value)
    agrees = {"low": c.lower, "high": c.upper, "nominal_inside": c.agrees(0.9)}
    return {"students": what, "fits_or_searches": searches, "n": c.n, "covered": c.share, **agrees}


def main() -> None:
    """Print and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=2)
    chosen, known = parser.parse_args(), sources()
    held: dict[str, list[bool]] = {"random": [], "winners": [], "winners, fixed": []}
    late: list[bool] = []
    for seed in range(chosen.repeats):
        for source in known:
            found = replay(source, chosen.train, 800 + seed)
            for name, each in found.items():
                held[name] += each
            late += found["winners"][WINNERS // 2 :]
            print(source[0], seed, {name: round(float(np.mean(each)), 3) for name, each in held.items()}, flush=True)
    searches = chosen.repeats * len(known)
    rows = [row(name, each, searches) for name, each in held.items()]
    rows.append(row("winners, second half", late, searches))
    record("predictor_coverage", rows)
    print(table(rows))


if __name__ == "__main__":
    main()
