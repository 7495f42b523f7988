"""Every command that writes is pointed at folders and files of a user: it refuses, and not a byte of them changes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from distilsearch.cli import app
from distilsearch.errors import DistilSearchError
from distilsearch.home import home

GENES = ("layers=1", "width=32", "heads=2", "ffn=64", "--teacher", "TEACHER", "--text", "/no/such/text")
WRITING = (
    ("distill", *GENES, "--out", "NOTES"),
    ("distill", *GENES, "--out", "TEACHER"),
    ("distill", *GENES, "--out", "."),
    ("distill", *GENES, "--out", "NOTES/thesis.tex"),
    ("distill", *GENES, "--out", "LINK"),
    ("search", "RUNFILE", "--folder", "NOTES"),
    ("search", "RUNFILE", "--folder", "."),
    ("search", "RUNFILE", "--folder", "TEACHER"),
    ("search", "RUNFILE", "--folder", "NOTES/thesis.tex"),
    ("quickstart", "--folder", "NOTES"),
    ("import", "RUNFILE", "NOTES/results.csv", "--folder", "NOTES"),
    ("report", "NOTES"),
    ("measure", "NOTES"),
    ("fidelity", "RUNFILE", "--folder", "NOTES"),
    ("fidelity", "RUNFILE", "--folder", "NOTES/thesis.tex"),
    ("profile", "--device", "cpu", "--store", "NOTES"),
    ("profile", "--device", "cpu", "--store", "NOTES/thesis.tex"),
    ("tables", "pull", "TABLES", "--store", "NOTES"),
    ("tables", "merge", "TABLES", "--store", "NOTES"),
    ("tables", "push", "NOTES", "--store", "TABLES"),
    ("tables", "push", "file://NOTES", "--store", "TABLES"),
    ("tables", "import", "NOTES/results.csv", "--format", "csv", "--device", "x", "--store", "NOTES"),
    ("tables", "show", "TABLES", "--out", "NOTES/table.html"),
    ("tables", "show", "TABLES", "--out", "NOTES"),
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the user works: notes, a teacher, a run file, a link."""
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path / "home"))
    home()
    work = tmp_path / "work"
    for name in ("notes/thesis.tex", "notes/results.csv", "notes/table.html", "teacher/config.json"):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text("{}")
    (work / "run.toml").write_text('# mine\nteacher = "teacher"\ntext = ["/no/such/text"]\n')
    (work / "link").symlink_to(work / "notes")
    monkeypatch.chdir(work)
    return work


def _snapshot(folder: Path) -> dict[Path, bytes | str]:
    return {p: str(p.readlink()) if p.is_symlink() else p.read_bytes() if p.is_file() else "" for p in _all(folder)}


def _all(folder: Path) -> Iterator[Path]:
    return folder.rglob("*")


@pytest.mark.parametrize("words", WRITING, ids=" ".join)
def test_it_is_refused_and_nothing_changes(place: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    tables = Path(__file__).parent / "old" / "0.1.0" / "tables"
    named = {"NOTES": place / "notes", "TEACHER": place / "teacher", "LINK": place / "link", "TABLES": tables}
    named["RUNFILE"] = place / "run.toml"
    for name, path in named.items():
        words = tuple(word.replace(name, str(path)) for word in words)
    before = _snapshot(tmp_path)
    done = CliRunner().invoke(app, [*words])
    assert isinstance(done.exception, DistilSearchError), done.exception
    assert any(word in str(done.exception) for word in ("holds no", "is a file", "is no page", "link", "is a folder",
                                                        "teacher", "folder you are in")), done.exception  # fmt: skip
    assert _snapshot(tmp_path) == before


@pytest.mark.parametrize("command", [["home"], ["home", "--clean", "--yes"], ["tables", "list"]])
def test_a_home_that_is_a_users_folder_is_refused(
    place: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    """Otherwise cleaning would remove the user's own `trials/`."""
    (place / "trials" / "first").mkdir(parents=True)
    (place / "trials" / "first" / "weights.bin").write_text("mine")
    monkeypatch.setenv("DISTILSEARCH_HOME", str(place))
    before = _snapshot(place)
    done = CliRunner().invoke(app, command)
    assert "holds no home of distilsearch" in str(done.exception)
    assert _snapshot(place) == before
