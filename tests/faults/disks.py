"""Real disks that are small, full or cannot be written; all of it needs root, and is undone whatever happens."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

MEBIBYTES = 16  # a report twice: a new one is written beside the old one
FILLER = ".filler"


def mounts() -> bool:
    """Whether this process may mount."""
    return (
        os.geteuid() == 0
        and subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0
    )


@contextlib.contextmanager
def small(folder: Path) -> Iterator[None]:
    """A disk of its own at a folder, which keeps what it holds when it is gone: it is copied back."""
    folder.mkdir(parents=True, exist_ok=True)
    command("mount", "-t", "tmpfs", "-o", f"size={MEBIBYTES}m", "tmpfs", str(folder))
    try:
        yield
    finally:
        aside = folder.with_name(f".{folder.name}-aside")
        command("cp", "-a", str(folder), str(aside))
        command("umount", "-l", str(folder))
        folder.rmdir()
        aside.rename(folder)


def fill(folder: Path) -> None:
    """Leave no byte on the disk of a folder."""
    with contextlib.suppress(OSError):
        (folder / FILLER).write_bytes(b"x" * (MEBIBYTES << 20))
    with contextlib.suppress(OSError), (folder / FILLER).open("ab", buffering=0) as file:
        while True:
            file.write(b"x")


def empty(folder: Path) -> None:
    """Make room again."""
    (folder / FILLER).unlink(missing_ok=True)


def forbid(folder: Path) -> None:
    """From now on nobody can write into a folder, root neither."""
    command("mount", "--bind", str(folder), str(folder))
    command("mount", "-o", "remount,bind,ro", str(folder))


def allow(folder: Path) -> None:
    """The opposite, if it was forbidden."""
    subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)


def command(*words: str) -> None:
    """A command that must work."""
    subprocess.run(words, capture_output=True, check=True)
