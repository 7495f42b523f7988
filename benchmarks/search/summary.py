"""What the kept traces say: evaluations to 90, 95 and 98 % of the largest hypervolume, and the share after 60.

    python benchmarks/search/summary.py            # medians with quartiles over the seeds there are; the design counts

A run that never gets there counts as 61 and more.
"""

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import RESULTS, table

LEVELS = (0.90, 0.95, 0.98)
NEVER = 61


def spread(values: list[float], digits: int) -> str:
    """Median and quartiles."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75], method="nearest")
    words = [f"> {NEVER - 1}" if digits == 0 and v >= NEVER else f"{v:.{digits}f}" for v in (middle, low, high)]
    return f"{words[0]} ({words[1]} to {words[2]})"


def first(shares: list[float], level: float) -> float:
    """The evaluation at which a trace reaches a level."""
    return next((i + 1 for i, share in enumerate(shares) if share >= level), NEVER)


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
            row |= {f"to {level:.0%}": spread([first(t, level) for t in traces], 0) for level in LEVELS}
            rows.append(row | {"share after 60": spread([t[-1] for t in traces], 3)})
        print(f"\n{problem}\n\n{table(rows)}")


if __name__ == "__main__":
    main()
