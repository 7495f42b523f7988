"""Lines of progress where there is no terminal."""

import errno
import signal
import subprocess
import sys

import pytest

from distilsearch import cli_progress
from distilsearch.errors import Interrupted


def test_what_has_not_moved_is_not_said_again(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(cli_progress, "LINE_SECONDS", -1.0)
    with cli_progress.shown_progress() as progress:
        for done in (0, 0, 3, 3, 3):
            progress("students", done, 3)
        progress("tokens", 3, 9)
    assert capsys.readouterr().err.splitlines() == ["students: 0 of 3", "students: 3 of 3", "tokens: 3 of 9"]


def test_words_are_shown_as_they_are(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    for terminal in (False, True):
        monkeypatch.setattr("sys.stderr.isatty", lambda there=terminal: there)
        with cli_progress.shown_progress() as progress:
            progress("2 of 5 rows hold no [text]", 0, 0)
        assert "2 of 5 rows hold no [text]\n" in capsys.readouterr().err


def test_an_interruption_says_how_to_go_on() -> None:
    with pytest.raises(Interrupted, match="the same command goes on"), cli_progress.shown_progress():
        raise KeyboardInterrupt


class Clock:
    """Seconds, as told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_work_that_far_exceeds_its_budget_says_where_the_time_went() -> None:
    clock, told = Clock(), []
    spending = cli_progress.Spending(lambda *said: told.append(said), clock)
    for what, seconds in (
        ("loading libraries", 12.0), ("waiting: another run times this machine", 30.0), ("preparing", 20.0),
        ("timing", 5.0), ("40 operators on the cpu, about 30 s", 0.0), ("preparing", 1.0), ("timing", 32.0),
    ):  # fmt: skip
        spending(what, 0, 1)
        clock.now += seconds
    (words,) = spending.over(5.0)
    assert words.startswith(
        "this took 100 s, not the 5 s asked for (timing 32 s, waiting: another run times this machine 30 s, peaks,"
        " bandwidth and launches of the device 25 s, loading libraries 12 s): a budget ends what is begun anew"
    )
    assert len(told) == 7
    assert spending.over(None) == spending.over(90.0) == []


SIGNALLED = """
import signal, sys
from distilsearch import cli_progress
number, ignored = int(sys.argv[1]), sys.argv[2] == "ignored"
signal.signal(number, signal.SIG_IGN if ignored else signal.SIG_DFL)
try:
    with cli_progress.shown_progress():
        signal.raise_signal(number)
except cli_progress.Interrupted as error:
    print(error.exit_code, error)
else:
    print("went on")
"""


def signalled(number: signal.Signals, state: str) -> str:
    """What a process of its own says that gets a signal within: one that went astray would end that of the tests."""
    words = [sys.executable, "-c", SIGNALLED, str(int(number)), state]
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=300).stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_signal_to_end_says_how_to_go_on(number: signal.Signals) -> None:
    said = signalled(number, "default")
    assert said.startswith(f"{128 + number} ")
    assert "the same command goes on" in said
    assert (number.name in said) == (number != signal.SIGINT)


def test_what_a_parent_ignores_stays_ignored() -> None:
    assert signalled(signal.SIGHUP, "ignored") == "went on\n"


def test_a_terminal_that_is_gone_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("sys.stderr.write", gone)
    with cli_progress.shown_progress() as progress:
        progress("a remark", 0, 0)
        progress("work", 1, 2)
