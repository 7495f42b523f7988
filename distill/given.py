"""What an evaluation is to be given, as far as that can be told before anything is loaded: files, a teacher, a text.

Nothing here loads torch: commands ask it before they load a model, and the evaluations themselves when they are made.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from distilsearch.errors import InputError

CSV = "name a csv of sentence, sentence, score, such as --on pairs.csv"
TASK = "name that of a GLUE task, such as --on glue/MRPC"


def pairs_file(path: Path | None) -> Path:
    """A file of sentence pairs; an `InputError` says why none is there."""
    if path is not None and path.is_file():
        return path
    if path is None:
        absent = "no file was named"
    elif path.is_dir():
        absent = f"{path} is a folder, which --with glue takes where it is that of a task"
    else:
        absent = f"there is no file {path}"
    raise InputError(f"{absent}; {CSV}")


def task_folder(path: Path | None) -> Path:
    """The folder of a GLUE task; an `InputError` says that none is there."""
    if path is not None and path.is_dir():
        return path
    raise InputError(f"there is no folder {path}; {TASK}" if path else f"no folder was named; {TASK}")


def check_against(teacher: bool, text: bool) -> None:
    """Refuse a held-out loss without a teacher or a text to take it on."""
    if not (teacher and text):
        raise InputError("the held-out loss is taken against a teacher on a text; give both --teacher and --text")


def check_blocks(name: str, text: bool) -> None:
    """Refuse an evaluation on held-out blocks without the text whose they are."""
    if not text:
        raise InputError(f"the evaluation {name!r} is taken on the held-out blocks of a text; give one (--text)")


ON_FILES: dict[str, Callable[[Path | None], Path]] = {"similarity": pairs_file, "glue": task_folder}
ON_BLOCKS = ("heldout", "words", "next_sentence")  # of a text; others are a plugin's own, and may take anything


def check_given(name: str, files: Sequence[Path], teacher: str, text: Sequence[str]) -> None:
    """Refuse what an evaluation of this product lacks, or would load and not use.

    Raises:
        InputError: it names the option that is to be given, or left out.
    """
    if name in ON_FILES:
        for path in files or (None,):
            ON_FILES[name](path)
        for option, value in {"--teacher": teacher, "--text": text}.items():
            if value:
                raise InputError(f"the evaluation {name!r} is taken on --on and needs no {option}; leave it out")
    elif name in ON_BLOCKS:
        if name == "heldout":
            check_against(bool(teacher), bool(text))
        check_blocks(name, bool(text))
        if files:
            raise InputError(f"the evaluation {name!r} is taken on the held-out blocks of a text; leave --on out")
