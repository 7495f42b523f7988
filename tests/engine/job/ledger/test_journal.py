"""A journal that was cut, flipped, filled or left locked goes on with all that stands before the damage."""

import errno
import json
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from distilsearch.engine.job.ledger import Ledger, journal, open_storage
from distilsearch.engine.job.ledger.journal import JournalFile, opened, sealed
from distilsearch.errors import DiskFullError, RunError
from distilsearch.families import family

SPACE = family("bert").space({"layers": [1, 2]})
STUDENTS = SPACE.decode(np.unique(SPACE.sample(64, np.random.default_rng(0)), axis=0)[:6])


def ledger_in(folder: Path, said: list[str] | None = None, mend: bool = True) -> Ledger:
    said = [] if said is None else said
    storage = open_storage("", folder, lambda what, *_: said.append(what), mend)
    return Ledger(storage, "run", ["loss", "latency_ms"], SPACE)


def filled(folder: Path, trials: int = 3) -> bytes:
    """A journal of some complete trials, as bytes."""
    ledger = ledger_in(folder)
    for place, student in enumerate(STUDENTS[:trials]):
        ledger.complete(ledger.open(student), [0.5 + place, 3.0], {"tokens": place})
    return (folder / "journal.log").read_bytes()


def losses(ledger: Ledger) -> list[float]:
    return [entry.values[0] for entry in ledger.entries() if entry.state == "complete"]


def test_optuna_itself_reads_what_is_written(tmp_path: Path) -> None:
    filled(tmp_path)
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "journal.log")))
    assert [t.values[0] for t in optuna.load_study(study_name="run", storage=storage).trials] == [0.5, 1.5, 2.5]


def test_what_optuna_wrote_still_opens(tmp_path: Path) -> None:
    lines = filled(tmp_path).splitlines()
    plain = [{key: value for key, value in json.loads(line).items() if key != "crc"} for line in lines]
    (tmp_path / "journal.log").write_text("".join(json.dumps(log) + "\n" for log in plain))
    assert losses(ledger_in(tmp_path)) == [0.5, 1.5, 2.5]


