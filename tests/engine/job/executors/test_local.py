"""Children of this machine, held to what all executors promise."""

from pathlib import Path

import pytest

from distilsearch.engine.job.executors import Executor, Options, open_executor
from distilsearch.testing.executors import ExecutorContract


@pytest.fixture(autouse=True)
def own_locks(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests on this machine are not waited for."""
    monkeypatch.setenv("TMPDIR", str(tmp_path_factory.getbasetemp()))


class TestLocal(ExecutorContract):
    def open(self, folder: Path) -> Executor:
        return open_executor("local", Options(folder, workers=2, threads=1))
