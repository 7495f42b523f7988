"""What may be written is recognised by its own marks; a place of somebody else's is refused and left as it is."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from distilsearch.errors import RunError
from distilsearch.home import replace_folder
from distilsearch.places import (
    FIDELITY,
    HOME,
    PAGE,
    RUN,
    STORE,
    STUDENT,
    STUDENTS,
    Kind,
    own_file,
    own_folder,
    own_run,
    own_student,
)

OLD = Path(__file__).parents[1] / "old" / "0.1.0"
KINDS = (STUDENT, STUDENTS, RUN, STORE, HOME, FIDELITY)
STUDENT_CARD = "---\n---\n\n# A student of teacher\n\n| | |\n| teacher weights | sha256 abc |\n"


def make_student(folder: Path) -> Path:
    """What a student is recognised by."""
    folder.mkdir(parents=True)
    (folder / "README.md").write_text(STUDENT_CARD)
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A folder of a user."""
    (tmp_path / "notes" / "deep").mkdir(parents=True)
    (tmp_path / "notes" / "deep" / "thesis.tex").write_text("years of work")
    return tmp_path / "notes"


def _files(folder: Path, names: dict[str, str]) -> Callable[[Path], None]:
    def make(place: Path) -> None:
        for name, content in names.items():
            (place / folder / name).parent.mkdir(parents=True, exist_ok=True)
            (place / folder / name).write_text(content)

    return make


STRANGERS = {
    "a text": {"notes.txt": "mine"},
    "a hidden file": {".bashrc": "mine"},
    "a checkout": {".git/config": "", "README.md": "# A student of mine"},
    "a model": {"config.json": "{}", "model.safetensors": "", "README.md": "# bert-base"},
    "a run file": {"run.toml": 'teacher = "x"\ntext = ["y"]'},
    "an Optuna journal alone": {"journal.log": '{"op_code":0}'},
    "a result of something": {"result.json": '{"accuracy": 0.5}'},
    "damaged JSON": {"result.json": "{", "environment.json": "[]", "fidelity.json": "\0"},
    "trials of something": {"trials/first/weights.bin": ""},
    "tables of something": {"tables/2024.csv": ""},
    "short hexadecimal names": {"abc/def/rounds/x.parquet": ""},
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.what)
@pytest.mark.parametrize("names", STRANGERS.values(), ids=[*STRANGERS])
def test_a_folder_of_somebody_elses_is_refused(tmp_path: Path, kind: Kind, names: dict[str, str]) -> None:
    _files(Path(), names)(tmp_path)
    with pytest.raises(RunError, match=r"is not empty and holds no .* of distilsearch; name an empty folder"):
        own_folder(tmp_path, kind)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.what)
def test_what_is_absent_or_empty_may_be_written(tmp_path: Path, kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    assert own_folder(tmp_path / "a" / "b", kind) == tmp_path / "a" / "b"
    assert not (tmp_path / "a").exists()
    (tmp_path / "empty").mkdir()
    assert own_folder(tmp_path / "empty", kind) == tmp_path / "empty"
    monkeypatch.chdir(tmp_path)
    assert own_folder("empty/../empty", kind) == tmp_path / "empty"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.what)
def test_a_file_is_never_taken_for_a_folder(tmp_path: Path, kind: Kind) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "nowhere").symlink_to(tmp_path / "absent")
    for place, said in (("file", "is a file"), ("file/below", "which is a file"), ("nowhere", "is a symbolic link")):
        with pytest.raises(RunError, match=said):
            own_folder(tmp_path / place, kind)


def test_what_the_first_version_wrote_is_recognised(tmp_path: Path) -> None:
    home = Path(shutil.copytree(OLD, tmp_path / "home", ignore=lambda _, names: {*names} - {"tables", "trials"}))
    for part in ("tables", "trials"):
        shutil.copytree(OLD / part, home / part, dirs_exist_ok=True)
    for kind, folder in {
        RUN: OLD / "run",
        STUDENT: next((OLD / "trials").iterdir()) / "student",
        STORE: OLD / "tables",
        FIDELITY: OLD / "run",
        HOME: home,
    }.items():
        assert own_folder(folder, kind) == folder


def test_a_folder_with_a_student_below_takes_more_of_them(tmp_path: Path) -> None:
    make_student(tmp_path / "students" / "abc")
    assert own_folder(tmp_path / "students", STUDENTS)
    with pytest.raises(RunError, match="holds no student"):
        own_folder(tmp_path / "students", STUDENT)


def test_a_run_whose_limits_were_refused_may_be_called_again(tmp_path: Path) -> None:
    (tmp_path / "environment.json").write_text(json.dumps({"versions": {"distilsearch": "0.2.0"}}))
    (tmp_path / "trainer.log").write_text("")
    assert own_folder(tmp_path, RUN)


def test_a_symbolic_link_is_neither_replaced_nor_written_through(tmp_path: Path, notes: Path) -> None:
    student = make_student(tmp_path / "student")
    (tmp_path / "link").symlink_to(student)
    with pytest.raises(RunError, match="link is a symbolic link to"):
        own_folder(tmp_path / "link", STUDENT)
    (student / "notes").symlink_to(notes)
    with pytest.raises(RunError, match=r"student/notes is a symbolic link, and would be written through"):
        own_folder(student, STUDENT)
    run = Path(shutil.copytree(OLD / "run", tmp_path / "run"))
    for name in ("fidelity", "students/mine", "report.html"):
        (run / name).symlink_to(notes)
        with pytest.raises(RunError, match="is a symbolic link"):
            own_run(run)
        (run / name).unlink()
    (run / "journal.log.lock").symlink_to(run / "journal.log")  # as Optuna does while it writes
    assert own_run(run) == run


def test_the_folder_one_is_in_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    student = make_student(tmp_path / "student")
    (student / "deep").mkdir()
    monkeypatch.chdir(student / "deep")
    for place in ("..", student, "."):
        with pytest.raises(RunError, match="is the folder you are in, or above it"):
            own_folder(place, STUDENT)


def test_the_teacher_and_what_holds_it_are_never_written(tmp_path: Path) -> None:
    teacher = make_student(tmp_path / "models" / "teacher")  # it may be a student itself
    for place, said in ((teacher, "is the teacher"), (tmp_path / "models", "holds the teacher")):
        with pytest.raises(RunError, match=said):
            own_student(place, str(teacher))
    (tmp_path / "link").symlink_to(tmp_path / "models")
    with pytest.raises(RunError, match="is the teacher"):
        own_student(tmp_path / "link" / "teacher", str(teacher))
    assert own_student(tmp_path / "other", str(teacher))
    assert own_student(tmp_path / "other", "owner/name")


def test_a_page_is_written_over_a_page_alone(tmp_path: Path) -> None:
    page = tmp_path / "table.html"
    assert own_file(page, PAGE) == page
    page.write_text("<h1>My homepage</h1>")
    with pytest.raises(RunError, match=r"table.html is there and is no page of distilsearch"):
        own_file(page, PAGE)
    with pytest.raises(RunError, match="is a folder"):
        own_file(tmp_path, PAGE)


def test_replacing_loses_nothing_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh, target = make_student(tmp_path / "fresh"), make_student(tmp_path / "student")
    (target / "config.json").write_text('{"mine": 1}')
    rename, calls = Path.rename, []

    def once(self: Path, to: Path) -> Path:
        calls.append(to)
        if len(calls) == 2:
            raise OSError("no space")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", once)
    with pytest.raises(OSError, match="no space"):
        replace_folder(fresh, target)
    assert (target / "config.json").read_text() == '{"mine": 1}'
