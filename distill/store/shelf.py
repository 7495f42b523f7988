"""Folders of files at a URL, written so that nobody ever reads half of one, and checked where they arrive.

`PLACE/files/<sha256>` hold the content; `PLACE/<name>.json`, written last, is the note of which file has which name.
Files are named by their content, so several writers may write at once and never change what another's note names.
"""

import contextlib
import hashlib
import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from distilsearch import strict
from distilsearch.errors import DistilSearchError, InputError, RunError
from distilsearch.hiding import hidden, hidden_in
from distilsearch.home import ensure_folder
from distilsearch.strict import SHA256

CHUNK = 1 << 22  # bytes
FILES = "files"

Refusal = Callable[[str], DistilSearchError]
"""Makes the error of something that is damaged or missing, out of what is wrong with it."""


class Shelf:
    """Folders of files below a URL that fsspec opens; raises a `RunError` where it cannot be read or written."""

    def __init__(self, url: str) -> None:
        from fsspec.core import url_to_fs

        try:
            self._system, root = url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise InputError(f"cannot open the depot {hidden(url)!r}: {hidden_in(error, url)}") from None
        self.url = hidden(url)  # as it is said
        self._url = url
        self._root = str(root).rstrip("/")

    def put(self, place: str, folder: Path, names: Iterable[str], refuse: Refusal) -> dict[str, str]:
        """Send files of a folder that are not there yet; returns the sha256 of each by its name."""
        files = checked({name: sha256_of(folder / name) for name in sorted(names)}, refuse)
        with self._naming("write into"):
            self._system.makedirs(f"{self._root}/{place}/{FILES}", exist_ok=True)
            for name, sha256 in files.items():
                self._send(folder / name, place, sha256)
        return files

    def write_note(self, place: str, name: str, note: Mapping[str, Any]) -> None:
        """Write the note of a place, which is what makes its files count."""
        content = json.dumps(note, indent=1).encode()
        with self._naming("write into"), self._part(place, name) as part:
            self._system.pipe_file(part, content)
            self._system.mv(part, f"{self._root}/{place}/{name}")

    def note(self, place: str, name: str, refuse: Refusal) -> dict[str, Any] | None:
        """The note of a place; none where it is absent, so that what is there does not count."""
        try:
            with self._naming("read"):
                content = self._system.cat_file(f"{self._root}/{place}/{name}")
        except FileNotFoundError:
            return None
        try:
            note = strict.parsed(content)
        except ValueError as error:
            raise refuse(f"its {name} is no JSON ({error})") from error
        if not isinstance(note, dict):
            raise refuse(f"its {name} is no JSON object")
        return note

    def fetch(self, place: str, files: Mapping[str, str], folder: Path, refuse: Refusal) -> None:
        """Bring files into a folder, each under a temporary name until its sha256 has been checked."""
        for name, sha256 in checked(files, refuse).items():
            target = folder / name
            if not target.is_file() or sha256_of(target) != sha256:
                self._receive(f"{self._root}/{place}/{FILES}/{sha256}", target, sha256, refuse)

    def _send(self, source: Path, place: str, sha256: str) -> None:
        target = f"{self._root}/{place}/{FILES}/{sha256}"
        if self._system.exists(target) and self._system.size(target) == source.stat().st_size:
            return
        with self._part(f"{place}/{FILES}", sha256) as part:
            with source.open("rb") as reader, self._system.open(part, "wb") as writer:
                sent = _copy(reader, writer)
            if sent != sha256:
                raise RunError(f"{source} changed while it was sent to {self.url}; try again")
            self._system.mv(part, target)

    def _receive(self, source: str, target: Path, sha256: str, refuse: Refusal) -> None:
        part = ensure_folder(target.parent) / f".{target.name}.{uuid.uuid4().hex}.part"
        try:
            with self._naming("read"), self._system.open(source, "rb") as reader, part.open("wb") as writer:
                received = _copy(reader, writer)
            if received != sha256:
                raise refuse(f"{target.name} has sha256 {received[:12]}..., its note says {sha256[:12]}...")
            part.replace(target)
        except FileNotFoundError as error:
            raise refuse(f"{target.name} is missing") from error
        finally:
            part.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _part(self, place: str, name: str) -> Iterator[str]:
        """A temporary name at the URL, which is gone afterwards."""
        part = f"{self._root}/{place}/.{name}.{uuid.uuid4().hex}.part"
        try:
            yield part
        except BaseException:
            with contextlib.suppress(OSError):
                self._system.rm_file(part)
            raise

    @contextlib.contextmanager
    def _naming(self, what: str) -> Iterator[None]:
        """Errors of the file system say which URL they met; that a file is absent is for the caller to judge."""
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise RunError(
                f"cannot {what} the depot {self.url}: {hidden_in(error, self._url)}; all machines of a run need a"
                " folder there that they may read and write"
            ) from None


def checked(files: object, refuse: Refusal) -> dict[str, str]:
    """The files that a note names, or its refusal where a name could lead out of a folder or a hash is none."""
    if not isinstance(files, Mapping) or not files:
        raise refuse("it has no files")
    for name, sha256 in files.items():
        if not strict.is_plain(name):
            raise refuse(f"the file {name!r} has no plain name below a folder")
        if not SHA256.fullmatch(str(sha256)):
            raise refuse(f"{name} is said to have the sha256 {sha256!r}, which is none")
    return dict(files)


def sha256_of(path: Path) -> str:
    """The sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _copy(reader: IO[bytes], writer: IO[bytes]) -> str:
    """Copy a file in pieces; returns the sha256 of what passed."""
    digest = hashlib.sha256()
    while piece := reader.read(CHUNK):
        digest.update(piece)
        writer.write(piece)
    return digest.hexdigest()
