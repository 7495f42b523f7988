"""Every fault at a moment: nothing is lost, doubled or corrupted, and what happened is said.

`benchmarks/faults.py` does the same at many moments. Runs are forked from a process that has computed nothing, so all
of them hang from one that these tests start.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .catalog import FAULTS, possible

QUICK = ("driver killed", "trainer killed", "disk of the trials full", "file: journal", "file: student in the home")
SEED = 0


class Server:
    """The process that tries faults, asked by name."""

    def __init__(self, base: Path) -> None:
        command = [sys.executable, "-m", "faults", str(base)]
        self._process = subprocess.Popen(
            command, cwd=Path(__file__).parents[1], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def tried(self, name: str, seed: int) -> dict[str, Any]:
        """What a fault has done."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([name, seed]) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        """End it."""
        self._process.communicate()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all faults, so that the undisturbed runs are made once."""
    made = Server(tmp_path_factory.mktemp("faults"))
    yield made
    made.close()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in FAULTS]
)
def test_nothing_is_lost_doubled_or_corrupted_and_what_happened_is_said(name: str, server: Server) -> None:
    if not possible(name):
        pytest.skip("mounting is not allowed here")
    tried = server.tried(name, SEED)
    assert tried["struck"], tried
    assert (tried["lost"], tried["doubled"], tried["corrupted"]) == (0, 0, 0), tried
    assert tried["said"], tried
