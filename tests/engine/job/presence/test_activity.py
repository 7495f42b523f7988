"""What a driver is doing is seen from outside, from the first moment on and while he is there."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from distilsearch.cli import app
from distilsearch.engine.job.joining.status import status
from distilsearch.engine.job.presence.activity import ACTIVITY, activity_of, at_work, shown_activity
from distilsearch.engine.job.presence.holding import driving
from distilsearch.errors import RunError


def test_what_is_under_way_is_said_while_somebody_drives(tmp_path: Path) -> None:
    said: list[tuple[str, float, float]] = []
    with driving(tmp_path), shown_activity(tmp_path, lambda *words: said.append(words)) as progress:
        assert activity_of(tmp_path)[1] == ""
        progress("profile and predict", 0, 1)
        progress("timing operators", 3, 40)
        progress("this is a remark", 0, 0)
        assert re.search(r"^process \d+ on .* is at work on it \(profile and predict; timing operators: 3 of 40\)$",
                         at_work(tmp_path))  # fmt: skip
        progress("timing attention", 40, 40)
        progress("profile and predict", 1, 1)
        progress("finish", 0, 1)
        assert activity_of(tmp_path)[1] == "finish"  # nobody has said that operators are no longer timed
    assert at_work(tmp_path) == ""
    assert said[2] == ("this is a remark", 0, 0)
    assert [*tmp_path.iterdir()] == []


def test_work_side_by_side_is_back_with_its_next_word(tmp_path: Path) -> None:
    with driving(tmp_path), shown_activity(tmp_path, lambda *_: None) as progress:
        progress("search", 0, 1)
        progress("distil (trial 1)", 10, 90)
        progress("distil (trial 2)", 10, 80)
        progress("distil (trial 1)", 90, 90)
        progress("trials", 1, 18)
        assert activity_of(tmp_path)[1] == "search; trials: 1 of 18"
        progress("distil (trial 3)", 10, 70)
        assert activity_of(tmp_path)[1] == "search; distil (trial 3): 10 of 70"


def test_a_short_line_covers_a_long_one_in_any_letters(tmp_path: Path) -> None:
    from distilsearch.engine.job.presence.activity import MOST

    with driving(tmp_path), shown_activity(tmp_path, lambda *_: None) as progress:
        progress("\N{GRINNING FACE}" * MOST, 0, 1)
        assert activity_of(tmp_path)[1] == "\N{GRINNING FACE}" * MOST
        progress("\N{GRINNING FACE}" * MOST, 1, 1)
        progress("finish", 0, 1)
        assert activity_of(tmp_path)[1] == "finish"


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("mine")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ACTIVITY).symlink_to(own)
    with shown_activity(folder, lambda *_: None) as progress:
        progress("finish", 0, 1)
    assert own.read_text() == "mine"


def test_one_kind_of_work_is_written_down_no_oftener_than_every_second(tmp_path: Path) -> None:
    from distilsearch.engine.job.presence import activity

    now = [0.0]
    with (tmp_path / ACTIVITY).open("w+b") as file:
        told = activity.Activity(file.fileno(), lambda *_: None, lambda: now[0])
        for done in range(3):
            told("timing", done, 3)
            now[0] += 0.4
        assert activity.read_activity(tmp_path / ACTIVITY) == "timing: 0 of 3"
        told("timing", 2, 3)
        assert activity.read_activity(tmp_path / ACTIVITY) == "timing: 2 of 3"


@pytest.mark.parametrize(
    ("content", "said"), [("", ""), ("[]", ""), ("{", ""), ('{"doing": 3}', ""), ('{"doing": "a\\u001b[2Jb"}', "a[2Jb")]
)
def test_whatever_stands_there_is_no_traceback_and_no_command_to_the_terminal(
    tmp_path: Path, content: str, said: str
) -> None:
    with driving(tmp_path):
        (tmp_path / ACTIVITY).write_text(content)
        assert activity_of(tmp_path)[1] == said


def test_where_it_cannot_be_written_the_run_goes_on(tmp_path: Path) -> None:
    (tmp_path / ACTIVITY).mkdir()
    said: list[tuple[str, float, float]] = []
    with shown_activity(tmp_path, lambda *words: said.append(words)) as progress:
        progress("finish", 0, 1)
    assert said == [("finish", 0, 1)]


def test_status_and_report_of_a_run_that_has_not_begun_say_who_is_at_work_on_it(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    with driving(folder), shown_activity(folder, lambda *_: None) as progress:
        progress("reading teacher and text", 1, 2)
        outcome = CliRunner().invoke(app, ["status", str(folder)])
        refused = CliRunner().invoke(app, ["report", str(folder)]).exception
        assert status(folder).to_json()["doing"] == "reading teacher and text: 1 of 2"
    assert outcome.output.startswith("mine: not begun yet\nprocess ")
    assert "is at work on it: reading teacher and text: 1 of 2" in outcome.output
    assert isinstance(refused, RunError)
    assert re.search(r"no result in .* yet: process .*reading teacher.*`distilsearch status", str(refused))
    with pytest.raises(RunError, match="there is no run in"):
        status(folder)
