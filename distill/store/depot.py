"""What jobs need and leave, by content, in a folder that driver and workers share: no local path crosses the wire.

A depot is a folder at any URL that fsspec opens; or, with no URL, the home of this machine, where a teacher is a
pointer to its folder and trials need not travel. Whatever is fetched is checked: a teacher and a text against the very
key they were asked for by, a trial against the hashes of its files. Only safetensors, JSON and tokenizer files travel.
"""

import json
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from distilsearch import strict
from distilsearch.errors import DistilSearchError, InputError, TeacherError, TextError, TrialError
from distilsearch.hiding import hidden
from distilsearch.home import ensure_folder, file_lock, home, write_atomically
from distilsearch.strict import SHA256

from ..targets.cache import outputs_key
from ..teachers.checkpoint import weight_files
from ..teachers.sentence_files import FORMER_TRANSFORMERS
from ..teachers.teacher import Teacher, load_teacher
from ..texts.data import Text, blocks_file, read_blocks
from .shelf import Refusal, Shelf, checked
from .trial import TRIAL, TRUNK

SCHEMA = 1
NOTE = "note.json"
BLOCKS = "blocks.safetensors"
SUPER = "superlm.safetensors"  # of a super-network's folder, all that others need

TEACHER_FILES = (
    "config.json", "generation_config.json", "model.safetensors.index.json", "modules.json",
    "sentence_bert_config.json", "config_sentence_transformers.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "chat_template.jinja", "vocab.txt", "vocab.json", "merges.txt",
    "sentencepiece.bpe.model", "spiece.model", "tokenizer.model", "README.md", *FORMER_TRANSFORMERS,
)  # fmt: skip
TEACHER_SUFFIXES = (".json", ".jinja", ".txt", ".model", ".safetensors", ".md")  # none that hides code


