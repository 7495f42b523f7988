"""What does the quickstart reach? Quality on STS-B, speedup, prediction error and stock loading of every front member.

Runs the quickstart unless a finished run's folder is given: `python benchmarks/quickstart.py [runs/quickstart]`.
The students never saw STS-B; the test pairs are read here only.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from common import data, record, table

from distilsearch.distill.evaluate.embedding import sts_spearman

STOCK = """
import json, sys, torch
from transformers import AutoModel
ids = torch.arange(1000, 1032)[None]
with torch.no_grad():
    output = AutoModel.from_pretrained(sys.argv[1])(input_ids=ids, attention_mask=torch.ones_like(ids))
assert "distilsearch" not in sys.modules
print(json.dumps(torch.nn.functional.normalize(output.last_hidden_state.mean(1), dim=-1)[0].tolist()))
"""


def main() -> None:
    """Print the table and record the rows."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else _run()
    result = json.loads((folder / "result.json").read_text())
    pairs = data("multilingual/stsb/stsb-en-test.csv")
    teacher_quality = sts_spearman("quickstart", pairs)
    teacher_ms = result["teacher"]["latency_ms"]["measured"]
    rows = [_row(folder, member, teacher_ms, teacher_quality, pairs) for member in result["front"]]
    print(table(rows))
    errors = [row["prediction error"] for row in rows]
    repeats = [abs(m["latency_ms"]["measured_first"] / m["latency_ms"]["measured"] - 1) for m in result["front"]]
    summary = {
        "row": "summary",
        "teacher STS-B": teacher_quality,
        "teacher ms": teacher_ms,
        "students": sum(t["state"] == "complete" for t in result["trials"]),
        "front": len(rows),
        "median error": median(errors),
        "worst error": max(errors),
        "median repeat difference": median(repeats),
        "worst repeat difference": max(repeats),
        "seconds": sum(phase["seconds"] for phase in result["phases"]),
        **{f"best STS-B at {s}x": _best(rows, s) for s in (3, 5, 7)},
    }
    print()
    print(table([summary]))
    print(record("quickstart", [*rows, summary]))


def _run() -> Path:
    start = time.perf_counter()
    subprocess.run(["distilsearch", "quickstart"], check=True)
    print(f"quickstart: {time.perf_counter() - start:.0f} s in all")
    return Path("runs/quickstart")


def _row(folder: Path, member: dict[str, Any], teacher_ms: float, teacher: float, pairs: Path) -> dict[str, Any]:
    genes, latency = member["architecture"]["values"], member["latency_ms"]
    student = folder / member["student"]
    quality = sts_spearman(str(student), pairs)
    return {
        "student": member["key"],
        "shape": "{layers}x{width}, {heads} heads, FFN {ffn}, {inherit}".format(**genes),
        "parameters": member["parameters"],
        "tokens": member["tokens"],
        "agreement": 1 - member["loss"],
        "STS-B": quality,
        "share of teacher": quality / teacher,
        "ms": latency["measured"],
        "speedup": teacher_ms / latency["measured"],
        "prediction error": abs(latency["predicted"] / latency["measured"] - 1),
        "stock difference": _stock_difference(student),
    }


def _stock_difference(student: Path) -> float:
    """Largest difference between outputs here and in a process that never imports distilsearch."""
    import torch
    from transformers import AutoModel

    from distilsearch.families import family

    run = subprocess.run([sys.executable, "-c", STOCK, str(student)], check=True, capture_output=True, text=True)
    theirs = np.array(json.loads(run.stdout))
    model, ids = AutoModel.from_pretrained(student).eval(), torch.arange(1000, 1032)[None]
    known = family("bert")
    architecture = known.architecture(known.facts(model.config, str(student), "embedding"))
    with torch.no_grad():
        ours = known.serve(model, architecture, ids, torch.ones_like(ids))[0].numpy()
    return float(np.abs(ours - theirs).max())


def _best(rows: list[dict[str, Any]], speedup: float) -> float | None:
    return max((row["STS-B"] for row in rows if row["speedup"] >= speedup), default=None)


if __name__ == "__main__":
    main()
