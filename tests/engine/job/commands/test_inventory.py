"""What the home holds: listed with what it is of, cleaned by age, and never what a run shows or trains."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from distilsearch.cli import app
from distilsearch.cli_words import age, home_table, print_wide, size
from distilsearch.distill.store.archive import Archive
from distilsearch.distill.store.trial import TRIAL, TRUNK
from distilsearch.engine.job.commands.inventory import Item, inventory, removable, remove
from distilsearch.errors import RunError
from distilsearch.home import home, known_runs, register_run, tables_folder, targets_folder

OLD = Path(__file__).parents[3] / "old" / "0.1.0"


@pytest.fixture(autouse=True)
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    """A home with trials, a table and outputs, none of them used for ten days."""
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path / "home"))
    shutil.copytree(OLD / "trials", home() / "trials")
    shutil.copytree(OLD / "tables", tables_folder(), dirs_exist_ok=True)
    (targets_folder() / "set-1").mkdir()
    (targets_folder() / "set-1" / "0.safetensors").write_bytes(b"0" * 100)
    (targets_folder() / "text-2.safetensors").write_bytes(b"0" * 50)
    (home() / "depot").mkdir()
    archive = Archive()
    for trial in archive.trials():
        (trial.folder / TRUNK).write_bytes(b"0" * 1_000)
    for path in home().rglob("*"):
        os.utime(path, (time.time() - 10 * 86_400,) * 2)
    return archive


def _kinds(items) -> dict[str, int]:
    kinds = [item.kind for item in items]
    return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


def test_all_that_lies_there_is_listed(archive: Archive, tmp_path: Path) -> None:
    items = inventory()
    trials = len([*archive.trials()])
    assert _kinds(items) == {
        "packed text": 1, "table": 1, "teacher outputs": 1, "trial": trials, "trunk": trials,
    }  # fmt: skip
    (one, *_) = (item for item in items if item.kind == "trial")
    files = [path for path in one.path.rglob("*") if path.is_file() and path.name != TRUNK]
    assert one.bytes == sum(path.stat().st_size for path in files)
    assert one.days == pytest.approx(10, abs=0.1)
    assert one.teacher == "teacher"
    assert one.trial is not None
    assert one.trial.loss > 0
    shown = CliRunner().invoke(app, ["home"], catch_exceptions=False, env={"COLUMNS": "200"}).stdout
    assert one.name in shown
    assert "in all" in shown


def test_a_row_of_what_lies_there_is_one_line_for_who_reads_it_from_a_pipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    run = Path("runs") / "a-run-with-a-name-as-long-as-that"
    item = Item("trunk", "0123456789ab", run, 12_000_000, 3.0, teacher="sentence-transformers", shown_by=(run,))
    print_wide(home_table([item]))
    (row,) = (line for line in capsys.readouterr().out.splitlines() if "trunk" in line)
    assert run.name in row
    assert item.teacher in row


def test_the_lock_of_whoever_times_the_machine_is_no_table_and_a_file_of_others_is_named() -> None:
    device = next(path for path in tables_folder().iterdir() if path.is_dir())
    (device / "machine.lock").touch()
    (device / "notes.txt").write_text("mine")
    items = inventory()
    assert [item.name for item in items if item.kind == "table"] == [f"{device.name}/{next(device.glob('*/')).name}"]
    assert [item.name for item in items if item.kind == "other"] == [f"{device.name}/notes.txt"]
    assert not [item for item in removable(items) if item.kind == "other"]


def test_a_run_keeps_what_it_shows(archive: Archive, tmp_path: Path) -> None:
    trials = [*archive.trials()]
    shown = trials[0].training
    (tmp_path / "run").mkdir()
    register_run(tmp_path / "run", [shown.to_json()])
    going = removable(inventory(), former=True)
    left = {trial.key for trial in trials if trial.training == shown}
    assert {item.trial.key for item in going if item.kind == "trial"} == {t.key for t in trials} - left
    assert _kinds(going)["trunk"] == len(trials)
    assert "trunk" not in _kinds(removable(inventory(), former=True, keep_trunks=True))
    remove(going)
    assert {trial.key for trial in archive.trials()} == left
    assert not list(home().rglob(TRUNK))
    assert _kinds(inventory()) == {"table": 1, "trial": len(left)}
    shutil.rmtree(tmp_path / "run")
    assert len(removable(inventory(), former=True)) == len(left)
    assert known_runs() == []
    assert not list((home() / "runs").iterdir())


def test_what_is_young_stays(archive: Archive) -> None:
    assert removable(inventory(), former=True, older_than=11) == []
    (young, *_) = archive.trials()
    os.utime(young.folder / TRIAL)
    going = removable(inventory(), former=True, older_than=9)
    assert young.key not in {item.trial.key for item in going if item.kind == "trial" and item.trial}


def test_what_is_in_training_or_of_a_newer_version_stays_and_what_is_damaged_goes(archive: Archive) -> None:
    busy, newer, damaged, *_ = archive.trials()
    (newer.folder / TRIAL).write_text('{"schema": 99}')
    (damaged.folder / TRIAL).write_text("{")
    (busy.folder / TRIAL).unlink()
    (archive.folder / ("01" * 32)).mkdir()
    (archive.folder / "drafts").mkdir()
    items = inventory()
    assert {(item.kind, item.path.name) for item in items if item.kind in ("damaged", "unfinished")} == {
        ("damaged", newer.key), ("damaged", damaged.key), ("unfinished", busy.key), ("unfinished", "01" * 32),
    }  # fmt: skip
    assert [item.path.name for item in items if item.kind == "other"] == ["drafts"]  # of whom, nobody knows
    with archive.claim(busy.key):
        going = {
            item.path.name for item in removable(inventory(), former=True) if item.kind in ("damaged", "unfinished")
        }
        assert going == {damaged.key}  # an unfinished training of today may go on
        assert "in training by process" in next(item.note for item in inventory() if item.path.name == busy.key)


def test_trials_whose_runs_left_no_notes_go_only_when_asked() -> None:
    assert "trial" not in _kinds(removable(inventory()))
    assert "trial" in _kinds(removable(inventory(), former=True))


def test_nothing_goes_while_a_note_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    register_run(tmp_path / "run", [])
    (note,) = (home() / "runs").iterdir()
    for content in ("{", json.dumps({"schema": 2}), json.dumps([1])):
        note.write_text(content)
        with pytest.raises(RunError, match="cannot tell what a run shows"):
            removable(inventory(), former=True)
    assert note.exists()


def test_cleaning_is_dry_unless_it_is_meant(archive: Archive) -> None:
    before = sorted(path for path in home().rglob("*") if path.is_file())
    dry = CliRunner().invoke(app, ["home", "--clean", "--older-than", "5"], catch_exceptions=False).stdout
    assert "would be removed" in dry
    assert sorted(path for path in home().rglob("*") if path.is_file()) == before
    done = (
        CliRunner()
        .invoke(app, ["home", "--clean", "--yes", "--keep-trunks", "--former"], catch_exceptions=False)
        .stdout
    )
    assert "removed: " in done
    assert [*archive.trials()] == []
    assert list(tables_folder().glob("*/*"))


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 B"), (999, "999 B"), (1_500, "1.5 kB"), (150_000, "150 kB"), (2.5e9, "2.5 GB")]
)
def test_sizes_are_for_people(count: float, words: str) -> None:
    assert size(count) == words


def test_ages_are_for_people() -> None:
    assert [age(days) for days in (0.25, 1.6, 40)] == ["6 h", "2 d", "40 d"]
