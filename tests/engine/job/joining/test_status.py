"""Where a run stands, read from its ledger by somebody else."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from distilsearch.cli import app
from distilsearch.engine.job.joining.status import status
from distilsearch.engine.job.ledger import Ledger, open_storage
from distilsearch.engine.job.plans.phases import Stopwatch
from distilsearch.engine.job.presence.activity import ACTIVITY, shown_activity
from distilsearch.engine.job.presence.holding import driving
from distilsearch.engine.job.runfile.config import Run
from distilsearch.errors import RunError
from distilsearch.families import family

SPACE = family("bert").space({"layers": [1, 2], "width": [64], "heads": [2], "ffn": [64], "inherit": ["even"]})
ONE, TWO = SPACE.decode(SPACE.grid(10)[:2])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    genes = {"layers": [1, 2], "width": [64], "heads": [2], "ffn": [64], "inherit": ["even"]}
    run = Run.parse({"name": "mine", "teacher": "t", "text": ["x"], "trials": 7, "space": genes})
    (tmp_path / "run.toml").write_text(run.to_toml())
    return tmp_path


def opened(folder: Path) -> Ledger:
    return Ledger(open_storage("", folder), "mine", ["loss", "latency_ms"], SPACE)


def test_looking_at_a_run_loads_nothing_that_trains_predicts_or_opens_databases(folder: Path) -> None:
    opened(folder).close()
    code = (
        "import sys\nfrom distilsearch.cli import app\n"
        f"try: app(['status', {str(folder)!r}])\nexcept SystemExit: pass\nprint('\\n'.join(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("mine: none yet, of 7 trials")
    heavy = {"torch", "xgboost", "transformers", "botorch", "scipy", "sklearn", "pandas", "pyarrow", "sqlalchemy"}
    assert not heavy & set(run.stdout.split())


def test_a_run_at_work_says_who_works_on_what(folder: Path) -> None:
    ledger = opened(folder)
    ledger.complete(ledger.open(ONE), [0.25, 3.0], {})
    ledger.add(TWO, [0.1, 2.0], {"source": "imported"})
    ledger.open(TWO)
    ledger.note("phases", {"distil and measure": 12.3})
    ledger.note("resolved", {"precision": "bf16", "workers": 2, "threads": 1})
    stand = status(folder)
    assert (stand.asked, stand.states, stand.best, stand.finished) == (7, {"complete": 1, "running": 1}, 0.25, False)
    words = "\n".join(stand.lines(datetime.now() + timedelta(seconds=30)))
    assert "mine: 1 complete, 1 running, of 7 trials" in words
    assert "layers=2" in words
    fewer = replace(stand, asked=0)
    assert "mine: 1 complete, 1 running, more than now asked for: 0 trials" in fewer.lines(datetime.now())[0]
    anew = replace(stand, finished=True)
    assert anew.lines(datetime.now())[0] == "mine: 1 complete, 1 running, of 7 trials; its result is of an earlier call"
    ended = replace(anew, running=(), states={"complete": 2})
    assert ended.lines(datetime.now())[0] == "mine: 2 complete, of 7 trials, finished"
    assert not any(one.left for one in (stand, anew, ended))
    assert f"pid {ledger.entries()[2].lease['pid']}" in words
    assert "trainers: 2, threads of each: 1" in words
    assert "vocabulary" not in words
    assert "distil and measure: 12 s" in words


def test_a_run_that_was_stopped_says_that_nobody_is_at_work_on_it(folder: Path) -> None:
    opened(folder).close()
    words = status(folder).lines(datetime.now())
    assert words[1:] == ["nobody is known to be at work on it: called again, the search goes on from here"]
    with driving(folder):
        assert "nobody" not in "\n".join(status(folder).lines(datetime.now()))


def test_a_run_of_some_minutes_says_how_many_have_gone(folder: Path) -> None:
    text = (
        (folder / "run.toml").read_text().replace("trials = 7", "trials = 0").replace("minutes = 0.0", "minutes = 10")
    )
    (folder / "run.toml").write_text(text)
    ledger = opened(folder)
    assert status(folder).lines(datetime.now())[0] == "mine: none yet, no plan yet, 0.0 of 10 minutes"
    ledger.complete(ledger.open(ONE), [0.25, 3.0], {})
    ledger.note("plan", {"trials": 18})
    ledger.note("spent_seconds", 150.0)
    assert status(folder).lines(datetime.now())[0] == "mine: 1 complete, of about 18 trials, 2.5 of 10 minutes"
    ledger.complete(ledger.open(TWO), [0.25, 3.0], {})
    ledger.note("plan", {"trials": 1})
    assert "mine: 2 complete, more than planned: about 1 trials" in status(folder).lines(datetime.now())[0]


def test_a_phase_counts_while_it_lasts(folder: Path) -> None:
    text = (
        (folder / "run.toml").read_text().replace("minutes = 0.0", "minutes = 10").replace("trials = 7", "trials = 0")
    )
    (folder / "run.toml").write_text(text)
    ledger = opened(folder)
    ledger.note("phases", {"read and open": 30.0, "distil and measure": 60.0})
    with driving(folder), shown_activity(folder, lambda *_: None) as progress:
        progress("distil and measure", 0, 1)
        progress("distil", 30, 90)
        (folder / ACTIVITY).write_text(json.dumps(json.loads((folder / ACTIVITY).read_text()) | {
            "since": time.time() - 60, "heard": time.time() - 45}))  # fmt: skip
        stand = status(folder)
        lines = stand.lines(datetime.now())
        ledger.note("spent_seconds", 145.0)  # after a trial of that phase: no second of it counts twice
        assert status(folder).minutes[1] == pytest.approx(stand.minutes[1], abs=0.5)
        progress("distil and measure", 1, 1)
        assert status(folder).phases == {"read and open": 30.0, "distil and measure": 60.0}
    assert 120 <= stand.phases["distil and measure"] < 180
    assert stand.minutes is not None
    assert 2.5 <= stand.minutes[1] < 3.5  # of phases that no call has summed up yet
    assert "is at work on it: distil and measure; distil: 30 of 90 (no word for " in lines[1]
    assert stand.to_json()["doing"] == "distil and measure; distil: 30 of 90"
    assert stand.to_json()["heard"] == stand.doing.heard
    assert status(folder).minutes == (10, 145 / 60)  # nobody is at it


def test_time_that_a_killed_call_had_not_noted_is_known_by_its_phases(folder: Path) -> None:
    ledger = opened(folder)
    assert Stopwatch(ledger, time.monotonic()).seconds < 1.0
    ledger.note("spent_seconds", 60.0)
    ledger.note("phases", {"profile and predict": 50.0, "distil and measure": 90.0})
    watch = Stopwatch(ledger, time.monotonic() - 5.0)
    assert 145.0 <= watch.seconds < 200.0
    watch.note()
    assert Stopwatch(ledger, time.monotonic()).seconds >= 145.0


def test_a_trial_whose_process_is_gone_is_not_said_to_run(folder: Path) -> None:
    ledger = opened(folder)
    entry = ledger.open(ONE)
    ledger._storage.set_trial_user_attr(entry.id, "lease", entry.lease | {"started": "0"})
    (line,) = (line for line in status(folder).lines(datetime.now()) if "layers=1" in line)
    assert line.startswith("interrupted, goes on when the run is called again")


def test_looking_changes_nothing(folder: Path) -> None:
    opened(folder).open(ONE)
    before = (folder / "journal.log").read_bytes()
    outcome = CliRunner().invoke(app, ["status", str(folder)])
    assert outcome.exit_code == 0, outcome.output
    assert (folder / "journal.log").read_bytes() == before


def test_what_is_no_run_or_has_not_begun_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="has not begun"):
        status(folder)
    with pytest.raises(RunError, match="there is no run in"):
        status(tmp_path / "elsewhere")


def test_a_journal_that_is_damaged_is_said_to_be(folder: Path) -> None:
    ledger = opened(folder)
    ledger.complete(ledger.open(ONE), [0.25, 3.0], {})
    assert status(folder).damage == ""
    journal = folder / "journal.log"
    *whole, last = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(whole) + last.replace(b"0.25", b"0.35"))
    damage = status(folder).damage
    assert damage.startswith(f"line {len(whole) + 1} of {journal} cannot be read")
    assert f"warning: {damage}" in status(folder).lines(datetime.now())
