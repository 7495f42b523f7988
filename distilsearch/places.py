"""Which places may be written: those that are absent, empty, or hold what this product has written there.

Whoever writes asks first, before anything is read or trained. Everything here only looks: a place is recognised by the
marks that the product leaves in it anyway, so that what older versions wrote is recognised too. A place of somebody
else's is refused, whatever lies in it; so is a symbolic link where a folder would be replaced.
"""

import glob
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .errors import RunError

RUN_MARK = "# Written by distilsearch: what this run was asked, with all its defaults."
PAGE_MARK = "default-src 'none'; script-src 'unsafe-inline'"  # of the content policy of every page
STUDENT_MARK, WEIGHTS_MARK = "\n# A student of ", "\n| teacher weights | sha256 "
FINGERPRINT, KEY = re.compile("[0-9a-f]{12}"), re.compile("[0-9a-f]{64}")
DRIVER = ".driver"  # in the folder of a run: who drives it
MACHINE_LOCK = "machine.lock"  # in the folder of a device's tables: whoever times the machine holds it
HOME_PARTS = ("tables", "targets", "trials", "supers", "runs", "depot", "precision", "home.json", ".identity")
RUN_PARTS = (
    "run.toml", "journal.log", "environment.json", "imported.json", "result.json", "report.html", "predictor",
    "students", "fidelity",
)  # fmt: skip
TRIFLES = re.compile(r"\.lock|\.driver|\.doing|\.home\.json\..*")  # left by whoever only looked, or is about to mark it
HEAD_BYTES = 20_000
INSTEAD = "name an empty folder, or one that is not there yet"


@dataclass(frozen=True)
class Kind:
    """What a place may hold. `replaced`: the folder is put in the place of the former one, rather than written into.

    `links`: the symbolic links in it that would be written through or lost.
    """

    what: str
    ours: Callable[[Path], bool]
    replaced: bool = False
    links: Callable[[Path], Iterator[Path]] = lambda _: iter(())


def own_folder(path: Path | str, kind: Kind, instead: str = INSTEAD) -> Path:
    """The absolute path of a folder that may be written as a kind of ours; `instead` says what to name else.

    Raises:
        RunError: something else lies there, or it can be neither made nor written; nothing has been changed.
    """
    place = Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100  (links stay links)
    if place.is_symlink() and (kind.replaced or not place.exists()):
        raise RunError(f"{path} is a symbolic link to {place.readlink()}; name the folder itself")
    _check_reachable(path, place)
    if not place.exists():
        return place
    if all(TRIFLES.fullmatch(child.name) for child in place.iterdir()):
        return _not_underfoot(path, place, kind)
    if not _recognised(place, kind):
        raise RunError(f"{path} is not empty and holds no {kind.what}; {instead}")
    if (link := next(kind.links(place), None)) is not None:
        raise RunError(f"{link} is a symbolic link, and would be written through; put what it leads to in its place")
    return _not_underfoot(path, place, kind)


def own_file(path: Path | str, kind: Kind) -> Path:
    """The absolute path of a file that may be written as a kind of ours; raises as `own_folder` does."""
    place = Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100
    if place.is_symlink():
        raise RunError(f"{path} is a symbolic link to {place.readlink()}; name the file itself")
    _check_reachable(path, place.parent)
    if place.is_dir():
        raise RunError(f"{path} is a folder; name a file")
    if place.exists() and not _recognised(place, kind):
        raise RunError(f"{path} is there and is no {kind.what}; name another file, or move it away")
    return place


def own_run(path: Path | str, finished: bool = False) -> Path:
    """The absolute path of a folder that may be written as a run, and its report; raises as `own_folder` does.

    Args:
        finished: it is to be a run that is there already.
    """
    place = own_folder(path, RUN, "name the folder of a run, such as runs/NAME" if finished else INSTEAD)
    own_file(place / "report.html", PAGE)
    return place


def own_student(path: Path | str, teacher: str = "") -> Path:
    """The absolute path of a folder that a student may be put into: never that of its teacher, nor one above it."""
    if teacher and Path(teacher).expanduser().is_dir():
        check_apart(Path(path).expanduser(), Path(teacher), "the teacher")
    return own_folder(path, STUDENT)


def own_students(path: Path | str) -> Path:
    """The absolute path of a folder that several students may be put into, each into one of its own."""
    if (Path(path) / "config.json").exists():
        raise RunError(f"{path} holds a student, and several would be written into it; name another folder")
    return own_folder(path, STUDENTS)


def check_apart(path: Path, other: Path, what: str) -> None:
    """Refuse to write over `other` (called `what`), or over a folder that it lies in."""
    mine, its = path.resolve(), other.expanduser().resolve()
    if its == mine or mine in its.parents:
        raise RunError(f"{path} {'is' if its == mine else 'holds'} {what}; name another folder")


def _recognised(place: Path, kind: Kind) -> bool:
    """Whether a place is of a kind of ours; not where it cannot be looked into."""
    try:
        return kind.ours(place)
    except OSError:
        return False


