"""A busy session ruins no table: it is waited out, left out, told, measured again, and can be dropped."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from distilsearch.cli import app
from distilsearch.errors import InputError
from distilsearch.operators import Operator, Serving
from distilsearch.predictors.latency import LatencyPredictor
from distilsearch.profiling import LatencyTable, measure, merge, profile
from distilsearch.profiling.measuring.quiet import PATIENCE, await_quiet, patience_seconds, slowness
from distilsearch.profiling.tables import rounds as files
from distilsearch.profiling.tables.remarks import busy
from distilsearch.profiling.tables.sessions import drop, sessions
from distilsearch.profiling.tables.transfer import pull, push
from distilsearch.space import SearchSpace

Fake = Callable[..., Any]
LOUD = {"disturbed": lambda now: True, "slower": 7.0}


@pytest.fixture
def ruined(space: SearchSpace, serving: Serving, store: Path, make_fake: Fake) -> LatencyTable:
    """A table of a quiet session for one length and a busy one, which the first does not cover, for another."""
    quiet, loud = make_fake(), make_fake(**LOUD)
    profile(space, quiet, serving, store, models=2, clock=quiet.clock)
    return profile(space, loud, Serving(sequence=16, threads=1), store, models=2, clock=loud.clock)


@pytest.mark.parametrize(("slower", "wanted"), [(1.0, 1.0), (1.7, 1.7), (7.0, 7.0), (15.0, 15.0)])
def test_how_slow_the_machine_is_now(serving: Serving, make_fake: Fake, slower: float, wanted: float) -> None:
    device = make_fake(disturbed=lambda now: True, slower=slower)
    assert slowness(device, serving, device.clock, {"1": 2e-4}) == pytest.approx(wanted, rel=0.05)


def test_without_an_earlier_session_its_own_quiet_moments_tell(serving: Serving, make_fake: Fake) -> None:
    device = make_fake(disturbed=lambda now: now % 0.02 > 0.004, slower=7.0)
    assert slowness(device, serving, device.clock, {}) > 2


def test_a_quieter_machine_is_waited_for_with_a_word(serving: Serving, make_fake: Fake) -> None:
    start, told = 1000.0, []
    device = make_fake(disturbed=lambda now: now < start + 9, slower=7.0)
    now = await_quiet(device, serving, device.clock, {"1": 2e-4}, 60, lambda *said: told.append(said[0]))
    assert now < 1.2
    assert 8 < device.clock.now() - start < 13
    assert set(told) == {"waiting for a quieter machine (7.1 times slower than at its best), at most 60 s"}


def test_patience_ends(serving: Serving, make_fake: Fake) -> None:
    device, told = make_fake(**LOUD), []
    assert await_quiet(device, serving, device.clock, {"1": 2e-4}, 20, lambda *said: told.append(said[0])) > 6
    assert 20 < device.clock.now() - 1000 < 25
    assert "stays busy" in told[-1]


def test_a_budget_is_not_spent_on_waiting(space: SearchSpace, serving: Serving, store: Path, make_fake: Fake) -> None:
    quiet, loud = make_fake(), make_fake(**LOUD)
    profile(space, quiet, serving, store, models=0, clock=quiet.clock)
    profile(space, loud, Serving(sequence=4, threads=1), store, 10.0, models=0, clock=loud.clock)
    assert loud.clock.now() - 1000 < 16


def test_what_a_busy_session_timed_is_told_and_left_out(
    ruined: LatencyTable, space: SearchSpace, serving: Serving, make_fake: Fake
) -> None:
    spoilt = [row for row in ruined.operators if row.measured.disturbed]
    assert spoilt
    assert all(row.operator.sizes["sequence"] == 16 for row in spoilt)
    assert "others used the machine (its sentinel up to 7." in busy(ruined)
    predictor, device = LatencyPredictor.fit(ruined), make_fake()
    for sequence in (8, 16):
        asked = Serving(sequence=sequence, threads=1)
        models = space.decode(space.grid(100)[::7])
        truth = np.array([1e3 * device.true_seconds(model, asked) for model in models])
        p = predictor.predict(models, asked)
        assert np.abs(np.log(p.mean_ms / truth)).max() < np.log(1.5)
        assert (p.upper_ms / p.lower_ms).max() < (2.5 if sequence == 8 else 10)  # of 16 nothing calm is known
    assert ruined.meta.noise_floor < 0.05


def test_a_quiet_machine_measures_again_what_was_spoilt(
    ruined: LatencyTable, space: SearchSpace, store: Path, make_fake: Fake
) -> None:
    asked, still, quiet = Serving(sequence=16, threads=1), make_fake(**LOUD), make_fake()
    told: list[str] = []
    again = profile(space, still, asked, store, models=2, clock=still.clock, progress=lambda *s: told.append(s[0]))
    assert not any(isinstance(work, Operator) for work in still.prepared)  # not while it is busy still
    assert "stays busy" in told[-1]
    assert again.operators == ruined.operators
    mended = profile(space, quiet, asked, store, models=2, clock=quiet.clock)
    assert not busy(mended)
    for row in mended.operators:
        truth = quiet.true_seconds(row.operator, asked)
        assert row.measured.seconds_p10 == pytest.approx(truth, rel=0.06)
    idle = make_fake()
    profile(space, idle, asked, store, models=2, clock=idle.clock)
    assert not idle.prepared


def test_a_table_of_a_busy_session_alone_still_predicts(
    space: SearchSpace, serving: Serving, store: Path, make_fake: Fake
) -> None:
    bursts = make_fake(disturbed=lambda now: now % 1.0 > 0.2, slower=5.0)
    table = profile(space, bursts, serving, store, models=2, clock=bursts.clock)
    assert LatencyPredictor.fit(table).predict(space.decode(space.grid(100)[:3]), serving).mean_ms.min() > 0


def test_a_model_measured_while_busy_says_so(
    ruined: LatencyTable, space: SearchSpace, store: Path, make_fake: Fake
) -> None:
    loud = make_fake(**LOUD)
    (timing,) = measure(
        space.decode(space.grid(100)[:1]), loud, Serving(sequence=8, threads=1), store, clock=loud.clock
    )
    assert timing.disturbed


@pytest.mark.parametrize(("said", "wanted"), [("0", 0.0), ("2.5", 2.5), ("600", 600.0)])
def test_patience_is_what_the_environment_says(monkeypatch: pytest.MonkeyPatch, said: str, wanted: float) -> None:
    monkeypatch.setenv(PATIENCE, said)
    assert patience_seconds() == wanted


@pytest.mark.parametrize("said", ["long", "-1", "nan", "inf", ""])
def test_patience_that_is_no_time_is_refused(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv(PATIENCE, said)
    with pytest.raises(InputError, match="expected seconds of 0 and more in DISTILSEARCH_PATIENCE"):
        patience_seconds()


def test_sessions_are_listed_and_one_is_dropped(
    ruined: LatencyTable, store: Path, tmp_path: Path, serving: Serving
) -> None:
    folder = ruined.folder
    assert folder is not None
    assert push(str(tmp_path / "away"), store)
    first, second = sessions(folder)
    assert first.slowness == pytest.approx(1.0, abs=0.1)
    assert second.slowness > 6
    said = CliRunner().invoke(app, ["tables", "check", str(folder), "--noisy"]).output
    assert f"session {second.name}" in said
    assert "disturbed: operator linear(" in said
    gone = CliRunner().invoke(app, ["tables", "drop", second.name[:8], str(folder)]).output
    assert gone.startswith(f"{second.rounds} rounds of the session {second.name}")
    left = LatencyTable.read(folder)
    assert not busy(left)
    assert [session.name for session in sessions(folder)] == [first.name]
    assert sum(len(files.read(path).rows) for path in (folder / files.DROPPED).iterdir()) >= second.rounds
    assert pull(str(tmp_path / "away"), store) == []  # what was dropped does not come back by itself
    assert LatencyTable.read(folder).operators == left.operators
    for path in (folder / files.DROPPED).iterdir():
        path.rename(folder / files.ROUNDS / path.name)
    assert LatencyTable.read(folder).operators == ruined.operators


def test_of_a_file_of_two_sessions_the_other_one_stays(tmp_path: Path) -> None:
    def row(session: str, number: int) -> files.Row:
        regime = files.Regime("float32", "eager", 1)
        signature = "norm(batch=1,norm=layer,residual=1,sequence=8,width=48)"
        return files.Row("operator", signature, regime, session, number, 1e-3, 1e-4, None, None, None, float(number))

    rows = [row("aaaaaa1", 0), row("bbbbbb2", 1), row("aaaaaa1", 2)]
    files.append(tmp_path / "here", rows, {"model": "abacus"}, {"torch": "1"})
    assert drop(tmp_path / "here", "aaaaaa") == ("aaaaaa1", 2)
    (part,) = files.read_all(tmp_path / "here")
    assert part.rows["session"].to_pylist() == ["bbbbbb2"]
    for name in ("cccccc", "a", "aaaaaa"):
        with pytest.raises(InputError, match="expected one session of this table"):
            drop(tmp_path / "here", name)
    merge([tmp_path / "here"], tmp_path / "store")
    assert drop(tmp_path / "here", "bbbbbb2") == ("bbbbbb2", 1)
    assert files.read_all(tmp_path / "here") == []
