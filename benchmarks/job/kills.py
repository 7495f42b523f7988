"""What is lost when processes are killed? `kill -9` of the driver, of a trainer, of a Ray worker, at random moments.

Every search is called again until it ends. What counts: results lost (students trained to their end and then not in the
ledger, or asked for and never got), results doubled, and whether the proposals are those of a search that nobody
killed. Latencies are predicted from a table and not measured, so that nothing but the kills can change a proposal.

From benchmarks/:

    python -m job.kills [--kills 20] [--seed 0] [--ray]
"""

import argparse
import os
import random
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

from common import record, table
from job.searches import finished, profiled, start, weights, write_run

TRIALS, TOKENS = 10, 20_000
TRAINER = "distilsearch.engine.job.executors.worker"


def main() -> None:
    """Print the table and record the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ray", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch)
        first = base / "first"
        first.mkdir()
        device = profiled(base / "home", first, write_run(first))
        whole = _search(base, "whole", device, {})
        rows = [_row(base, "driver, 1 worker", asked, device, {}, whole, _driver)]
        rows.append(_row(base, "trainer, 1 worker", asked, device, {}, whole, _trainer))
        two = {"workers": 2}
        rows.append(_row(base, "driver, 2 workers", asked, device, two, None, _driver))
        rows.append(_row(base, "trainer, 2 workers", asked, device, two, None, _trainer))
        if asked.ray:
            ray = two | {"executor": 'name = "ray"'}
            rows.append(_row(base, "Ray worker, 2 workers", asked, device, ray, None, _ray_worker))
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
    base: Path, what: str, asked: argparse.Namespace, device: str, changes: dict[str, Any], whole: Any, victim: Any
) -> dict[str, Any]:
    """Kill, call again, until so many kills are done and the search has ended."""
    rng = random.Random(f"{asked.seed} {what}")
    lost = doubled = kills = searches = strayed = 0
    while kills < asked.kills:
        searches += 1
        folder, home, run_file = _files(base, f"{what}-{searches}", device, changes)
        for _ in range(TRIALS):
            process = start(["search", str(run_file)], home, folder)
            kills += _killed(process, victim, rng)
            if process.wait() == 0 or kills >= asked.kills:
                break
        result = finished(start(["search", str(run_file)], home, folder), folder)
        complete = [trial["key"] for trial in result["trials"] if trial["state"] == "complete"]
        kept = weights(home)
        lost += TRIALS - len(set(complete)) + len(set(complete)) - min(len(kept), len(set(complete)))
        doubled += len(complete) - len(set(complete)) + max(0, len(kept) - len(set(complete)))
        strayed += whole is not None and _proposals(result) != whole
        shutil.rmtree(folder)
    return {
        "killed": what,
        "kills": kills,
        "searches": searches,
        "results lost": lost,
        "results doubled": doubled,
        "searches with other proposals": strayed if whole is not None else "see the replay test",
    }


def _killed(process: Any, victim: Any, rng: random.Random) -> int:
    """Kill a victim at a random moment of a search's life; 0 where it had ended before."""
    time.sleep(6 + 30 * rng.random())  # imports take the first seconds
    target = victim(process)
    if target is None or process.poll() is not None:
        return 0
    try:
        os.kill(target, signal.SIGKILL)
    except ProcessLookupError:
        return 0
    return 1


def _driver(process: Any) -> int:
    return int(process.pid)


def _trainer(process: Any) -> int | None:
    return next((pid for pid in _offspring(process.pid) if TRAINER in _command(pid)), None)


def _ray_worker(process: Any) -> int | None:
    return next((pid for pid in _offspring(process.pid) if _command(pid).startswith("ray::perform")), None)


def _offspring(pid: int) -> list[int]:
    """All processes of the session that a command was started in."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [one for one in pids if (one != pid and _session(one) == pid) or _command(one).startswith("ray::")]


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return -1


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


if __name__ == "__main__":
    main()
