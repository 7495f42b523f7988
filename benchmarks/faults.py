"""Every fault at many moments of a short search on a tiny teacher, each held against the undisturbed run.

    python benchmarks/faults.py [MOMENTS] [--fault "driver killed"] [--minutes 20]

A moment is the so-manieth change to files, or lock, of a process, drawn from a seed: `--fault NAME --seed N` makes it
again. What was tried is kept, line by line, in benchmarks/results/faults.jsonl: called again, it goes on with the
moments that are missing. The faults take turns, so that all have as many when time runs out. The table is printed at
the end, and by `MOMENTS` = 0 alone.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common import RESULTS, ROOT, table

sys.path.insert(0, str(ROOT / "tests"))

FILE = RESULTS / "faults.jsonl"


def main() -> None:
    """Try what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("moments", type=int, nargs="?", default=20, help="of each fault")
    parser.add_argument("--fault", action="append", help="one of them; may be given again")
    parser.add_argument("--seed", type=int, help="this moment alone, which is shown and not recorded")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="after which no other moment is tried")
    asked = parser.parse_args()
    import transformers  # noqa: F401
    import xgboost  # noqa: F401
    from faults.catalog import FAULTS, possible
    from faults.harness import References

    import distilsearch.distill.store.distilled  # noqa: F401 - what calls need, before they are forked from this process

    names = [name for name in asked.fault or FAULTS if possible(name)]
    seeds = [asked.seed] if asked.seed is not None else range(asked.moments)
    ends = time.monotonic() + 60 * asked.minutes
    with tempfile.TemporaryDirectory() as base:
        references = References(Path(base))
        for seed, name in ((seed, name) for seed in seeds for name in names):
            if asked.seed is None and (name, seed) in recorded():
                continue
            if time.monotonic() > ends:
                break
            tried = asdict(FAULTS[name].tried(references, seed))
            print(json.dumps(tried), flush=True)
            if asked.seed is None:
                with FILE.open("a") as file:
                    file.write(json.dumps({"benchmark": "faults", "date": time.strftime("%Y-%m-%d"), **tried}) + "\n")
    by_name = {name: [one for one in recorded().values() if one["fault"] == name] for name in FAULTS}
    if rows := [row(name, tried) for name, tried in by_name.items() if tried]:
        print(table(rows))


def recorded() -> dict[tuple[str, int], Mapping[str, Any]]:
    """What was tried before, by fault and seed."""
    lines = FILE.read_text().splitlines() if FILE.exists() else []
    return {(one["fault"], one["seed"]): one for one in map(json.loads, lines)}


def row(name: str, tried: list[Mapping[str, Any]]) -> dict[str, Any]:
    """A line of the table."""
    sums: dict[str, Any] = {key: sum(one[key] for one in tried) for key in ("lost", "doubled", "corrupted")}
    said, same = sum(one["said"] for one in tried), sum(not one["strayed"] for one in tried)
    seconds = statistics.median(one["seconds"] for one in tried)
    counts = {"fault": name, "moments tried": len(tried), **sums, "said clearly": said, "same proposals": same}
    counts["files left over"] = sum(any(note.startswith("left over") for note in one["notes"]) for one in tried)
    return counts | {"median seconds to continue": round(seconds, 1)}


if __name__ == "__main__":
    main()
