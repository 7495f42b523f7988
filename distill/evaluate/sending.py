"""What an evaluation is held against, by content: left where workers find it, and found there.

In the home of this machine that is a pointer to the file or folder; in a folder that driver and workers share it is the
content, checked where it arrives. Of a folder, its tables go (tsv, csv, JSON): what else lies there is not looked at.
"""

import hashlib
import json
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from distilsearch.errors import DistilSearchError, InputError
from distilsearch.hiding import hidden
from distilsearch.home import ensure_folder, home, write_atomically

from ..store.shelf import Refusal, Shelf, sha256_of

SCHEMA = 1
NOTE = "note.json"
PLACE = "data"
SUFFIXES = (".tsv", ".csv", ".json", ".jsonl")


def put_data(url: str, path: Path) -> str:
    """Leave a file or folder for workers to find; returns its key, a sha256 of its name and content.

    Args:
        url: of the folder that is shared; "" is this machine's home.
    """
    files = _files(path)
    key = _key(path, files)
    if not url:
        pointer = {"schema": SCHEMA, "path": str(path.absolute())}
        write_atomically(_here() / f"{key}.json", json.dumps(pointer))
        return key
    shelf, refuse = Shelf(url), _refusal(url, key)
    folder = path if path.is_dir() else path.parent
    sent = shelf.put(f"{PLACE}/{key}", folder, [file.name for file in files], refuse)
    shelf.write_note(
        f"{PLACE}/{key}", NOTE, {"schema": SCHEMA, "name": path.name, "folder": path.is_dir(), "files": sent}
    )
    return key


def data_of(url: str, key: str) -> Path:
    """The file or folder of a key, fetched once; an `InputError` says where it is missing, or not what it was."""
    refuse = _refusal(url, key)
    if url:
        return _fetched(url, key, refuse)
    try:
        path = Path(json.loads((_here() / f"{key}.json").read_text())["path"])
        if _key(path, _files(path)) != key:
            raise refuse(f"{path} has been changed since the run was started; call it again")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise refuse(f"it is not there ({error})") from error
    return path


def _fetched(url: str, key: str, refuse: Refusal) -> Path:
    shelf = Shelf(url)
    note = shelf.note(f"{PLACE}/{key}", NOTE, refuse)
    if note is None or note.get("schema") != SCHEMA or not isinstance(note.get("files"), dict):
        raise refuse("it is not there, or of another version; the driver puts it there")
    name = Path(str(note.get("name"))).name
    path = _here() / key / name
    if not path.exists():
        temporary = _here() / f".{key}.{uuid.uuid4().hex}"
        try:
            shelf.fetch(f"{PLACE}/{key}", note["files"], temporary / name if note.get("folder") else temporary, refuse)
            if not (_here() / key).exists():
                temporary.rename(_here() / key)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    if not path.exists() or _key(path, _files(path)) != key:
        raise refuse("what is there is something else")
    return path


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return [one for one in sorted(path.iterdir()) if one.suffix.lower() in SUFFIXES and one.is_file()]
    return [path]


def _key(path: Path, files: Sequence[Path]) -> str:
    content = [path.resolve().name if path.is_dir() else path.name, {file.name: sha256_of(file) for file in files}]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _here() -> Path:
    return ensure_folder(home() / "depot" / PLACE)


def _refusal(url: str, key: str) -> Refusal:
    def refuse(problem: str) -> DistilSearchError:
        return InputError(f"{f'the depot {hidden(url)}' if url else 'this machine'} has no sound data {key}: {problem}")

    return refuse
