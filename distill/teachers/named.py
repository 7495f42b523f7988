"""What can be told of a teacher, texts and files by their names alone, so that a mistake costs no more than a moment.

Nothing here loads torch or asks the network; whatever passes is looked at closely where it is opened.
"""

from collections.abc import Iterable
from pathlib import Path

from distilsearch.errors import InputError, TeacherError

from ..texts.sources import BUILT_IN, stamp
from .refusals import read_checkpoint

QUICKSTART = "quickstart"


def check_teacher(name: str) -> None:
    """A `TeacherError` where a name is neither the place of a model that may be a teacher, nor may be a hub name."""
    path = Path(name).expanduser()
    if name == QUICKSTART:
        return
    if path.exists():
        read_checkpoint(path)
    elif name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise TeacherError(f"{name!r} is not a model folder, a hub name ('owner/model') or 'quickstart'")


def kind_of_teacher(name: str) -> str | None:
    """The kind of a teacher, "embedding", "mlm" or "causal", where its files are here; else nobody knows it yet."""
    path = Path(name).expanduser()
    if name == QUICKSTART:
        return "embedding"
    return read_checkpoint(path).kind if path.exists() else None


def check_sources(sources: Iterable[str]) -> None:
    """A `TextError` where no file matches a source that is no datasets name."""
    for source in sources:
        if source not in BUILT_IN:
            stamp(source)


def check_files(paths: Iterable[Path], what: str) -> None:
    """An `InputError` where a file is not there; `what` it should be."""
    for path in paths:
        if not path.is_file():
            raise InputError(f"there is no file {path}; expected {what}")


def check_names(
    models: Iterable[str], text: Iterable[str] = (), files: Iterable[Path] = (), what: str = "a CSV file"
) -> None:
    """Refuse models, texts and files that are plainly not there; empty names are none. `what` files should be."""
    for model in filter(None, models):
        check_teacher(model)
    check_sources(text)
    check_files(files, what)
