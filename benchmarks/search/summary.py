"""What the kept traces say: evaluations to 90, 95 and 98 % of the largest hypervolume, and the share after all.

    python -m search.summary    # from benchmarks/: medians with quartiles over the seeds there are; the design counts

A run that never gets there counts as one evaluation more than it had.
"""

import json

import numpy as np
from common import RESULTS, table

LEVELS = (0.90, 0.95, 0.98)


def spread(words: list[str]) -> str:
    """Median and quartiles, put together from their words."""
    low, middle, high = words
    return f"{middle} ({low} to {high})"


def quartiles(values: list[float]) -> list[float]:
    """Values of runs that are the quartiles, the median in the middle."""
    return [float(v) for v in np.quantile(values, [0.25, 0.5, 0.75], method="nearest")]


def first(shares: list[float], level: float) -> float:
    """The evaluation at which a trace reaches a level; one more than there were where it does not."""
    return next((i + 1 for i, share in enumerate(shares) if share >= level), len(shares) + 1)


def reached(traces: list[list[float]], level: float) -> str:
    """At which evaluation runs reach a level."""
    budget = max(map(len, traces))
    values = quartiles([first(trace, level) for trace in traces])
    return spread([f"> {budget}" if v > budget else f"{v:.0f}" for v in values])


def main() -> None:
    runs = [json.loads(line) for path in sorted((RESULTS / "search").glob("*.jsonl")) for line in path.open()]
    for problem in sorted({run["problem"] for run in runs}):
        groups: dict[str, list[list[float]]] = {}
        for run in runs:
            if run["problem"] == problem:
                groups.setdefault(run["method"], []).append(run["shares"])
        rows = []
        for method, traces in sorted(groups.items(), key=lambda g: np.median([first(t, LEVELS[0]) for t in g[1]])):
            row = {"method": method, "seeds": len(traces)}
            row |= {f"to {level:.0%}": reached(traces, level) for level in LEVELS}
            last = quartiles([t[-1] for t in traces])
            rows.append(row | {f"share after {max(map(len, traces))}": spread([f"{v:.3f}" for v in last])})
        print(f"\n{problem}\n\n{table(rows)}")


if __name__ == "__main__":
    main()
