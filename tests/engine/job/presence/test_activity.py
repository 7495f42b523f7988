"""What a driver is doing is seen from outside, from the first moment on and while he is there."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from distilsearch.cli import app
from distilsearch.engine.job.joining.status import status
from distilsearch.engine.job.presence.activity import (
    ACTIVITY,
    Activity,
    Doing,
    activity_of,
    at_work,
    read_activity,
    shown_activity,
)
from distilsearch.engine.job.presence.holding import driving
from distilsearch.errors import RunError


def test_what_is_under_way_is_said_while_somebody_drives(tmp_path: Path) -> None:
    said: list[tuple[str, float, float]] = []
    with driving(tmp_path), shown_activity(tmp_path, lambda *words: said.append(words)) as progress:
        assert activity_of(tmp_path)[1].words == ""
        progress("profile and predict", 0, 1)
        progress("timing operators", 3, 40)
        progress("this is a remark", 0, 0)
        assert re.search(r"^process \d+ on .* is at work on it \(profile and predict; timing operators: 3 of 40\)$",
                         at_work(tmp_path))  # fmt: skip
        progress("timing attention", 40, 40)
        progress("profile and predict", 1, 1)
        progress("finish", 0, 1)
        assert activity_of(tmp_path)[1].words == "finish"  # nobody has said that operators are no longer timed
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
        assert activity_of(tmp_path)[1].words == "search; trials: 1 of 18"
        progress("distil (trial 3)", 10, 70)
        assert activity_of(tmp_path)[1].words == "search; distil (trial 3): 10 of 70"


def test_a_short_line_covers_a_long_one_in_any_letters(tmp_path: Path) -> None:
    from distilsearch.engine.job.presence.activity import MOST

    with driving(tmp_path), shown_activity(tmp_path, lambda *_: None) as progress:
        progress("\N{GRINNING FACE}" * MOST, 0, 1)
        assert activity_of(tmp_path)[1].words == "\N{GRINNING FACE}" * MOST
        progress("\N{GRINNING FACE}" * MOST, 1, 1)
        progress("finish", 0, 1)
        assert activity_of(tmp_path)[1].words == "finish"


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("mine")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ACTIVITY).symlink_to(own)
    with shown_activity(folder, lambda *_: None) as progress:
        progress("finish", 0, 1)
    assert own.read_text() == "mine"


class Told:
    """An activity on a clock of the test's own, and what its file says."""

    def __init__(self, path: Path) -> None:
        self.now, self._path = 1e9, path
        self._file = path.open("w+b")
        self.progress = Activity(self._file.fileno(), lambda *_: None, lambda: self.now)

    @property
    def doing(self) -> Doing:
        return read_activity(self._path)

    def close(self) -> None:
        self._file.close()


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    told = Told(tmp_path / ACTIVITY)
    yield told
    told.close()


def test_work_that_goes_on_is_written_down_no_oftener_than_every_second(told: Told) -> None:
    for done in range(3):
        told.progress("timing", done, 4)
        told.now += 0.4
    assert told.doing.words == "timing: 0 of 4"
    told.progress("timing", 3, 4)
    assert told.doing.words == "timing: 3 of 4"


def test_beginnings_and_ends_are_written_down_at_once(told: Told) -> None:
    for _ in range(3):  # however soon they follow one another
        told.progress("finish", 0, 1)
        told.progress("distil", 10, 90)
        assert told.doing.words == "finish; distil: 10 of 90"
        told.progress("distil", 90, 90)
        assert told.doing.words == "finish"
        told.progress("finish", 1, 1)
        assert told.doing.words == told.doing.phase == ""


def test_where_work_ends_the_rest_is_what_was_heard_of_last(told: Told) -> None:
    for what in ("search", "trials", "distil (trial 1)"):
        told.progress(what, 1, 90)
        told.now += 5
    told.progress("trials", 2, 90)
    told.progress("distil (trial 2)", 10, 90)
    told.progress("distil (trial 2)", 90, 90)
    assert told.doing.words == "search: 1 of 90; trials: 2 of 90"


def test_how_long_a_phase_lasts_and_how_old_the_last_word_is_are_known(told: Told) -> None:
    told.progress("search", 0, 1)
    told.now += 30
    told.progress("distil", 10, 90)
    doing = told.doing
    assert (doing.phase, doing.seconds(told.now + 5)) == ("search", 35.0)
    assert doing.said(told.now + 5) == "search; distil: 10 of 90"
    assert doing.said(told.now + 40) == "search; distil: 10 of 90 (no word for 40 s)"
    assert doing.seconds(told.now - 99) == 0.0  # a clock of another machine
    told.progress("search", 1, 1)
    assert told.doing.seconds(told.now + 5) == 0.0
    assert told.doing.said(told.now + 99) == ""


WORK = st.sampled_from(["search", "finish", "distil", "timing"])


@given(st.lists(st.tuples(WORK, st.integers(0, 3), st.integers(0, 3), st.floats(0, 3))))
def test_what_has_ended_is_never_said_to_be_done(words: list[tuple[str, int, int, float]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        told, under_way = Told(Path(folder) / ACTIVITY), set[str]()
        for what, done, total, seconds in words:
            told.progress(what, done, total)
            under_way |= {what} if done < total else set()
            under_way -= {what} if done >= total > 0 else set()
            assert {part.partition(":")[0] for part in told.doing.words.split("; ") if part} <= under_way
            assert bool(told.doing.words) <= bool(under_way)
            told.now += seconds
        told.close()


@pytest.mark.parametrize(
    ("content", "said"), [("", ""), ("[]", ""), ("{", ""), ('{"doing": 3}', ""), ('{"doing": "a\\u001b[2Jb"}', "a[2Jb")]
)
def test_whatever_stands_there_is_no_traceback_and_no_command_to_the_terminal(
    tmp_path: Path, content: str, said: str
) -> None:
    with driving(tmp_path):
        (tmp_path / ACTIVITY).write_text(content)
        assert activity_of(tmp_path)[1].words == said


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
