"""What benchmarks that search share: a run file, and a process and a home of its own for each search."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-m", "distilsearch.cli"]

RUN = """
name = "{name}"
teacher = "{teacher}"
text = ["{text}"]
trials = {trials}
seed = {seed}
{top}
[space]
{genes}
{space}
[train]
device = "cpu"
precision = "float32"
flash_tokens = {tokens}
finish = "none"
{hands}
[strategy]
name = "{strategy}"
[executor]
{executor}
[[target]]
device = "{device}"
serving = {serving}
"""
GENES = """layers = [1, 2, 3]
width = [128, 192, 256]
heads = [4]
ffn = [256, 512]
inherit = ["even"]"""
DEFAULTS = {
    "name": "run", "teacher": "quickstart", "text": "python-docs", "trials": 8, "seed": 0, "tokens": 40_000,
    "workers": 1, "threads": 1, "strategy": "enumerate", "executor": 'name = "local"', "device": "cpu", "top": "",
    "genes": GENES, "space": "", "serving": {"batch": 1, "sequence": 128, "threads": 1},
}  # fmt: skip


def write_run(folder: Path, **changes: Any) -> Path:
    """A run file; `changes` are of `DEFAULTS`. `workers` and `threads` that are None are left to the search."""
    values = DEFAULTS | changes
    hands = "\n".join(f"{name} = {values[name]}" for name in ("workers", "threads") if values[name] is not None)
    serving = ", ".join(f"{key} = {json.dumps(value)}" for key, value in values["serving"].items())
    path = folder / f"{values['name']}.toml"
    path.write_text(RUN.format(**values | {"hands": hands, "serving": f"{{ {serving} }}"}))
    return path


def start(arguments: list[str], home: Path, folder: Path, **more: Any) -> "subprocess.Popen[str]":
    """The command line in a process of its own session, so that all of it can be found."""
    environment = os.environ | {"DISTILSEARCH_HOME": str(home), "HF_HUB_OFFLINE": "1"} | more
    log = (folder / "command.log").open("a")
    return subprocess.Popen(
        [*COMMAND, *arguments], cwd=folder, env=environment, stdout=log, stderr=log, text=True, start_new_session=True
    )


def finished(process: "subprocess.Popen[str]", folder: Path, name: str = "run") -> dict[str, Any]:
    """The result of a run whose process has ended well."""
    if process.wait() != 0:
        raise SystemExit((folder / "command.log").read_text()[-3000:])
    result: dict[str, Any] = json.loads((folder / "runs" / name / "result.json").read_text())
    return result


def profiled(home: Path, folder: Path, run_file: Path) -> str:
    """Profile the space of a run into a home; the fingerprint of the device."""
    if start(["profile", "--space", str(run_file), "--device", "cpu", "--threads", "1"], home, folder).wait() != 0:
        raise SystemExit((folder / "command.log").read_text()[-3000:])
    (meta,) = home.glob("tables/*/*/meta.json")
    return meta.parents[1].name


def weights(home: Path) -> dict[str, str]:
    """sha256 of the weights of every trained student of a home, by the name of its training."""
    files = sorted(home.glob("trials/*/student/model.safetensors"))
    return {path.parents[1].name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
