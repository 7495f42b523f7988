"""Where text comes from: files, globs, folders, a datasets name, or the documentation Python ships with.

Every source yields documents in an order that depends on their content and names only. The Python
documentation is read with `ast`, never imported, so that no module of the standard library runs.
"""

import ast
import glob
import json
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

from distilsearch.errors import TextError
from distilsearch.places import literal_folders

PYTHON_DOCS = "python-docs"
SUFFIXES = (".txt", ".md", ".rst", ".jsonl", ".parquet")

_SKIPPED = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__", "lib2to3", "pydoc_data"}
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def documents(sources: Sequence[str]) -> Iterator[str]:
    """The documents of all sources, in the order given; a `TextError` says which one cannot be read."""
    for source in sources:
        if source == PYTHON_DOCS:
            yield from python_docs()
            continue
        paths = _files(source)
        if paths is None:
            yield from _dataset(source)
            continue
        for path in paths:
            yield from _file_documents(path)


def stamp(source: str) -> list[list[object]] | None:
    """Name, size and time of every file behind a source; none for a datasets name."""
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


def _files(source: str) -> list[Path] | None:
    """The files a source names, sorted; none when it looks like a datasets name."""
    path = Path(source).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES and file.is_file())
        if not files:
            raise TextError(f"the folder {path} holds no {', '.join(SUFFIXES)} file; name another")
        return files
    matches = sorted(Path(match) for match in glob.glob(literal_folders(path), recursive=True))  # noqa: PTH207
    matches = [match for match in matches if match.is_file()]
    if matches:
        return matches
    if glob.has_magic(source) or path.suffix in SUFFIXES or source.startswith((".", "/", "~")):
        raise TextError(f"no file matches {source!r}; name files, folders, a datasets name, or 'python-docs'")
    return None


def _file_documents(path: Path) -> Iterator[str]:
    if path.suffix == ".parquet":
        yield from _parquet(path)
        return
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TextError(f"cannot read {path}: {error.strerror or error}") from error
    if b"\0" in content:
        raise TextError(f"{path} is binary (it holds NUL bytes); name text files")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TextError(f"{path} is not UTF-8 text (byte {error.start}); convert or leave it out") from error
    if path.suffix == ".jsonl":
        yield from _json_lines(path, text)
    elif text.strip():
        yield from _parts(text)


def _parts(text: str, size: int = 50_000) -> Iterator[str]:
    """Long documents in parts cut at line ends, so that the tokenizer's threads share the work."""
    waiting: list[str] = []
    length = 0
    for line in text.splitlines(keepends=True):
        waiting.append(line)
        length += len(line)
        if length >= size:
            yield "".join(waiting)
            waiting, length = [], 0
    if waiting:
        yield "".join(waiting)


def _json_lines(path: Path, text: str) -> Iterator[str]:
    for number, line in enumerate(text.split("\n"), 1):  # a string may hold the other ends of a line, as U+2028
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise TextError(f"{path} line {number} is not JSON: {error}") from error
        value = row.get("text") if isinstance(row, dict) else row
        if not isinstance(value, str):
            raise TextError(f"{path} line {number} needs a string, or an object with a string in 'text'")
        yield value


def _parquet(path: Path) -> Iterator[str]:
    """The "text" column, a few thousand rows in memory at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if "text" not in names:
                raise TextError(f"{path} has no column 'text'; it has {', '.join(names)}")
            for batch in file.iter_batches(batch_size=4096, columns=["text"]):
                for value in batch.column(0).to_pylist():
                    if isinstance(value, str):
                        yield value
                    elif value is not None:
                        raise TextError(f"the column 'text' of {path} must hold strings, got {type(value).__name__}")
    except (pa.ArrowInvalid, OSError) as error:
        raise TextError(f"{path} is not a readable Parquet file: {error}") from error


def _dataset(name: str) -> Iterator[str]:
    """The "text" column of the training split of a dataset, named as "owner/name" or "owner/name:configuration"."""
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
    if "text" not in columns:
        raise TextError(f"the dataset {name!r} has no column 'text'; it has {', '.join(columns)}")
    for row in rows:
        yield str(row["text"])
