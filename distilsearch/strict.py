"""Reading files that anybody may have written: only what is a plain file, and JSON that every reader understands.

Nothing is read through a symbolic link, nothing that is a device or a pipe (which would wait for ever), and no number
that is none. What comes out can be shown, hashed and written again.

Notation
    inside     below a folder, without passing a symbolic link on the way
    plain      of a name: no `..`, no `/` at its beginning, no character that a terminal or a file system minds
"""

import errno
import json
import math
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MOST_BYTES = 1 << 30  # of a file that is read whole
PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. +-]*")
SHA256 = re.compile(r"[0-9a-f]{64}")
LARGEST_WHOLE = 2**63


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """The content of a plain file.

    Raises:
        OSError: it is not there, or cannot be read; a link counts as such.
        ValueError: it is no file, or larger than `most` bytes.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP and path.is_symlink():
            raise ValueError("it is a symbolic link, and none is followed here") from None
        raise
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise ValueError("it is no file")
    with os.fdopen(handle, "rb") as file:
        if status.st_size > most:
            raise ValueError(f"it has {status.st_size:,} bytes, of which at most {most:,} are read")
        return file.read()


def read_json(path: Path, most: int = MOST_BYTES) -> Any:
    """Plain JSON from a file; raises as `read_bytes` and `parsed`."""
    return parsed(read_bytes(path, most))


def parsed(content: bytes | str) -> Any:
    """Plain JSON out of UTF-8 text.

    Raises:
        ValueError: it is not UTF-8, no JSON, nested too deeply, or holds a number or text that no other reader takes:
            NaN, an infinity, a whole number beyond 64 bits, half a character.
    """
    try:
        text = content if isinstance(content, str) else content.decode("utf-8")
        data = json.loads(text, parse_constant=_refused, parse_float=_finite, parse_int=_whole)
        json.dumps(data, ensure_ascii=False).encode()  # half a character cannot be shown
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text (byte {error.start} makes no sense)") from None
    except UnicodeEncodeError:
        raise ValueError("not JSON: it holds half a character") from None
    except RecursionError:
        raise ValueError("not JSON of a sane depth") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from None
    return data


def _refused(constant: str) -> Any:
    raise ValueError(f"not JSON: {constant} is not a number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"not JSON: {text[:40]} is larger than any number")
    return number


def _whole(text: str) -> int:
    if len(text) > 20 or not -LARGEST_WHOLE <= int(text) < 2 * LARGEST_WHOLE:
        raise ValueError(f"not JSON: the number {text[:20]}... has more than 64 bits")
    return int(text)


# Values, each with what it should have been


def number(value: Any, what: str, least: float = -math.inf) -> float:
    """A finite number, no text and no boolean."""
    if type(value) not in (int, float) or not math.isfinite(value) or value < least:
        raise ValueError(
            f"{what} should be a number{f' of at least {least:g}' * (least > -math.inf)}; got {value!r:.60}"
        )
    return float(value)


def whole(value: Any, what: str, least: int = 0) -> int:
    """A whole number of at least `least` and of 63 bits; one that was written as 12.0 counts."""
    if type(value) not in (int, float) or value != value // 1 or not least <= value < LARGEST_WHOLE:
        raise ValueError(f"{what} should be a whole number of at least {least}; got {value!r:.60}")
    return int(value)


def text(value: Any, what: str) -> str:
    """A string."""
    if not isinstance(value, str):
        raise ValueError(f"{what} should be text; got {value!r:.60}")
    return value


def table(value: Any, what: str) -> dict[str, Any]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise ValueError(f"{what} should be a JSON object; got {value!r:.60}")
    return value


def printable(data: Any) -> Any:
    """Plain JSON without characters that move a terminal's cursor or hide text; ends of lines and tabs stay.

    >>> printable(["two\\nlines", "\\x1b[2J"])
    ['two\\nlines', '\ufffd[2J']
    """
    if isinstance(data, str):
        return data if data.isprintable() else "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in data)
    if isinstance(data, list):
        return [printable(member) for member in data]
    return {printable(name): printable(member) for name, member in data.items()} if isinstance(data, dict) else data


def is_plain(name: Any) -> bool:
    """Whether a name stays below the folder that it is joined to.

    >>> [is_plain(name) for name in ("student/config.json", "../config.json", "/etc/passwd", "a//b", "")]
    [True, False, False, False, False]
    """
    return isinstance(name, str) and all(PART.fullmatch(part) for part in name.split("/"))


# Links


def links(folder: Path) -> Iterator[Path]:
    """The symbolic links inside a folder, which itself may be one; none of them is followed."""
    for place, folders, files in os.walk(folder):
        yield from (path for name in sorted((*folders, *files)) if (path := Path(place, name)).is_symlink())


def first_link(folder: Path) -> Path | None:
    """A symbolic link inside a folder, or the folder itself where it is one; none where all is what it seems."""
    return folder if folder.is_symlink() else next(links(folder), None)
