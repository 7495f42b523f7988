"""Lines of progress where there is no terminal."""

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


def test_an_interruption_says_how_to_go_on() -> None:
    with pytest.raises(Interrupted, match="the same command goes on"), cli_progress.shown_progress():
        raise KeyboardInterrupt
