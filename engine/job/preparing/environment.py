"""What a run ran on: versions, machine, seeds."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..runfile.config import Run

PACKAGES = ("distilsearch", "torch", "transformers", "xgboost", "botorch", "gpytorch", "optuna", "numpy", "scipy")


def environment(run: Run) -> dict[str, Any]:
    """Plain JSON of everything outside the run file that may change a result."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "versions": {name: _version(name) for name in PACKAGES},
        "seed": run.seed,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open() as file:
            models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        models = []
    return models[0] if models else platform.processor()