def _check_reachable(path: Path | str, place: Path) -> None:
    """Refuse what is no folder, lies below a file, or cannot be made or written."""
    nearest = next(parent for parent in (place, *place.parents) if os.path.lexists(parent))
    if not nearest.is_dir():
        where = f"{path} is" if nearest == place else f"{path} lies below {nearest}, which is"
        raise RunError(f"{where} a file; name a folder")
    _check_writable(nearest)


def _check_writable(folder: Path) -> None:
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise RunError(f"the folder {folder} cannot be written; name a writable one")


def _not_underfoot(path: Path | str, place: Path, kind: Kind) -> Path:
    """A folder that is replaced must not be the one that the user is in."""
    if not kind.replaced:
        return place
    _check_writable(place.parent)
    if place.resolve() in (Path.cwd(), *Path.cwd().parents):
        raise RunError(f"{path} is the folder you are in, or above it, and would be replaced; name one below it")
    return place


def literal_folders(pattern: Path) -> str:
    """A glob pattern in which folders that are there mean themselves, whatever brackets their names hold.

    >>> literal_folders(Path("/no/such/*.txt"))
    '/no/such/*.txt'
    """
    there, rest = Path(pattern.anchor), list(pattern.parts[1:] if pattern.anchor else pattern.parts)
    while rest and (there / rest[0]).is_dir():
        there /= rest.pop(0)
    return str(Path(glob.escape(str(there)), *rest))


# The marks


def _head(path: Path) -> str:
    """The beginning of a file as text; nothing where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return ""


def _object(path: Path) -> dict[str, object]:
    """The JSON object in a file; an empty one where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _is_student(folder: Path) -> bool:
    card = _head(folder / "README.md")
    return STUDENT_MARK in card and WEIGHTS_MARK in card and (folder / "config.json").is_file()


def _holds_students(folder: Path) -> bool:
    return any(_is_student(child) for child in folder.iterdir() if child.is_dir())


def _is_run(folder: Path) -> bool:
    if _head(folder / "run.toml").startswith(RUN_MARK):
        return True
    versions = _object(folder / "environment.json").get("versions")
    if isinstance(versions, dict) and "distilsearch" in versions:
        return True
    if (folder / "run.toml").is_file() and _head(folder / "journal.log").startswith('{"op_code"'):
        return True
    return {"schema", "front", "targets", "teacher"} <= set(_object(folder / "result.json"))


def _run_links(folder: Path) -> Iterator[Path]:
    written = [path.name for path in folder.iterdir() if path.suffix == ".log" or path.name == ".lock"]
    for part in (folder / name for name in dict.fromkeys((*RUN_PARTS, *sorted(written)))):
        yield from (place for place in (part, *_children(part)) if place.is_symlink())


def _children(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else []


def _is_store(folder: Path) -> bool:
    return any(_is_device(child) for child in folder.iterdir() if FINGERPRINT.fullmatch(child.name))


def _is_device(folder: Path) -> bool:
    tables = [path for path in _children(folder) if FINGERPRINT.fullmatch(path.name)]
    return (folder / MACHINE_LOCK).exists() or any((table / "rounds").is_dir() for table in tables)


def _is_home(folder: Path) -> bool:
    """Its own mark; or, of the first version, nothing but its parts, each empty or with a content of ours."""
    if (folder / "home.json").is_file():
        return True
    children = [child for child in folder.iterdir() if not child.name.startswith(".")]
    parts = [child for child in children if child.name in HOME_PARTS and child.is_dir()]
    entries = ((part.name, entry.name) for part in parts for entry in part.iterdir())
    return bool(parts) and parts == children and all(of_home(*entry) for entry in entries)


def of_home(part: str, name: str) -> bool:
    """Whether an entry of a part of a home has a name that this product gives: anything else is not ours to remove."""
    names = {
        "tables": r"[0-9a-f]{12}",
        "trials": r"[0-9a-f]{64}",
        "supers": r"[0-9a-f]{64}",
        "targets": r"(set|text|heldout|statistics)-[0-9a-f]+(\.safetensors)?",
        "runs": r"[0-9a-f]{32}\.json",
        "precision": r"[0-9a-f]{32}\.json",
        "depot": r"teachers|texts|data",
    }
    return name.startswith(".") or part not in names or re.fullmatch(names[part], name) is not None


def _is_page(file: Path) -> bool:
    return PAGE_MARK in _head(file)


def _is_fidelity(file: Path) -> bool:
    return {"spearman", "kendall", "pairs", "note"} <= set(_object(file))


def _is_export(folder: Path) -> bool:
    return {"schema", "artefacts"} <= set(_object(folder / "served.json"))


def _links(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_symlink())


STUDENT = Kind("student of distilsearch", _is_student, replaced=True, links=_links)
STUDENTS = Kind("students of distilsearch", _holds_students)
EXPORT = Kind("export of distilsearch", _is_export, replaced=True, links=_links)
RUN = Kind("run of distilsearch", _is_run, links=_run_links)
STORE = Kind("latency tables of distilsearch", _is_store, links=_links)
HOME = Kind("home of distilsearch", _is_home)
FIDELITY = Kind(
    "rank fidelity of distilsearch", lambda folder: _is_run(folder) or _is_fidelity(folder / "fidelity.json")
)
PAGE = Kind("page of distilsearch", _is_page)
RANKS = Kind("rank fidelity of distilsearch", _is_fidelity)
