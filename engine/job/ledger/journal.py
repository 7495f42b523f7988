"""The journal of a run: lines of JSON as Optuna's `JournalFileBackend` writes and reads them, made to survive.

Each line ends with a checksum (`crc`, which Optuna passes over), so that a flipped byte is found. A line that was cut
off in mid-writing is cut away by whoever writes next. Where a whole line cannot be read, it and all after it are set
aside, for trials are known by their place among the lines: what stands before it counts, and students that stood after
it are found in the archive. Writers exclude each other by a lock of the system, which dies with its holder; the
link that Optuna locks with, and a killed process leaves behind, is not looked at. Whoever reads, decides and writes
holds that lock from the first to the last, so that several may work on one run.
"""

import contextlib
import fcntl
import json
import os
import threading
import time
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend

from distilsearch.disks import disk_full, is_full
from distilsearch.errors import DistilSearchError, RunError
from distilsearch.home import write_atomically
from distilsearch.progress import Progress, silent

CRC, DIGITS = "crc", 8
FIELDS = {  # of lines without a checksum, which earlier versions and Optuna's own tools wrote
    "op_code", "worker_id", "study_id", "study_name", "directions", "user_attr", "system_attr", "trial_id",
    "datetime_start", "datetime_complete", "state", "value", "values", "distributions", "params", "user_attrs",
    "system_attrs", "intermediate_values", "param_name", "param_value_internal", "distribution", "step",
    "intermediate_value",
}  # fmt: skip
LAST_OPERATION = 10
STALE_SECONDS = 60.0  # of a lock link: nobody holds one for longer than a write takes

T = TypeVar("T")


class DamagedLineError(RunError):
    """A line of a journal that cannot be read."""


class Journal(JournalStorage):
    """Optuna's storage in a journal's file, on which several processes may work."""

    def __init__(self, file: "JournalFile") -> None:
        super().__init__(file)
        self._file = file

    def alone(self, work: Callable[[], T]) -> T:
        """What `work` gives, done while nobody else writes to the journal."""
        with self._file.held():
            return work()


def nobody() -> str:
    """That nobody else is at work."""
    return ""


def open_journal(
    path: Path, progress: Progress = silent, mend: bool = True, others: Callable[[], str] = nobody
) -> JournalStorage:
    """The journal in a file, which is begun where there is none.

    Args:
        progress: is told what was cut off or set aside.
        mend: take out what cannot be read; else what stands before it is all that is seen.
        others: who else is at work on it, in words; lines are not taken out beneath them.

    Raises:
        RunError: it cannot be read or written, or has to be mended while others are at work on it.
    """
    if not mend:
        return _as_far_as_it_goes(path)
    _unlink_stale(path.with_name(f"{path.name}.lock"), progress)
    while True:
        file = JournalFile(path)
        if cut := file.cut_tail():
            progress(f"the last line of {path} was cut off in mid-writing: its {cut} bytes are taken out", 0, 0)
        try:
            return Journal(file)
        except DamagedLineError as error:
            why = str(error)
        except DistilSearchError:
            raise
        except Exception as error:  # whatever Optuna makes of a line that only looks like one of its own
            why = f"{type(error).__name__}: {error}"
        if who := others():
            raise RunError(
                f"line {file.last} of {path} cannot be read ({why}), and is not set aside while {who} is at work on the"
                " run: end that process, then call `distilsearch search` again"
            )
        progress(file.set_aside(why), 0, 0)


def _as_far_as_it_goes(path: Path) -> JournalStorage:
    """What stands before the first line that cannot be read, or that Optuna takes for none of its own."""
    most: int | None = None
    while True:
        file = JournalFile(path, lenient=True, most=most)
        try:
            return JournalStorage(file)
        except DistilSearchError:
            raise
        except Exception:  # as above; each time a line less is read
            most = file.last - 1


def unread(path: Path) -> str:
    """Which line of a journal is the first that cannot be read, and what to do; "" where all can, or there is none."""
    try:
        with path.open("rb") as file:
            lines = [line for line in file if line.endswith(b"\n")]  # the last one may still be written
    except OSError:
        return ""
    for number, line in enumerate(lines, 1):
        try:
            opened(line)
        except ValueError as error:
            return (
                f"line {number} of {path} cannot be read ({error}): what stands before it is shown, and"
                " `distilsearch search`, called again, sets it aside and goes on"
            )
    return ""


