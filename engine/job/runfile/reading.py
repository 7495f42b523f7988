"""A run file as it lies on disk: what editors leave in it, and why it cannot be read, in the words of who wrote it.

A byte-order mark is passed over. In TOML a backslash within double quotes begins an escape: a Windows path there is
either no TOML, or means another path without a word (`"C:\\new"` holds a line break), so both are refused by name.
"""

import codecs
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distilsearch.errors import InputError

from .toml import flat

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
FOREIGN_MARKS = {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16", b"\x1f\x8b": "compressed (gzip)"}
BACKSLASH = re.compile(r'"[^"]*\\')
QUOTES = "in double quotes a backslash begins an escape: put the path in single quotes, or write / for \\"
LONGEST_SHOWN = 60


class UnreadableError(ValueError):
    """Why the content of a run file cannot be read; whoever knows the file says which one it is."""


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a run file; an `InputError` says why it cannot be read."""
    try:
        return parsed(path.read_bytes())[0]
    except FileNotFoundError:
        raise InputError(f"there is no run file {path}; write one, or try `distilsearch quickstart`") from None
    except IsADirectoryError:
        raise InputError(f"cannot read the run file {path}: it is a folder; name a file, such as run.toml") from None
    except OSError as error:
        raise InputError(f"cannot read the run file {path}: {error.strerror}") from None
    except UnreadableError as error:
        raise InputError(f"{path} {error}") from None


def parsed(content: bytes) -> tuple[dict[str, Any], str]:
    """The content of a run file as plain data, and as text; `UnreadableError` where it is neither."""
    for mark, what in FOREIGN_MARKS.items():
        if content.startswith(mark):
            raise UnreadableError(f"is {what}, and a run file is plain UTF-8 text; save it as that")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UnreadableError(f"is not valid TOML: line {line} is no UTF-8 text; save the file as UTF-8") from None
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UnreadableError(f"is not valid TOML: {error}{_hint(text, str(error))}") from None
    if not data:
        raise UnreadableError('is empty; a run needs at least teacher and text, such as text = ["corpus/*.txt"]')
    if problems := list(_broken(data)):
        raise UnreadableError("; ".join(problems))
    return data, text


def run_name(stem: str) -> str:
    """A name for the run of a file that gives none: its own, in letters that a folder may have anywhere.

    >>> run_name("my run"), run_name("_draft"), run_name("пуск")
    ('my-run', 'draft', 'run')
    """
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", stem)
    return re.sub(r"^[^A-Za-z0-9]+", "", plain) or "run"


def check_name(name: str) -> str:
    """A name that can be a folder's; a `ValueError` says what one is made of, and a near one that is."""
    if not NAME.fullmatch(name):
        raise ValueError(
            "expected letters, digits and . _ - alone, a letter or digit first (the folder runs/NAME is called so), "
            f"such as {run_name(name)!r}"
        )
    return name


def _hint(text: str, message: str) -> str:
    """What to do where a line holds a backslash in double quotes."""
    at = re.search(r"at line (\d+)", message)
    line = text.splitlines()[int(at.group(1)) - 1] if at else text.splitlines()[-1] if text else ""
    return f"; {QUOTES}" if BACKSLASH.search(line) else ""


def _broken(data: dict[str, Any]) -> Iterator[str]:
    """Values with a control character in them, as a path has where its backslashes were read as escapes."""
    for place, value in flat(data):
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, str) and any(ord(letter) < ord(" ") for letter in one):
                yield f"has a line break, tab or other control character in {place} ({one[:LONGEST_SHOWN]!r}); {QUOTES}"
