"""Where text comes from: files, globs, folders, a datasets name, or documentation that is on every machine.

Of a folder, files that hold no text are passed over and accounted for; what a user names himself must hold some. Every
source yields documents in an order that depends on their content and names only. The documentation of Python, and that
of packages which this one needs, is read with `ast`, never imported, so that no module of theirs runs.
"""

import ast
import glob
import importlib.util
import sysconfig
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from distilsearch.errors import TextError
from distilsearch.places import literal_folders
from distilsearch.sheet import suffix_of

from .account import Account, NoColumnError, listed, named_columns
from .readers import SUFFIXES, SURE, TEXT, file_rows, holds_rows, text_column, value_text

PYTHON_DOCS = "python-docs"
PACKAGE_DOCS = "package-docs"
AUTO, NONE = "auto", "none"  # of a `probe_text`: documentation by the rule of `probe`, or nothing at all
PACKAGES = ("datasets", "optuna", "pydantic")  # of which the docstrings are: all are needed, and always there

_SKIPPED = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__", "lib2to3", "pydoc_data"}
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


Cut = Callable[[str], Iterable[str]]


def documents(
    sources: Sequence[str], column: str = TEXT, account: Account | None = None, cut: Cut = lambda text: (text,)
) -> Iterator[str]:
    """The documents of all sources, in the order given; a `TextError` says which one cannot be read.

    Args:
        column: where rows of tables, of JSON and of datasets hold their text.
        account: what is left out is noted there.
        cut: what is made of plain text and documentation, which have no rows.
    """
    account = account or Account(column)
    for source in sources:
        if source in BUILT_IN:
            yield from (piece for text in BUILT_IN[source]() for piece in cut(text))
            continue
        paths = _files(source)
        if paths is None:
            yield from _dataset(source, column, account)
        elif (folder := _place(source)).is_dir():
            yield from _folder(folder, paths, column, account, cut)
        else:
            for path in paths:
                yield from _cut(path, account.counted(str(path), file_rows(path, column)), cut)


def passed_over(source: str) -> list[str]:
    """Of a folder, which kinds of files are not read, and how many of each; of other sources nothing."""
    folder = _place(source)
    if source in BUILT_IN or not folder.is_dir():
        return []
    others = (file for file in folder.rglob("*") if suffix_of(file) not in SUFFIXES and file.is_file())
    counts = Counter(suffix_of(file) or "without suffix" for file in others)
    return [f"{count} {suffix}" for suffix, count in sorted(counts.items())]


def _cut(path: Path, rows: Iterable[str], cut: Cut) -> Iterable[str]:
    """The texts of a file, cut where they have no rows."""
    return rows if holds_rows(path) else (piece for text in rows for piece in cut(text))


def _folder(folder: Path, paths: Sequence[Path], column: str, account: Account, cut: Cut) -> Iterator[str]:
    """The documents of a folder's files that hold text."""
    for kind in passed_over(str(folder)):
        account.pass_over(folder, kind)
    read = 0
    for path in paths:
        rows = _rows_in(folder, path, column, account)
        if rows is not None:
            read += 1
            yield from _cut(path, account.counted(str(path), rows), cut)
    if not read:
        raise _nothing_in(folder, account.passed.get(str(folder), []))


def _rows_in(folder: Path, path: Path, column: str, account: Account) -> Iterable[str | None] | None:
    """The rows of a file that nobody named; None where it is of a kind that need not hold text, and holds none."""
    try:
        return file_rows(path, column)
    except TextError as error:
        if not isinstance(error, NoColumnError) and suffix_of(path) in SURE:
            raise
        why = f"no {column!r}" if isinstance(error, NoColumnError) else "not readable"
        account.pass_over(folder, f"{path.relative_to(folder)} ({why})")
        return None


def _nothing_in(folder: Path, passed: Sequence[str]) -> TextError:
    there = f" (it holds {listed(passed)})" if passed else ""
    return TextError(f"the folder {folder} holds no {', '.join(SUFFIXES)} file with text{there}; name another")


