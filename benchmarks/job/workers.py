"""What do several workers bring? Trials an hour of one search with 1, 2 and 4 local workers, and with Ray on 2.

The same students in every run (`enumerate`), each run in a home of its own with the table already made and teacher
outputs cached by a first run that does not count. Students of the same architecture are compared bit for bit. With
`--busy` a process beside it keeps one core at work. One child of all threads, as the search trained before it had
workers, is the peer.

From benchmarks/:

    python -m job.workers [--busy] [--trials 8] [--tokens 40000] [--ray] [--rounds 2]
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

from common import record, table
from job.searches import finished, profiled, start, weights, write_run

SPIN = "while True: pass"


def main() -> None:
    """Print the table and record the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=2)
    asked = parser.parse_args()
    import os

    cores = len(os.sched_getaffinity(0))
    kinds: dict[str, dict[str, Any]] = {f"1 child, {cores} threads": {"workers": 1, "threads": cores}}
    kinds |= {f"{n} workers, 1 thread each": {"workers": n, "threads": 1} for n in (1, 2, 4)}
    if asked.ray:
        kinds["Ray, 2 workers, 1 thread each"] = {"workers": 2, "threads": 1, "executor": 'name = "ray"'}
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch)
        home = _prepared(base, asked)
        rows: dict[str, list[dict[str, Any]]] = {kind: [] for kind in kinds}
        trained: dict[str, dict[str, str]] = {}
        for turn in range(asked.rounds):  # interleaved, so that a machine that drifts is fair to all
            for place, (kind, changes) in enumerate(kinds.items()):
                row, trained[kind] = _timed(base / f"{turn}-{place}", home, asked, changes)
                rows[kind].append(row)
    alone = trained["1 workers, 1 thread each"]
    lines = [_line(kind, rows[kind], rows[next(iter(kinds))], trained[kind] == alone) for kind in kinds]
    print(table(lines))
    print(record("job_workers" + ("_busy" if asked.busy else ""), lines))


def _prepared(base: Path, asked: argparse.Namespace) -> Path:
    """A home with a table and the teacher's outputs, and no student."""
    home, folder = base / "home", base / "first"
    folder.mkdir()
    run_file = write_run(folder, trials=1, tokens=asked.tokens)
    profiled(home, folder, run_file)
    finished(start(["search", str(run_file)], home, folder), folder)
    shutil.rmtree(home / "trials")
    return home


def _timed(
    folder: Path, home: Path, asked: argparse.Namespace, changes: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, str]]:
    """One search in a copy of the home: seconds of its main phase, and what it trained."""
    folder.mkdir()
    own = folder / "home"
    shutil.copytree(home, own)
    run_file = write_run(folder, trials=asked.trials, tokens=asked.tokens, **changes)
    busy = subprocess.Popen([sys.executable, "-c", SPIN]) if asked.busy else None
    try:
        result = finished(start(["search", str(run_file)], own, folder), folder)
    finally:
        if busy:
            busy.kill()
    phases = {phase["what"]: phase["seconds"] for phase in result["phases"]}
    made = weights(own)
    shutil.rmtree(own)
    return {"seconds": phases["distil and measure"], "trials": len(result["trials"]), "phases": phases}, made


def _line(kind: str, rows: list[dict[str, Any]], peers: list[dict[str, Any]], same: bool) -> dict[str, Any]:
    hours = [row["trials"] / row["seconds"] * 3600 for row in rows]
    ratios = [peer["seconds"] / row["seconds"] for row, peer in zip(rows, peers, strict=True)]
    return {
        "search": kind,
        "trials an hour": mean(hours),
        "lowest, highest": f"{min(hours):.0f}, {max(hours):.0f}",
        "seconds": mean(row["seconds"] for row in rows),
        "against one child of all threads": mean(ratios),
        "weights as with 1 worker of 1 thread": "the same" if same else "others",
    }


if __name__ == "__main__":
    main()