class JournalFile(BaseJournalBackend):
    """A journal's file, as an Optuna journal storage uses it.

    Args:
        lenient: end where a line cannot be read, instead of raising `DamagedLineError`; nothing is written then.
        most: how many lines are read; all of them where not given.
    """

    def __init__(self, path: Path, lenient: bool = False, most: int | None = None) -> None:
        self.path = path
        self._lenient = lenient
        self._most = most
        self._thread = threading.RLock()
        self._held: int | None = None  # the open file, while this process has locked it
        self._ends = {0: 0}  # how many lines -> where they end, in bytes
        self._last = 0  # the number of the line that was read last
        if not path.exists() and not lenient:
            with self._locked():
                pass

    @property
    def last(self) -> int:
        """The number of the line that was read last."""
        return self._last

    # Optuna's side

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """The whole lines from a number on."""
        number = log_number_from if log_number_from in self._ends else 0
        try:
            with self.path.open("rb") as file:
                file.seek(self._ends[number])
                for line in file:
                    if not line.endswith(b"\n") or number == self._most:  # somebody is writing it, or died of it
                        return
                    self._last = number + 1
                    log = self._parsed(line)
                    if log is None:
                        return
                    number += 1
                    self._ends[number] = self._ends[number - 1] + len(line)
                    if number > log_number_from:
                        yield log
        except OSError as error:
            raise RunError(f"cannot read {self.path}: {error.strerror or error}") from error

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write lines, all of them or none, to the disk itself."""
        if self._lenient:
            raise RunError(f"{self.path} does not say enough of its run; `distilsearch search`, called again, mends it")
        data = b"".join(sealed(log) for log in logs)
        with self._locked() as file:
            _cut_tail(file)
            end = os.lseek(file, 0, os.SEEK_END)
            try:
                _write(file, data)
            except BaseException:
                with contextlib.suppress(OSError):  # else whoever writes next cuts it off
                    os.ftruncate(file, end)
                raise

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else writes meanwhile; what is appended within is written under the same lock."""
        with self._locked():
            yield

    # Mending

    def cut_tail(self) -> int:
        """Take out what follows the last whole line; how many bytes that were."""
        with self._locked() as file:
            return _cut_tail(file)

    def set_aside(self, why: str) -> str:
        """Move the line that was read last, and all after it, to a file of its own; what was done, in words."""
        number, place = self._last, self._aside()
        start = self._ends.get(number - 1, 0)
        with self._locked() as file:
            size = os.lseek(file, 0, os.SEEK_END)
            data = os.pread(file, size - start, start)
            write_atomically(place, data)
            os.ftruncate(file, start)
            os.fsync(file)
        after = max(0, data.count(b"\n") - 1)
        return (
            f"line {number} of {self.path} cannot be read ({why}); it and the {after} lines after it are set aside in"
            f" {place}. The {number - 1} lines before it count, and students that were trained after it are taken from"
            " the archive"
        )

    def _aside(self) -> Path:
        """A name that is free."""
        number = 1
        while (place := self.path.with_name(f"{self.path.stem}.damaged-{number}.log")).exists():
            number += 1
        return place

    def _parsed(self, line: bytes) -> dict[str, Any] | None:
        try:
            return opened(line)
        except ValueError as error:
            if self._lenient:
                return None
            raise DamagedLineError(str(error)) from None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        """The open file, which nobody else writes meanwhile; a `RunError` where it cannot be had."""
        with self._thread:
            if self._held is not None:
                yield self._held
                return
            with self._opened() as self._held:
                try:
                    yield self._held
                finally:
                    self._held = None

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        try:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield file
            finally:
                os.close(file)
        except OSError as error:
            if is_full(error):
                raise disk_full(error, [self.path.parent]) from error
            raise RunError(f"cannot write {self.path}: {error.strerror or error}") from error


def sealed(log: Mapping[str, Any]) -> bytes:
    """A line of the journal, with its checksum."""
    text = json.dumps(log, separators=(",", ":"))
    return f'{text[:-1]},"{CRC}":"{_checksum(text)}"}}\n'.encode()


def opened(line: bytes) -> dict[str, Any]:
    """What a line says; a `ValueError` says why it cannot be read. Lines of earlier versions have no checksum."""
    try:
        log = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"no JSON: {error}") from None
    if not isinstance(log, dict):
        raise ValueError(f"expected an object; got {type(log).__name__}")
    there, given = CRC in log, log.pop(CRC, "")
    if there:
        text = line.decode().rstrip("\r\n")
        ending = f',"{CRC}":"{given}"}}'
        if not text.endswith(ending) or _checksum(text.removesuffix(ending) + "}") != given:
            raise ValueError("its checksum is not that of its content")
    elif any(isinstance(value, str) and len(value) == DIGITS for key, value in log.items() if key not in FIELDS):
        raise ValueError("its checksum has no name")
    operation, worker = log.get("op_code"), log.get("worker_id")
    if type(operation) is not int or not 0 <= operation <= LAST_OPERATION or not isinstance(worker, str):
        raise ValueError(f"no operation of a journal: op_code {operation!r:.40}")
    return log


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode()):0{DIGITS}x}"


def _write(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]
    os.fsync(file)


def _cut_tail(file: int) -> int:
    """Truncate an open file after its last line end; how many bytes went."""
    size = end = os.lseek(file, 0, os.SEEK_END)
    while end:
        start = max(0, end - 4096)
        place = os.pread(file, end - start, start).rfind(b"\n")
        if place >= 0:
            end = start + place + 1
            break
        end = start
    if end < size:
        os.ftruncate(file, end)
    return size - end


def _unlink_stale(link: Path, progress: Progress) -> None:
    """Remove the lock link of a process that was killed while it wrote, which Optuna's own tools would wait for."""
    with contextlib.suppress(OSError):
        if link.is_symlink() and time.time() - link.lstat().st_mtime > STALE_SECONDS:
            link.unlink()
            progress(f"{link} was left by a process that was killed, and is removed", 0, 0)
