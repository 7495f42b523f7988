"""What is lost when processes are killed? `kill -9` of the driver, of a trainer, of a Ray worker, at random moments.

Every search is called again until it ends. What counts: results lost (students trained to their end and then not in the
ledger, or asked for and never got), results doubled, and whether the proposals are those of a search that nobody
killed. Latencies are predicted from a table and not measured, so that nothing but the kills can change a proposal.

From benchmarks/:

    python -m job.kills [--kills 20] [--seed 0] [--only "trainer, 1 worker"]
"""

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import record, table
from job.searches import finished, profiled, start, weights, write_run

TRIALS, TOKENS = 10, 20_000
TRAINER = "distilsearch.engine.job.executors.worker"
Victim = Callable[[Any, Path], int | None]


def main() -> None:
    """Print the table and record the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", help='a row, such as "trainer, 1 worker"; may be given again')
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch)
        first = base / "first"
        first.mkdir()
        device = profiled(base / "home", first, write_run(first))
        whole = _search(base, "whole", device, {})
        two = {"workers": 2}
        ray = two | {"executor": 'name = "ray"'}
        kinds: dict[str, tuple[dict[str, Any], Any, Victim]] = {
            "driver, 1 worker": ({}, whole, _driver),
            "trainer, 1 worker": ({}, whole, _trainer),
            "driver, 2 workers": (two, None, _driver),
            "trainer, 2 workers": (two, None, _trainer),
            "Ray worker, 2 workers": (ray, None, _ray_worker),
        }
        named = [name for name in kinds if not asked.only or name in asked.only]
        rows = [_row(base, name, asked, device, *kinds[name]) for name in named]
    print(table(rows))
    print(record("job_kills", rows))


def _files(base: Path, name: str, device: str, changes: dict[str, Any]) -> tuple[Path, Path, Path]:
    folder = base / name
    folder.mkdir()
    shutil.copytree(base / "home", folder / "home")
    run_file = write_run(folder, trials=TRIALS, tokens=TOKENS, strategy="ehvi", device=device, **changes)
    return folder, folder / "home", run_file


def _search(base: Path, name: str, device: str, changes: dict[str, Any]) -> list[str]:
    folder, home, run_file = _files(base, name, device, changes)
    return _proposals(finished(start(["search", str(run_file)], home, folder), folder))


def _proposals(result: dict[str, Any]) -> list[str]:
    """Keys of the students, in the order they were first asked for."""
    return list(dict.fromkeys(trial["key"] for trial in result["trials"]))


def _row(
    base: Path, what: str, asked: argparse.Namespace, device: str, changes: dict[str, Any], whole: Any, victim: Victim
) -> dict[str, Any]:
    """Kill, call again, until so many kills are done and the search has ended."""
    rng = random.Random(f"{asked.seed} {what}")
    counts = dict.fromkeys(("kills", "searches", "lost", "doubled", "other proposals"), 0)
    while counts["kills"] < asked.kills:
        counts["searches"] += 1
        folder, home, run_file = _files(base, f"{what}-{counts['searches']}", device, changes)
        code = 1
        while code != 0 and counts["kills"] < asked.kills:
            process = start(["search", str(run_file)], home, folder)
            counts["kills"] += _killed(process, home, victim, rng, asked.kills - counts["kills"])
            code = process.wait()
        result = finished(start(["search", str(run_file)], home, folder), folder)
        complete = [trial["key"] for trial in result["trials"] if trial["state"] == "complete"]
        trained = len(weights(home))
        counts["lost"] += TRIALS - len(set(complete)) + max(0, len(set(complete)) - trained)
        counts["doubled"] += len(complete) - len(set(complete)) + max(0, trained - len(set(complete)))
        counts["other proposals"] += whole is not None and _proposals(result) != whole
        shutil.rmtree(folder)
        print(what, counts, flush=True)
    strayed = counts.pop("other proposals")
    return {"killed": what, **counts, "searches with other proposals": "-" if whole is None else strayed}


def _killed(process: Any, home: Path, victim: Victim, rng: random.Random, most: int) -> int:
    """Kill victims at random moments while a search lives; how many, which is one where the victim is the driver."""
    kills = 0
    pause = 4 + 14 * rng.random()  # seconds; imports take the first ones
    while kills < most and not _ended(process, pause):
        pause = 10 + 20 * rng.random()  # longer than a training: what is killed four times is given up
        target = victim(process, home)
        if target is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(target, signal.SIGKILL)
                kills += 1
    return kills


def _ended(process: Any, seconds: float) -> bool:
    """Whether a process ends within so many seconds."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _driver(process: Any, home: Path) -> int:
    return int(process.pid)


def _trainer(process: Any, home: Path) -> int | None:
    return _one(home, lambda command: TRAINER in command)


def _ray_worker(process: Any, home: Path) -> int | None:
    return _one(home, lambda command: command.startswith("ray::remotely"))


def _one(home: Path, wanted: Callable[[str], bool]) -> int | None:
    """A process of a search, known by its home, whose command is the one that is wanted."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return next((pid for pid in pids if wanted(_command(pid)) and str(home) in _read(pid, "environ")), None)


def _command(pid: int) -> str:
    return _read(pid, "cmdline")


def _read(pid: int, what: str) -> str:
    try:
        return Path(f"/proc/{pid}/{what}").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


if __name__ == "__main__":
    main()
