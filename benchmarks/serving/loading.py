"""Do exported models load and serve without torch, as fast, and as well as torch says?

`python -m serving.loading MODEL ... [--folder DIR]`: models are folders of students, or "quickstart". Each is exported
in every way (kept in DIR, calibrated on Python's documentation), then served by a process in which importing torch and
transformers fails: seconds until the first vector, memory, latency of one text of 128 tokens on one thread, and STS-B
test (1,379 pairs, never trained or tuned on). Torch does the same in a process of its own.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from common import data, record, table

from distilsearch.distill.served.artefact import FILES, read_artefacts
from distilsearch.distill.served.export import export

PYTHON_DOCS = "python-docs"
ALONE = Path(__file__).with_name("alone.py")


def main() -> None:
    """Export what is missing, serve it, print the table, record the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/serving-loading"))
    asked = parser.parse_args()
    rows = [row for model in asked.models for row in rows_of(model, asked.folder)]
    print(table(rows))
    print(record("serving_loading", rows))


def rows_of(model: str, folder: Path) -> list[dict[str, Any]]:
    """A model in torch, and in every way."""
    out = folder / hashlib.sha256(model.encode()).hexdigest()[:12]
    missing = [way for way in FILES if "-".join(way) not in read_artefacts(out)]
    if missing:
        export(model, out, missing, [PYTHON_DOCS])
    name = Path(model).name
    torch = served("torch", model, {})
    rows = [{"model": name, "served": "torch float32", "MB": None, "lost": None, "from torch": 0.0, **numbers(torch)}]
    for artefact in read_artefacts(out).values():
        made = served(artefact.runtime, str(out), {"file": FILES[artefact.runtime, artefact.dtype]})
        apart = float(np.abs(np.array(made["vectors"]) - np.array(torch["vectors"])).max())
        about = {"MB": artefact.bytes / 1e6, "lost": artefact.checks.get("lost"), "from torch": apart}
        way = f"{artefact.runtime} {artefact.dtype} {artefact.quantised}".strip()
        rows.append({"model": name, "served": way, **about, **numbers(made)})
    return rows


def served(runtime: str, folder: str, more: dict[str, Any]) -> dict[str, Any]:
    """What a process of its own says, on one thread."""
    pairs = str(data("multilingual/stsb/stsb-en-test.csv"))
    given = json.dumps({"runtime": runtime, "folder": folder, "pairs": pairs, **more})
    run = subprocess.run(
        [sys.executable, str(ALONE), given], capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    if run.returncode:
        raise SystemExit(f"{runtime} did not serve {folder}: {run.stderr[-2000:]}")
    said: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return said


def numbers(made: dict[str, Any]) -> dict[str, Any]:
    """What is told of it."""
    return {name: value for name, value in made.items() if name != "vectors"}


if __name__ == "__main__":
    main()
