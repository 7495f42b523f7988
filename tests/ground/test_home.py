"""Locks and the format of the shared folder."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from distilsearch import __version__
from distilsearch.errors import RunError
from distilsearch.home import FORMAT, MARK, file_lock, home, tables_folder, trials_folder


def test_who_waits_for_a_lock_is_told_so(tmp_path: Path) -> None:
    path, told = tmp_path / "lock", threading.Event()
    with file_lock(path, lambda: told.set()):
        pass
    assert not told.is_set()
    hold = f"""
import sys
from pathlib import Path
from distilsearch.home import file_lock
with file_lock(Path({str(path)!r})):
    print("held", flush=True)
    sys.stdin.readline()
"""
    with subprocess.Popen([sys.executable, "-c", hold], stdin=-1, stdout=-1, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "held\n"

        def release() -> None:
            told.set()
            holder.stdin.write("go\n")  # type: ignore[union-attr]
            holder.stdin.flush()  # type: ignore[union-attr]

        with file_lock(path, release):
            assert told.is_set()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the home is to be, not there yet."""
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_new_home_is_marked_with_its_format(place: Path) -> None:
    assert trials_folder().parent == home() == place
    assert json.loads((place / MARK).read_text()) == {"format": FORMAT, "version": __version__}


def test_an_older_home_has_no_mark_and_stays_as_it_is(place: Path) -> None:
    (place / "trials").mkdir(parents=True)
    assert home() == place
    assert [path.name for path in place.iterdir()] == ["trials"]


def test_the_home_of_a_newer_version_is_refused_by_name(place: Path) -> None:
    place.mkdir()
    (place / MARK).write_text(json.dumps({"format": FORMAT + 1, "version": "7.0"}))
    said = rf"format {FORMAT + 1}, written by distilsearch 7.0; this is {__version__}.* DISTILSEARCH_HOME"
    for ask in (home, tables_folder, trials_folder):
        with pytest.raises(RunError, match=said):
            ask()
    assert [path.name for path in place.iterdir()] == [MARK]


@pytest.mark.parametrize("damaged", ["", "{", "[]", "3", '{"format": "1"}', '{"format": true}', '{"format": 0}'])
def test_a_damaged_mark_says_what_to_do(place: Path, damaged: str) -> None:
    place.mkdir()
    (place / MARK).write_text(damaged)
    with pytest.raises(RunError, match=r"home.json is damaged.*DISTILSEARCH_HOME"):
        home()


def test_the_format_is_looked_up_once(place: Path) -> None:
    home()
    (place / MARK).write_text(json.dumps({"format": FORMAT + 1}))
    assert home() == place


def test_a_home_that_another_process_is_just_about_to_mark_is_a_home(tmp_path: Path, monkeypatch) -> None:
    place = tmp_path / "home"
    place.mkdir()
    (place / ".home.json.4f9a").write_text("{")
    monkeypatch.setenv("DISTILSEARCH_HOME", str(place))
    assert home() == place
