"""What a reader of files is, and how one is tried: on a file that was mutated, with all that it opens watched."""

import ctypes
import os
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ...errors import DistilSearchError
from ..mutations import mutated

INSIDE, HOME = "named", "home"  # folders of a trial of a reader; whatever lies beside them is none of its business
OPENED, CREATED = 0x20, 0x100  # of inotify


@dataclass(frozen=True)
class Reader:
    """One reader.

    Args:
        files: what is mutated, by its path in the folder (a pattern), and its form, of `mutations.FORMS`.
        make: from the samples to a folder of good files.
        read: reads the folder.
        seal: hashes anew what is sealed by a hash, so that a change is not refused at the door.
    """

    name: str
    files: Mapping[str, str]
    make: Callable[[Path, Path], object]
    read: Callable[[Path], object]
    seal: Callable[[Path], object] = lambda folder: None


@dataclass(frozen=True)
class Finding:
    """A crash, or a file that was touched outside of the named folder."""

    reader: str
    what: str
    error: BaseException | None = None


def tried(reader: Reader, samples: Path, place: Path, draw: random.Random) -> Finding | None:
    """Mutate a file of a reader in a fresh folder of `place`, read it, and say what went wrong; the folder is removed.

    `DISTILSEARCH_HOME` must be `place / HOME`. Beside the named folder lie files that mutations name.
    """
    folder = place / INSIDE
    shutil.rmtree(folder, ignore_errors=True)
    reader.make(samples, folder)
    pattern = draw.choice(sorted(reader.files))
    file = draw.choice(sorted(folder.glob(pattern)))
    file.write_bytes(mutated(file.read_bytes(), reader.files[pattern], draw))
    reader.seal(folder)
    with watched(place) as touched:
        try:
            reader.read(folder)
        except DistilSearchError:
            pass
        except Exception as error:  # that is what is looked for
            return Finding(reader.name, f"{file.name}: {type(error).__name__}: {error}"[:300], error)
    return Finding(reader.name, f"{file.name}: touched {', '.join(touched)}") if touched else None


@contextmanager
def watched(place: Path) -> Iterator[list[str]]:
    """The names in a folder that were opened or made meanwhile, by native code too (inotify of Linux); not our own."""
    names: list[str] = []
    library = ctypes.CDLL(None, use_errno=True)
    handle = library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        library.inotify_add_watch(handle, os.fsencode(place), OPENED | CREATED)
        yield names
        try:
            events = os.read(handle, 1 << 16)
        except BlockingIOError:
            return
        while events:  # (watch, mask, cookie, length) of four bytes each, and the name
            length = int.from_bytes(events[12:16], "little")
            name = events[16 : 16 + length].rstrip(b"\0").decode()
            names += [name] if name and name not in (INSIDE, HOME, *names) else []
            events = events[16 + length :]
    finally:
        os.close(handle)


def world(place: Path) -> Path:
    """A place to try readers in: beside the named folder lie files that must not be touched."""
    (place / HOME).mkdir(parents=True, exist_ok=True)
    for name in ("outside.txt", "outside.safetensors"):
        (place / name).write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    return place
