"""Does the quickstart keep its word on a busy machine? Its minutes, and what it finds, under four loads.

`python quickstart_loads.py [--minutes 10] [--loads quiet core busy half] [--folder DIR]`; each load has a home and a
folder of its own within DIR, so nothing is reused, and a load whose run has ended there is not run again. "core": the
demo is bound to one core. "busy": two processes burn both cores all the time. "half": they begin when half of the
minutes have gone. STS-B test (1,379 pairs, never trained or tuned on) is scored for the best student at each speed.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from common import data, record, table

from distilsearch.distill.evaluate.embedding import sts_spearman
from distilsearch.engine.report.budgets import front_gap
from distilsearch.engine.report.files import read_result
from distilsearch.engine.report.readings import Reading

LOADS = ("quiet", "core", "busy", "half")
SPEEDS = (2, 3, 5, 7, 10)
BURN = "while True: pass"


def main() -> None:
    """Run what is missing, print the table, record the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--loads", nargs="+", choices=LOADS, default=LOADS)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/quickstart-loads"))
    asked = parser.parse_args()
    pairs = data("multilingual/stsb/stsb-en-test.csv")
    for load in asked.loads:
        run(load, asked.minutes, asked.folder / load)
    done = [load for load in LOADS if (asked.folder / load / "took.json").exists()]
    rows = [row(load, asked.folder / load, pairs) for load in done]
    print(table(rows))
    print(record("quickstart_loads", rows))


def run(load: str, minutes: float, folder: Path) -> None:
    """One demo under a load, from nothing; what it printed and how long it took stay in the folder."""
    if (folder / "took.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "distilsearch", "quickstart", "--minutes", str(minutes), "--folder", "run"]
    bound = ["taskset", "-c", "0"] if load == "core" else []
    start = time.perf_counter()
    with (folder / "printed.txt").open("w") as printed, burning(load, minutes * 30):
        code = subprocess.run(
            [*bound, *command],
            cwd=folder,
            env=os.environ | {"DISTILSEARCH_HOME": str(folder / "home")},
            stdout=printed,
            stderr=subprocess.STDOUT,
        ).returncode
    if code:
        raise SystemExit(f"the demo ended with {code}; see {folder / 'printed.txt'}")
    took = {"minutes": minutes, "took": (time.perf_counter() - start) / 60}
    (folder / "took.json").write_text(json.dumps(took))


@contextmanager
def burning(load: str, seconds: float) -> Iterator[None]:
    """Two processes that burn two cores: all the time, after some seconds, or never."""
    wait = {"busy": 0.0, "half": seconds}.get(load)
    code = f"import time; time.sleep({wait})\n{BURN}"
    burners = [] if wait is None else [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    try:
        yield
    finally:
        for burner in burners:
            burner.send_signal(signal.SIGKILL)
            burner.wait()


def row(load: str, folder: Path, pairs: Path) -> dict[str, Any]:
    """What a demo came to."""
    took = json.loads((folder / "took.json").read_text())
    result = read_result(folder / "run")
    raw = json.loads((folder / "run" / "result.json").read_text())
    teacher_ms = raw["teacher"]["latency_ms"]["measured"]
    plan = json.loads((folder / "run" / "environment.json").read_text())
    phases = {phase["what"]: round(phase["seconds"]) for phase in raw["phases"]}
    trained = [trial for trial in raw["trials"] if trial["state"] == "complete"]
    return {
        "load": load,
        "minutes asked": took["minutes"],
        "took": round(took["took"], 2),
        "students": len(trained),
        "tokens": min(trial["tokens"] for trial in trained),
        "finished on": max(member["tokens"] for member in raw["front"]),
        "front": len(raw["front"]),
        "widest gap 2x-15x": front_gap(Reading(result)),
        **{f"STS-B at {speed}x": best(raw["front"], folder / "run", teacher_ms, speed, pairs) for speed in SPEEDS},
        "phases": phases,
        "processor": plan.get("processor", ""),
        "ISA": torch.backends.cpu.get_cpu_capability(),
    }


def best(front: list[dict[str, Any]], folder: Path, teacher_ms: float, speed: float, pairs: Path) -> float | None:
    """STS-B of the member with the least loss of those at least so fast: what a user would take."""
    fast = [member for member in front if teacher_ms / member["latency_ms"]["measured"] >= speed]
    if not fast:
        return None
    chosen = min(fast, key=lambda member: float(member["loss"]))
    return sts_spearman(str(folder / chosen["student"]), pairs)


if __name__ == "__main__":
    main()
