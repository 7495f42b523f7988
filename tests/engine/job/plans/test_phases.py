"""Times of phases add up over the calls of a run, and say what there was no time for."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from distilsearch.engine.job.ledger import Ledger, open_storage
from distilsearch.engine.job.outcome.remarks import all_known, note_trained
from distilsearch.engine.job.plans.budget import Speed
from distilsearch.engine.job.plans.phases import (
    JUDGED,
    Phases,
    all_seconds,
    cut_short,
    phase_entries,
    shortened,
    waited,
    with_phases,
)
from distilsearch.engine.job.plans.planning import plan_of
from distilsearch.engine.job.runfile.config import Run
from distilsearch.engine.report.schema import Phase, ResultFile
from distilsearch.errors import InputError
from distilsearch.families import family
from distilsearch.space import Parameter, SearchSpace

SPACE = SearchSpace("generic", [Parameter("depth", (1, 2))])


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    one = Ledger(open_storage("", tmp_path), "run", ["loss"], SPACE)
    yield one
    one.close()


def result(*phases: Phase) -> Any:
    return ResultFile.model_construct(phases=phases)


def test_a_later_call_adds_to_the_times_of_the_first(ledger: Ledger) -> None:
    Phases(ledger).took("finish", 3.0)
    later = Phases(ledger)
    later.took("finish", 0.5)
    later.took("export", 0.0)
    assert later.seconds == {"finish": 3.5}
    shown = with_phases(result(Phase(what="finish", seconds=9.0), Phase(what="evaluate", seconds=2.0)), ledger)
    assert [(one.what, one.seconds) for one in shown.phases] == [("finish", 3.5), ("evaluate", 2.0)]


def test_what_there_was_no_time_for_stands_beside_its_phase_until_there_was(ledger: Ledger) -> None:
    cut_short(ledger, "judge cuts", "3 of 9")
    cut_short(ledger, "probe", "1 of 5")
    cut_short(ledger, "finish", "")
    assert shortened(ledger) == {"judge cuts": "3 of 9", "probe": "1 of 5"}
    cut_short(ledger, "probe", "")
    entries = phase_entries({"finish": 1.0}, shortened(ledger))
    assert [(one.what, one.seconds, one.short) for one in entries] == [
        ("finish", 1.0, ""),
        ("judge cuts", 0.0, "3 of 9"),
    ]


def test_a_call_that_trains_nothing_leaves_the_share_of_waiting_as_it_was(ledger: Ledger) -> None:
    def hands(share: float | None, seconds: float) -> Any:
        return SimpleNamespace(paused_share=share, busy_seconds=seconds)

    assert waited(ledger, hands(None, 0.0)) is None
    assert waited(ledger, hands(0.2, 100.0)) == pytest.approx(0.2)
    assert waited(ledger, hands(0.0, 0.0)) == pytest.approx(0.2)
    assert waited(ledger, hands(0.5, 100.0)) == pytest.approx(0.35)


def test_a_call_and_a_run_that_trained_nobody_say_so(ledger: Ledger) -> None:
    said: list[str] = []
    first, second = SPACE.decode(SPACE.grid(2))

    def say(what: str, done: float, total: float) -> None:
        said.append(what)

    def trial(tokens: int) -> Any:
        return SimpleNamespace(tokens=tokens)

    note_trained(ledger, {}, {}, say)
    assert said == all_known(ledger) == []  # of nobody nothing is said
    ledger.add(first, [0.5], {"source": "known"})
    note_trained(ledger, {"k": trial(9)}, {"k": trial(9)}, say)
    assert said == ["nothing was trained by this call: of its 1 students all were known"]
    assert all_known(ledger)
    note_trained(ledger, {"k": trial(9)}, {"k": trial(20)}, say)
    assert all_known(ledger) == []
    entry = ledger.open(second)
    assert entry is not None
    ledger.complete(entry, [0.4], {"source": "trained"})
    note_trained(ledger, {}, {}, say)
    assert len(said) == 1


def test_what_others_at_work_on_a_run_have_trained_is_not_said_to_have_been_known(
    ledger: Ledger, tmp_path: Path
) -> None:
    said: list[str] = []
    other = Ledger(open_storage("", tmp_path, others=lambda: ""), "run", ["loss"], SPACE)
    entry = other.open(SPACE.decode(SPACE.grid(2))[0])
    assert entry is not None
    other.complete(entry, [0.4], {"source": "trained"})
    note_trained(ledger, {}, {}, lambda what, *_: said.append(what))
    (words,) = said
    assert words.endswith("of its 1 students 1 were trained by calls before it or by others at work on the run")
    assert all_known(ledger) == []
    other.close()


def test_drivers_of_one_study_say_their_own_times_and_those_of_all(ledger: Ledger) -> None:
    Phases(ledger).took("finish", 1.0)  # by an older version, which told no drivers apart
    mine, theirs = Phases(ledger, driver="a"), Phases(ledger, driver="b")
    mine.took("finish", 3.0)
    theirs.took("finish", 5.0)
    theirs.took("probe", 2.0)
    mine.took("finish", 0.5)
    assert Phases(ledger, driver="a").seconds == {"finish": 3.5}
    assert all_seconds(ledger) == {"finish": 9.5, "probe": 2.0}
    shown = with_phases(result(), ledger, "a")
    phases = [(one.what, one.seconds, one.all_seconds) for one in shown.phases]
    assert phases == [("finish", 3.5, 9.5), ("probe", 0.0, 2.0)]  # also what others alone have done
    alone = with_phases(result(), ledger)
    assert [(one.seconds, one.all_seconds) for one in alone.phases] == [(1.0, None)]


def test_a_run_whose_minutes_were_refused_begins_anew_with_more_unless_it_has_trained(
    ledger: Ledger, tmp_path: Path
) -> None:
    space = family("bert").space({"layers": [1, 2], "width": [64], "heads": [2], "ffn": [64]})
    slow, kept = Speed(1.0, 10.0, 0.0, 0.0, 1024, 1), tmp_path / "run.toml"

    def refused() -> None:
        kept.write_text("text_heldout = 128")
        ledger.note(JUDGED, 1)
        cut_short(ledger, "judge cuts", "3 of 9")
        run = Run.parse({"teacher": "t", "text": "x", "minutes": 1})
        with pytest.raises(InputError, match="give at least minutes"):
            plan_of(run, ledger, lambda: 9.0, lambda: slow, space, tmp_path)

    refused()
    assert (kept.exists(), ledger.noted(JUDGED), shortened(ledger)) == (False, None, {})
    ledger.add(SPACE.decode(SPACE.grid(2))[0], [0.5], {})
    refused()
    assert (kept.exists(), ledger.noted(JUDGED)) == (True, 1)
    assert shortened(ledger)
