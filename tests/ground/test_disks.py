"""A full disk is told from whatever wraps it, and its folder named."""

import errno
from pathlib import Path

import pytest
from safetensors import SafetensorError
from sqlalchemy.exc import OperationalError

from distilsearch.disks import disk_full, full_disks_named, is_full, without_room
from distilsearch.engine.job.jobs import perform
from distilsearch.engine.job.work.wire import parsed, rebuilt
from distilsearch.errors import DiskFullError, RunError
from distilsearch.home import write_atomically

NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


def wrapped(error: Exception, kind: type[Exception] = RunError) -> Exception:
    try:
        raise kind("cannot write") from error
    except kind as outer:
        return outer


@pytest.mark.parametrize(
    "error",
    [
        NO_SPACE,
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        wrapped(NO_SPACE),
        wrapped(wrapped(NO_SPACE), TypeError),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        OperationalError("INSERT", {}, Exception("database or disk is full")),
        DiskFullError("full"),
    ],
)
def test_full_disks_are_known_whoever_says_so(error: Exception) -> None:
    assert is_full(error)


def test_other_errors_are_not() -> None:
    assert not is_full(OSError(errno.EIO, "Input/output error"))
    assert not is_full(SafetensorError("Error while deserializing header"))
    assert not is_full(wrapped(ValueError("os error 2")))
    assert not is_full(None)


def test_the_folder_of_the_file_is_named_or_else_the_fullest(tmp_path: Path) -> None:
    named = OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "sub" / "file"))
    assert f"the disk of {tmp_path}/sub is full" in str(disk_full(wrapped(named), []))
    assert str(tmp_path) in str(disk_full(NO_SPACE, [tmp_path / "absent", tmp_path]))
    assert without_room([tmp_path]) is None


def test_within_a_run_they_are_all_of_one_class(tmp_path: Path) -> None:
    with pytest.raises(DiskFullError, match="no trial counts as failed"), full_disks_named(tmp_path):
        raise NO_SPACE
    with pytest.raises(ZeroDivisionError), full_disks_named(tmp_path):
        raise ZeroDivisionError


def test_what_a_worker_meets_arrives_as_what_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path))
    monkeypatch.setattr("distilsearch.engine.job.jobs.loads", full)
    error = rebuilt(parsed(perform("{}"))["error"])
    assert isinstance(error, DiskFullError)


def test_a_whole_file_that_finds_no_room_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise NO_SPACE

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunError) as caught:
        write_atomically(tmp_path / "file", "content")
    assert is_full(caught.value)
    assert not any(tmp_path.iterdir())
