"""The folder shared by all runs, and the rules of writing: under a lock, never half a file, never over a user's own.

`$DISTILSEARCH_HOME` (default: the user's cache folder) holds `tables/` (latency tables), `targets/` (the
teacher's cached outputs), `trials/` (distilled students by content), `supers/` (super-networks) and `runs/` (where the
runs lie that show them).
`home.json` says in which format: a home that a newer version has written is refused as a whole, one without the file is
of format 1.
"""

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import platformdirs

from . import strict
from .errors import RunError
from .places import HOME, own_folder

FORMAT = 1
MARK, IDENTITY = "home.json", ".identity"


def home() -> Path:
    """The shared folder; created when first asked for. `RunError` where a newer version has written it."""
    chosen = os.environ.get("DISTILSEARCH_HOME")
    path = Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("distilsearch")
    _check_format(path.resolve())
    return path


@functools.cache
def _check_format(path: Path) -> None:
    """Refuse the home of a newer version and a folder of somebody else's, and mark a new one; once a process."""
    try:
        ensure_folder(own_folder(path, HOME))
    except RunError as error:
        raise RunError(f"DISTILSEARCH_HOME: {error}") from None
    ours = metadata.version("distilsearch")
    try:
        mark = strict.table(strict.read_json(path / MARK), "it")
        written = mark["format"]
    except FileNotFoundError:
        if not any(path.iterdir()):
            write_atomically(path / MARK, json.dumps({"format": FORMAT, "version": ours}) + "\n")
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        written, mark = repr(error), {}
    if type(written) is not int or written < 1:
        raise RunError(
            f"{path / MARK} is damaged ({written}): expected the number of a format; write "
            f'{{"format": {FORMAT}}} into it if no newer version of distilsearch was used there, or name another folder'
            " in DISTILSEARCH_HOME"
        )
    if written > FORMAT:
        by = mark.get("version", "of a newer version")
        raise RunError(
            f"the home {path} has format {written}, written by distilsearch {by}; this is {ours}, which reads up"
            f" to format {FORMAT}: upgrade distilsearch, or name another folder in DISTILSEARCH_HOME"
        )


def identity() -> str:
    """What tells this home from all others, whatever path leads to it; "" where it can be neither read nor written."""
    path = home() / IDENTITY
    try:
        if not path.exists():
            _identify(path)
        return strict.read_bytes(path).decode("ascii", errors="replace").strip()
    except (OSError, ValueError, RunError):
        return ""


def _identify(path: Path) -> None:
    """Make the file that says it, once, whoever asks at the same time."""
    fresh = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    write_atomically(fresh, uuid.uuid4().hex)
    try:
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


def tables_folder() -> Path:
    """Where latency tables are kept unless a store is named."""
    return ensure_folder(home() / "tables")


def targets_folder() -> Path:
    """Where teacher outputs are cached."""
    return ensure_folder(home() / "targets")


def supers_folder() -> Path:
    """Where super-networks are kept, one folder a content key."""
    return ensure_folder(home() / "supers")


def runs_folder() -> Path:
    """Where the home notes which runs it was used by."""
    return ensure_folder(home() / "runs")


def trials_folder() -> Path:
    """Where finished trials are kept, one folder a content key."""
    return ensure_folder(home() / "trials")


def written_folders() -> list[Path]:
    """The folders that work writes into beside its own: each may lie on a disk of its own."""
    return [home(), *(home() / name for name in ("trials", "targets", "tables")), Path(tempfile.gettempdir())]


@dataclass(frozen=True)
class KnownRun:
    """A run that was started with this home: its folder, and the trainings whose students it shows.

    `unreadable`: why its note, at `folder` then, cannot be read, so that nobody knows what it shows.
    """

    folder: Path
    trainings: tuple[Mapping[str, Any], ...] = ()
    unreadable: str = ""


def register_run(folder: Path, trainings: Sequence[Mapping[str, Any]]) -> None:
    """Note that a run shows the students of some trainings, so that they are not cleaned away."""
    content = {"schema": 1, "folder": str(folder.resolve()), "trainings": [dict(one) for one in trainings]}
    write_atomically(_pointer(folder), json.dumps(content, indent=1))


def known_runs() -> list[KnownRun]:
    """The runs of this home whose folders are still there; the notes of others are dropped."""
    runs = [(path, run) for path in sorted(runs_folder().glob("*.json")) if (run := _noted(path)) is not None]
    for path, run in runs:
        if not run.folder.exists():
            path.unlink(missing_ok=True)
    return [run for _, run in runs if run.folder.exists()]


def known_run(folder: Path) -> KnownRun | None:
    """What is noted of the run in a folder; none where nothing is, or nothing that can be read."""
    run = _noted(_pointer(folder))
    return run if run is not None and not run.unreadable else None


def _noted(path: Path) -> KnownRun | None:
    try:
        content = strict.table(strict.read_json(path), "it")
        if content["schema"] != 1:
            return KnownRun(path, unreadable="it was written by a newer version of distilsearch; use that one")
        trainings = tuple(strict.table(one, "a training") for one in content["trainings"])
        return KnownRun(Path(strict.text(content["folder"], "its folder")), trainings)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        return KnownRun(path, unreadable=f"it is damaged ({error}); remove it if its run is gone")


def _pointer(folder: Path) -> Path:
    return runs_folder() / f"{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:32]}.json"


def ensure_folder(path: Path) -> Path:
    """Create `path` if needed and return it; a `RunError` says so when it cannot be written."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot create the folder {path}: {error.strerror or error}; name a writable one") from error
    if not os.access(path, os.W_OK):
        raise RunError(f"the folder {path} cannot be written; name a writable one")
    return path


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a file under a temporary name beside it and rename it: readers see the old one or the new one."""
    data = content.encode() if isinstance(content, str) else content
    ensure_folder(path.parent)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o666 & ~_umask())
        Path(name).replace(path)
    except OSError as error:
        _dropped(Path(name))
        raise RunError(f"cannot write {path}: {error.strerror or error}; free space or name another folder") from error
    except BaseException:
        _dropped(Path(name))
        raise


def _dropped(fragment: Path) -> None:
    """Remove what was not finished, if that can be done: a disk that became read-only keeps it."""
    with contextlib.suppress(OSError):
        fragment.unlink(missing_ok=True)


def replace_folder(fresh: Path, target: Path) -> None:
    """Put a folder in the place of an older one, or of none; files that were added to the older one stay there.

    They are copied first, and what fails leaves the older one as it was: at no moment is there less than before.
    """
    added = [path.relative_to(target) for path in sorted(target.rglob("*")) if path.is_file()]
    for name in added:
        if not (fresh / name).exists():
            ensure_folder((fresh / name).parent)
            shutil.copy2(target / name, fresh / name)
    if not added:
        fresh.rename(target)
        return
    old = target.with_name(f".{target.name}.{uuid.uuid4().hex}.old")
    target.rename(old)
    try:
        fresh.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _umask() -> int:
    """The permissions a new file would not get; a temporary file starts with its owner's alone."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("Umask:")), 8)


@contextlib.contextmanager
def file_lock(path: Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold an exclusive lock on `path` (created if needed); it is freed by the system when its holder dies.

    Args:
        waiting: called once where another process holds it.
    """
    ensure_folder(path.parent)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting is not None:
                waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