def stamp(source: str) -> list[list[object]] | None:
    """Name, size and time of every file behind a source; none for a datasets name."""
    if source == PACKAGE_DOCS:
        paths: list[Path] | None = [path for package in PACKAGES for path in _package_files(package)]
    else:
        paths = _documentation_files() if source == PYTHON_DOCS else _files(source)
    if paths is None:
        return None
    states = [(str(path.resolve()), path.stat()) for path in paths]
    return [[name, state.st_size, state.st_mtime_ns] for name, state in states]


def python_docs() -> Iterator[str]:
    """The topics of the language reference, then every docstring of the standard library (about 1.9 MB)."""
    topics, *modules = _documentation_files()
    tree = ast.parse(topics.read_bytes())
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            values = ast.literal_eval(node.value)
            yield from (str(values[key]) for key in sorted(values))
    for path in modules:
        docstrings = _docstrings(path)
        if docstrings:
            yield "\n\n".join(docstrings)


def package_docs() -> Iterator[str]:
    """The docstrings of a few packages that this one needs, a module of each in turn (about 1.2 MB)."""
    for modules in zip_longest(*map(_package_files, PACKAGES)):
        for path in filter(None, modules):
            if docstrings := _docstrings(path):
                yield "\n\n".join(docstrings)


BUILT_IN: dict[str, Callable[[], Iterator[str]]] = {PYTHON_DOCS: python_docs, PACKAGE_DOCS: package_docs}


def _package_files(package: str) -> list[Path]:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.origin:
        raise TextError(f"the package {package} is not installed; install it, or name files")
    folder = Path(spec.origin).parent
    return sorted(path for path in folder.rglob("*.py") if not _SKIPPED & set(path.relative_to(folder).parts))


def _documentation_files() -> list[Path]:
    library = Path(sysconfig.get_path("stdlib"))
    topics = library / "pydoc_data" / "topics.py"
    if not topics.is_file():
        raise TextError(f"this Python has no {topics}; install its standard library's documentation or name files")
    modules = (path for path in library.rglob("*.py") if not _SKIPPED & set(path.relative_to(library).parts))
    return [topics, *sorted(modules)]


def _docstrings(path: Path) -> list[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return []
    docstrings = (ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, _DOCUMENTED))
    return [text for text in docstrings if text]


def _place(source: str) -> Path:
    try:
        return Path(source).expanduser()
    except RuntimeError:  # "~name" of nobody here
        return Path(source)


def _files(source: str) -> list[Path] | None:
    """The files a source names, sorted; none when it looks like a datasets name."""
    path = _place(source)
    if path.is_file():
        return [path]
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if suffix_of(file) in SUFFIXES and file.is_file())
        if not files:
            raise _nothing_in(path, passed_over(source))
        return files
    matches = sorted(Path(match) for match in glob.glob(literal_folders(path), recursive=True))  # noqa: PTH207
    matches = [match for match in matches if match.is_file()]
    if matches:
        return matches
    if glob.has_magic(source) or suffix_of(path) in SUFFIXES or source.startswith((".", "/", "~")):
        raise TextError(f"no file matches {source!r}; name files, folders, a datasets name, or 'python-docs'")
    return None


def _dataset(name: str, column: str, account: Account) -> Iterator[str]:
    """The text of the training split of a dataset, named as "owner/name" or "owner/name:configuration"."""
    from datasets import load_dataset

    base, _, configuration = name.partition(":")
    try:
        rows = load_dataset(base, configuration or None, split="train", streaming=True)
        columns = rows.column_names or list(next(iter(rows)))
    except Exception as error:  # whatever the hub, the network or the builder raises means the same to the user
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise TextError(
            f"{name!r} is no file, folder or glob, and no dataset could be opened under that name ({reason})"
        ) from error
    there = text_column(columns, column)
    if there is None:
        raise TextError(
            f"the dataset {name!r} has no column {column!r}; {named_columns(columns)}name the one that holds text with"
            " text_column"
        )
    yield from account.counted(
        f"the dataset {name!r}", (value_text(row[there]) for row in rows), named_columns(columns)
    )