def test_wherever_a_write_was_cut_off_every_whole_line_counts(tmp_path: Path) -> None:
    path, data = tmp_path / "journal.log", filled(tmp_path)
    last = data.rstrip(b"\n").rfind(b"\n") + 1
    for end in (last + 1, (last + len(data)) // 2, len(data) - 1):
        path.write_bytes(data[:end])
        said: list[str] = []
        assert losses(ledger_in(tmp_path, mend=False)) == [0.5, 1.5]
        ledger = ledger_in(tmp_path, said)
        assert losses(ledger) == [0.5, 1.5]
        assert f"its {end - last} bytes are taken out" in said[0]
        ledger.add(STUDENTS[5], [9.0, 1.0], {})
        assert losses(ledger_in(tmp_path)) == [0.5, 1.5, 9.0]


def test_a_line_that_was_cut_off_while_others_work_does_not_spoil_theirs(tmp_path: Path) -> None:
    ledger = ledger_in(tmp_path)
    with (tmp_path / "journal.log").open("ab") as file:
        file.write(sealed({"op_code": 4, "worker_id": "a"})[:10])
    ledger.add(STUDENTS[0], [1.0, 1.0], {})
    assert losses(ledger_in(tmp_path)) == [1.0] == losses(ledger)


def test_what_cannot_be_read_is_named_by_its_line_and_set_aside(tmp_path: Path) -> None:
    path, data = tmp_path / "journal.log", filled(tmp_path)
    lines = data.splitlines(keepends=True)
    chance, before = random.Random(0), len(lines) // 2
    for kind in ("flip", "empty", "text", "list", "binary"):
        spoilt = {"flip": bytearray(lines[before]), "empty": b"\n", "text": b"what is this\n", "list": b"[1]\n"}
        bad = spoilt.get(kind, b"\xff\xfe\n")
        if isinstance(bad, bytearray):
            bad[chance.randrange(len(bad) - 1)] ^= 1 << chance.randrange(7)
        path.write_bytes(b"".join([*lines[:before], bytes(bad), *lines[before + 1 :]]))
        said: list[str] = []
        ledger = ledger_in(tmp_path, said)
        assert f"line {before + 1} of {path} cannot be read" in said[0], kind
        assert f"the {before} lines before it count" in said[0].lower()
        assert path.read_bytes() == b"".join(lines[:before])
        assert len(ledger.entries()) < 3
        ledger.add(STUDENTS[5], [9.0, 1.0], {})
        assert 9.0 in losses(ledger_in(tmp_path))
    aside = sorted(tmp_path.glob("journal.damaged-*.log"))
    assert len(aside) == 5
    assert aside[0].read_bytes().endswith(b"".join(lines[before + 1 :]))


def test_no_flipped_bit_goes_unseen() -> None:
    line = sealed({"op_code": 6, "worker_id": "a-1", "trial_id": 3, "state": 1, "values": [0.25, 1.5]})
    for place in range(len(line) - 1):
        for bit in range(8):
            flipped = bytearray(line)
            flipped[place] ^= 1 << bit
            with pytest.raises(ValueError, match=r"JSON|object|checksum|operation"):
                opened(bytes(flipped))
    assert opened(line)["values"] == [0.25, 1.5]


def test_a_line_that_only_looks_like_one_of_optunas_is_set_aside_too(tmp_path: Path) -> None:
    data = filled(tmp_path)
    with (tmp_path / "journal.log").open("ab") as file:
        file.write(sealed({"op_code": 4, "worker_id": "a"}))
    said: list[str] = []
    assert losses(ledger_in(tmp_path, said)) == [0.5, 1.5, 2.5]
    assert "KeyError" in said[0]
    assert (tmp_path / "journal.log").read_bytes() == data


# Locks


@pytest.mark.parametrize("target", ["runs/elsewhere/journal.log", "journal.log"])
def test_a_lock_link_that_was_left_behind_delays_nobody(tmp_path: Path, target: str) -> None:
    filled(tmp_path)
    link = tmp_path / "journal.log.lock"
    link.symlink_to(target)
    assert losses(ledger_in(tmp_path)) == [0.5, 1.5, 2.5]
    assert link.is_symlink()  # it may be another tool's, which writes now
    os.utime(link, (0, 0), follow_symlinks=False)
    said: list[str] = []
    ledger_in(tmp_path, said).add(STUDENTS[5], [9.0, 1.0], {})
    assert "was left by a process that was killed" in said[0]
    assert not link.is_symlink()


# Full disks


def small_disk(folder: Path, kilobytes: int) -> bool:
    """Mount a file system of so many kilobytes there; whether that is allowed."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    return os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not small_disk(folder, 256):
        pytest.skip("mounting is not allowed here; an injected full disk is tested in any case")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_named_and_the_journal_goes_on_when_there_is_room(disk: Path) -> None:
    data = filled(disk)
    ledger = ledger_in(disk)
    with pytest.raises(OSError, match="No space"):
        (disk / "filler").write_bytes(b"x" * (1 << 20))
    with pytest.raises(DiskFullError, match=f"the disk of {disk} is full"):
        ledger.add(STUDENTS[4], [9.0, 1.0], {"text": "x" * 10_000})
    whole = (disk / "journal.log").read_bytes()
    assert whole == data
    (disk / "filler").unlink()
    ledger.add(STUDENTS[5], [8.0, 1.0], {})
    assert losses(ledger) == losses(ledger_in(disk)) == [0.5, 1.5, 2.5, 8.0]


@pytest.mark.parametrize("written", [0, 1, 40])
def test_a_write_that_fails_half_way_leaves_no_half_line(tmp_path, monkeypatch, written) -> None:
    data, ledger = filled(tmp_path), ledger_in(tmp_path)
    real = os.write

    def full(file: int, content: bytes) -> int:
        if written and len(content) > written:
            return real(file, content[:written]) if os.fstat(file).st_size == len(data) else full(file, b"")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(journal.os, "write", full)
        with pytest.raises(DiskFullError, match="free some space there and call again"):
            ledger.add(STUDENTS[4], [9.0, 1.0], {})
    assert (tmp_path / "journal.log").read_bytes() == data
    ledger.add(STUDENTS[5], [8.0, 1.0], {})
    assert losses(ledger_in(tmp_path)) == [0.5, 1.5, 2.5, 8.0]


def test_a_journal_that_cannot_be_written_says_why(tmp_path: Path) -> None:
    (tmp_path / "journal.log").mkdir()
    with pytest.raises(RunError, match="cannot write"):
        JournalFile(tmp_path / "journal.log").append_logs([])
