"""Locks of the shared folder."""

import subprocess
import sys
import threading
from pathlib import Path

from distilsearch.home import file_lock


def test_who_waits_for_a_lock_is_told_so(tmp_path: Path) -> None:
    path, told = tmp_path / "lock", threading.Event()
    with file_lock(path, lambda: told.set()):
        pass
    assert not told.is_set()
    hold = f"""
import sys
from pathlib import Path
from distilsearch.home import file_lock
with file_lock(Path({str(path)!r})):
    print("held", flush=True)
    sys.stdin.readline()
"""
    with subprocess.Popen([sys.executable, "-c", hold], stdin=-1, stdout=-1, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "held\n"

        def release() -> None:
            told.set()
            holder.stdin.write("go\n")  # type: ignore[union-attr]
            holder.stdin.flush()  # type: ignore[union-attr]

        with file_lock(path, release):
            assert told.is_set()
