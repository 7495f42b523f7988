"""Every error a user can meet: one base, few leaves. Each message says what was expected, what came, and what to do.

The leaf decides the exit code of the command line, so that scripts can tell bad input (2) from a damaged
table (3) and a failed trial (4).
"""

import difflib
from collections.abc import Iterable


class DistilSearchError(Exception):
    """Base of all errors raised on purpose."""

    exit_code = 1


class InputError(DistilSearchError):
    """What the user asked for cannot be done: run file, space, architecture or arguments."""

    exit_code = 2


class TeacherError(InputError):
    """The teacher is missing, is not a model, or disagrees with its tokenizer."""


class TextError(InputError):
    """The text is missing, empty, binary or too small."""


class DeviceError(InputError):
    """The device is not there, or cannot do what was asked."""


class RunError(InputError):
    """The run folder belongs to another run, or cannot be written."""


class DiskFullError(RunError):
    """A disk is full, or a quota used up: no failure of any trial. The same call goes on once there is room."""


class TableError(DistilSearchError):
    """A latency table or predictor file is damaged, foreign or newer than this version."""

    exit_code = 3


class LackingError(TableError):
    """A latency table is sound, and lacks what is asked for: `lacks` says what.

    Whoever knows the table's machine and the run names the command that adds it, instead of `cure`.
    """

    def __init__(self, lacks: str, cure: str = "") -> None:
        super().__init__(f"{lacks}: {cure}" if cure else lacks)
        self.lacks = lacks


class TrialError(DistilSearchError):
    """One trial failed; the message carries the cause.

    `transient` causes lie outside the student (a killed process, a broken installation): it may be tried again.
    """

    exit_code = 4

    def __init__(self, message: str, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class Interrupted(DistilSearchError):  # noqa: N818 - what happened, and no error
    """The work was asked to stop and has saved what it had; the same call goes on."""

    exit_code = 130


def unknown(what: str, name: str, known: Iterable[str]) -> InputError:
    """The error for a name that is not in a list: it names the nearest known one, and all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return InputError(f"unknown {what} {name!r}: {hint}known: {', '.join(names) or '(none)'}")