class Depot:
    """A folder shared by driver and workers, or the home of this machine ("").

    `url` is absolute, so that it means the same folder in every working directory.
    """

    def __init__(self, url: str = "") -> None:
        local = url and "://" not in url and "::" not in url
        self.url = str(Path(url).expanduser().absolute()) if local else url.rstrip("/")
        self._shelf = Shelf(self.url) if url else None

    def put_teacher(self, teacher: Teacher) -> str:
        """Leave a teacher for others to fetch; returns its key."""
        key = outputs_key(teacher)
        if self._shelf is None:
            pointer = {"schema": SCHEMA, "name": teacher.name, "folder": str(teacher.folder.absolute())}
            write_atomically(_place("teachers", f"{key}.json"), json.dumps(pointer))  # also anew: it is in use
        else:
            refuse = self._refusal(TeacherError, "teacher", key)
            files = self._shelf.put(f"teachers/{key}", teacher.folder, teacher_files(teacher.folder), refuse)
            note = {"schema": SCHEMA, "name": _public_name(teacher.name), "files": files}
            self._shelf.write_note(f"teachers/{key}", NOTE, note)
        return key

    def teacher(self, key: str) -> Teacher:
        """The teacher of a key, fetched once; a `TeacherError` says where it is missing or damaged."""
        refuse = self._refusal(TeacherError, "teacher", key)
        if self._shelf is None:
            return _pointed(_place("teachers", f"{key}.json"), key, refuse)
        folder = _place("teachers", key)
        with file_lock(folder.with_name(f".{key}.lock")):
            note = self._note(f"teachers/{key}", refuse)
            try:
                return _opened(folder, str(note.get("name")), key, refuse)
            except TeacherError:  # not fetched yet, or damaged since
                shutil.rmtree(folder, ignore_errors=True)
            self._fetch_teacher(note, folder, key, refuse)
            return _opened(folder, str(note.get("name")), key, refuse)

    def put_text(self, text: Text) -> str:
        """Leave a text for others to fetch; returns its key."""
        folder = _place("texts", text.sha256)
        if read_blocks(folder / BLOCKS) is None:
            write_atomically(folder / BLOCKS, blocks_file(text))
        os.utime(folder / BLOCKS)  # it is in use
        if self._shelf is not None:
            place = f"texts/{text.sha256}"
            refuse = self._refusal(TextError, "text", text.sha256)
            files = self._shelf.put(place, folder, [BLOCKS], refuse)
            self._shelf.write_note(place, NOTE, {"schema": SCHEMA, "files": files})
        return text.sha256

    def text(self, key: str) -> Text:
        """The text of a key, fetched once; a `TextError` says where it is missing or damaged."""
        refuse = self._refusal(TextError, "text", key)
        folder = _place("texts", key)
        text = read_blocks(folder / BLOCKS)
        if self._shelf is not None and (text is None or text.sha256 != key):
            note = self._note(f"texts/{key}", refuse)
            self._shelf.fetch(f"texts/{key}", note.get("files", {}), folder, refuse)
            text = read_blocks(folder / BLOCKS)
        if text is None:
            raise refuse("it is not there")
        if text.sha256 != key:
            raise refuse("what is there is another text")
        return text

    def push_trial(self, key: str, folder: Path) -> None:
        """Send a finished trial whole, if it is not there; nothing to do where the depot is the home."""
        refuse = self._refusal(TrialError, "trial", key)
        if self._shelf is None:
            return
        try:
            stated = strict.table(strict.read_json(folder / TRIAL), TRIAL).get("files") or {}
            names = [name for name in stated or _left_in(folder) if name != TRUNK or (folder / TRUNK).exists()]
            files = self._shelf.put(f"trials/{key}", folder, [*names, TRIAL], refuse)
        except (OSError, ValueError) as error:
            raise refuse(f"what {folder} holds cannot be sent: {error}") from error
        changed = [name for name, sha256 in files.items() if stated.get(name, sha256) != sha256]
        if changed:
            raise refuse(f"{', '.join(changed)} in {folder} changed since the trial was finished")
        self._shelf.write_note(f"trials/{key}", NOTE, {"schema": SCHEMA, "files": files})

    def has_trial(self, key: str) -> bool:
        """Whether a finished trial is there, unchecked; never where the depot is the home."""
        refuse = self._refusal(TrialError, "trial", key)
        return self._shelf is not None and self._shelf.note(f"trials/{key}", NOTE, refuse) is not None

    def pull_trial(self, key: str, folder: Path) -> bool:
        """Fetch a finished trial into a folder, `trial.json` last; false where the depot has none, or is the home."""
        refuse = self._refusal(TrialError, "trial", key)
        if self._shelf is None or not self.has_trial(key):
            return False
        files = checked(self._note(f"trials/{key}", refuse).get("files"), refuse)
        last = {TRIAL: files.pop(TRIAL, "")}
        self._shelf.fetch(f"trials/{key}", files, folder, refuse)
        self._shelf.fetch(f"trials/{key}", last, folder, refuse)
        return True

    def push_super(self, key: str, folder: Path) -> None:
        """Send a finished super-network; nothing to do where the depot is the home."""
        if self._shelf is not None:
            refuse = self._refusal(TrialError, "super-network", key)
            files = self._shelf.put(f"super-networks/{key}", folder, [SUPER], refuse)
            self._shelf.write_note(f"super-networks/{key}", NOTE, {"schema": SCHEMA, "files": files})

    def pull_super(self, key: str, folder: Path) -> None:
        """Fetch a finished super-network, where the depot has one and the folder does not."""
        refuse = self._refusal(TrialError, "super-network", key)
        if self._shelf is None or (folder / SUPER).exists():
            return
        if self._shelf.note(f"super-networks/{key}", NOTE, refuse) is not None:
            files = checked(self._note(f"super-networks/{key}", refuse).get("files"), refuse)
            self._shelf.fetch(f"super-networks/{key}", files, folder, refuse)

    def _fetch_teacher(self, note: Mapping[str, Any], folder: Path, key: str, refuse: Refusal) -> None:
        """Bring a teacher into a temporary folder, open it there, and only then give it its name."""
        assert self._shelf is not None
        foreign = [name for name in checked(note.get("files"), refuse) if not name.endswith(TEACHER_SUFFIXES)]
        if foreign:
            raise refuse(f"it names {', '.join(foreign)}, and no teacher needs such a file")
        temporary = folder.with_name(f".{key}.{uuid.uuid4().hex}")
        try:
            self._shelf.fetch(f"teachers/{key}", note["files"], temporary, refuse)
            _opened(temporary, "", key, refuse)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _note(self, place: str, refuse: Refusal) -> dict[str, Any]:
        assert self._shelf is not None
        note = self._shelf.note(place, NOTE, refuse)
        if note is None:
            raise refuse("it is not there; the driver puts it there, so see that this machine has the same folder")
        if note.get("schema") != SCHEMA:
            raise refuse(
                f"its note has schema {note.get('schema')!r}, this version reads {SCHEMA}: upgrade distilsearch"
            )
        return note

    def _refusal(self, kind: type[DistilSearchError], what: str, key: str) -> Refusal:
        """Errors about one thing in this depot, which name both; a trial's may be tried again."""
        if not SHA256.fullmatch(key):
            raise InputError(f"expected the sha256 of a {what}; got {key!r}")
        where = f"the depot {hidden(self.url)}" if self.url else f"the home {home()}"
        hint = f"; if it is damaged, remove the folder {what}s/{key} there"

        def refuse(problem: str) -> DistilSearchError:
            message = f"{where} has no sound {what} {key}: {problem}{hint if self.url else ''}"
            return TrialError(message, transient=True) if kind is TrialError else kind(message)

        return refuse


