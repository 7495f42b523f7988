"""Readers of files that anybody may have written, against mutations of good files, many of them.

    python benchmarks/fuzz.py [--inputs 200] [--reader "pair predictor"] [--only INPUT]

Each reader runs in a child process of its own, so that a crash of native code is a finding and not the end: the child
says which input comes next before it reads it. An input is its number: `--only N` reads one again and shows its
traceback. Columns: inputs tried; crashes that are no error of ours (native ones among them); files touched outside of
the named folder, as inotify saw them; seconds. Expected: 0 and 0.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import record, table

from distilsearch.home import home
from distilsearch.testing.readers import READERS, Reader, tried, world

SAMPLES = Path(__file__).resolve().parents[1] / "tests" / "old" / "0.1.0"
PATIENCE_SECONDS = 120.0  # a reader that takes longer over one input hangs
SHOWN = 5  # findings that are printed of a reader


def main() -> None:
    """Print the table and record the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=200, help="of each reader")
    parser.add_argument("--reader", action="append", help="one of them; may be given again; nothing is recorded then")
    parser.add_argument("--only", type=int, help="read this input of the reader again")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)  # the input to go on from
    asked = parser.parse_args()
    if asked.child is not None:
        child(named(asked.reader[0]), asked.child, asked.inputs)
    elif asked.only is not None:
        only(named(asked.reader[0]), asked.only)
    else:
        rows = [row(named(name), asked.inputs) for name in asked.reader or [reader.name for reader in READERS]]
        print(table(rows))
        if not asked.reader:
            record("fuzz", rows)


def named(name: str) -> Reader:
    """The reader of a name."""
    return next(reader for reader in READERS if reader.name == name)


def row(reader: Reader, inputs: int) -> dict[str, Any]:
    """Try a reader; one line of the table."""
    started, findings = time.monotonic(), list[dict[str, Any]]()
    for finding in children(reader, inputs):
        findings.append(finding)
        if len(findings) <= SHOWN:
            print(f"  input {finding['input']}: {finding['what']}", flush=True)
    counts = {kind: sum(finding["kind"] == kind for finding in findings) for kind in ("crash", "native", "touched")}
    said = {"reader": reader.name, "inputs": inputs, "crashes": counts["crash"] + counts["native"]}
    said |= {"native": counts["native"], "touched": counts["touched"], "seconds": round(time.monotonic() - started, 1)}
    print(json.dumps(said), flush=True)
    return said


def children(reader: Reader, inputs: int) -> Iterator[dict[str, Any]]:
    """The findings of all inputs; after a child that died, another goes on with the next input."""
    first = 0
    while first < inputs:
        more = ["--child", str(first), "--inputs", str(inputs), "--reader", reader.name]
        command = [sys.executable, __file__, *more]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert process.stdout is not None
        at = first - 1
        for line in process.stdout:
            said = json.loads(line)
            at = said["input"]
            if "what" in said:
                yield said
        process.wait()
        if process.returncode == 0:
            return
        yield {"input": at, "kind": "native", "what": f"the process ended with {process.returncode}"}
        first = at + 1


def child(reader: Reader, first: int, end: int) -> None:
    """Read inputs in this process, each named before; SIGALRM ends one that hangs."""
    import signal

    prepared()
    with tempfile.TemporaryDirectory() as place:
        os.environ["DISTILSEARCH_HOME"] = str(world(Path(place)) / "home")
        home()
        for number in range(first, end):
            print(json.dumps({"input": number}), flush=True)
            signal.alarm(int(PATIENCE_SECONDS))
            finding = tried(reader, SAMPLES, Path(place), draw(reader, number))
            signal.alarm(0)
            if finding is not None:
                kind = "touched" if finding.error is None else "crash"
                print(json.dumps({"input": number, "kind": kind, "what": finding.what}), flush=True)


def only(reader: Reader, number: int) -> None:
    """Read one input again, with its traceback."""
    prepared()
    with tempfile.TemporaryDirectory() as place:
        os.environ["DISTILSEARCH_HOME"] = str(world(Path(place)) / "home")
        home()
        finding = tried(reader, SAMPLES, Path(place), draw(reader, number))
    print(finding and finding.what)
    if finding is not None and finding.error is not None:
        traceback.print_exception(finding.error)


def draw(reader: Reader, number: int) -> random.Random:
    """All that is random in an input."""
    return random.Random(f"{reader.name} {number}")


def prepared() -> None:
    """What libraries say of what they are given is not what is looked for."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")


if __name__ == "__main__":
    main()
