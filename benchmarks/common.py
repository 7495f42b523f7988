"""What all benchmarks share: where data lies, and how results are kept."""

import json
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = ("torch", "transformers", "xgboost", "botorch", "optuna", "numpy")


def data(path: str) -> Path:
    """A file of the published data; the script ends with the reason where it is absent."""
    found = DATA / path
    if not found.exists():
        raise SystemExit(f"this benchmark needs {found}, which is not here")
    return found


def record(benchmark: str, rows: list[dict[str, Any]]) -> Path:
    """Write rows with versions and machine as JSON lines, replacing an earlier result of the same benchmark."""
    stamp = {
        "benchmark": benchmark,
        "date": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
        "versions": {name: version(name) for name in PACKAGES},
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{benchmark}.jsonl"
    path.write_text("".join(json.dumps(stamp | row) + "\n" for row in rows))
    return path


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as a Markdown table."""
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    for row in rows:
        cells = [f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
