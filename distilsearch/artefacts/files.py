"""Artefacts of several files appear whole or not at all: made in a folder beside, then moved into place.

The file that names the others goes last, so that whoever finds it finds them too.
"""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from distilsearch.errors import InputError


@contextlib.contextmanager
def moved_into_place(file: Path) -> Iterator[Path]:
    """Where to write `file` and what lies beside it; within, the same name in an empty folder of the same disk."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=f".{file.name}.") as folder:
        made = Path(folder) / file.name
        yield made
        for part in sorted(Path(folder).iterdir(), key=lambda path: path == made):
            part.replace(file.parent / part.name)


def artefact_error(file: Path, what: str, cause: BaseException) -> InputError:
    """The error for a file that cannot be made or read, with the first line of its cause."""
    lines = str(cause).strip().splitlines() or [type(cause).__name__]
    return InputError(f"{file}: {what} ({lines[0]:.300})")
