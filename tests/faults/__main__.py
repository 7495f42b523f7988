"""Tries faults that are asked for, line by line: [name, seed] -> what the fault has done."""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}

import transformers  # noqa: F401 - what calls need, before they are forked from this process
import xgboost  # noqa: F401

import distilsearch.distill.store.distilled  # noqa: F401

from .catalog import FAULTS
from .harness import References


def main() -> None:
    """Serve."""
    references, answers = References(Path(sys.argv[1])), os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        name, seed = json.loads(line)
        answers.write(json.dumps(asdict(FAULTS[name].tried(references, seed))) + "\n")
        answers.flush()


main()