def teacher_files(folder: Path) -> list[str]:
    """The files of a model folder that a teacher is opened from, by their names in it."""
    names = [name for name in TEACHER_FILES if (folder / name).is_file()]
    names += [path.relative_to(folder).as_posix() for path in weight_files(folder)]
    if (folder / "modules.json").is_file():
        paths = [str(module.get("path", "")) for module in strict.read_json(folder / "modules.json")]
        inside = [f"{path}/{name}" for path in paths if path for name in ("config.json", "model.safetensors")]
        names += [name for name in inside if (folder / name).is_file()]
    return sorted(names)


def _place(kind: str, name: str) -> Path:
    """Where this machine keeps what it has put or fetched."""
    return ensure_folder(home() / "depot" / kind) / name


def _public_name(name: str) -> str:
    """A teacher's name as others may read it: of a local folder its last part."""
    hub = name.count("/") == 1 and not name.startswith((".", "/", "~"))
    return name if hub or "/" not in name else Path(name).name


def _pointed(path: Path, key: str, refuse: Refusal) -> Teacher:
    try:
        pointer = strict.read_json(path)
        folder, name = Path(pointer["folder"]), str(pointer["name"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise refuse(f"{path} does not say where it is ({error})") from error
    return _opened(folder, name, key, refuse)


def _opened(folder: Path, name: str, key: str, refuse: Refusal) -> Teacher:
    """The teacher in a folder under the name it was put by, if it is the one of the key."""
    try:
        teacher = load_teacher(str(folder))
    except TeacherError as error:
        raise refuse(str(error)) from error
    if outputs_key(teacher) != key:
        raise refuse(f"the model in {folder} is another one, or was changed")
    return replace(teacher, name=name, facts=replace(teacher.facts, name=name))


def _left_in(folder: Path) -> list[str]:
    """The files of a trial whose note does not name them: its student, and its trunk if it has one."""
    paths = [*(folder / "student").rglob("*"), folder / TRUNK]
    return [path.relative_to(folder).as_posix() for path in paths if path.is_file()]
