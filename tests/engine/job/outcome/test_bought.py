"""Scoring on the probe keeps to its share of the minutes: the chosen student first, and what is left out is said."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from distilsearch.distill.texts.probe import BLOCKS, FEWER
from distilsearch.engine.job.ledger import Ledger, open_storage
from distilsearch.engine.job.outcome.bought import PHASE, Buying, in_parts, probe_words
from distilsearch.engine.job.plans.phases import shortened
from distilsearch.engine.report import schema
from distilsearch.space import Parameter, SearchSpace

SPACE = SearchSpace("generic", [Parameter("depth", (1, 2))])
TRIALS = {key: f"trial {key}" for key in "abcde"}


class Slow(Buying):
    """Takes two seconds for each answer; scores of some students are known."""

    @property
    def _heldout(self) -> str:
        return "blocks"

    def _known(self, trial: str) -> bool:
        return trial in self.teacher.known  # type: ignore[attr-defined]

    def _job(self, evaluation: str, artefact: str, **parts: object) -> Any:
        return artefact

    def _answers(self, job: Any, heldout: str, artefact: str, trials: Any) -> dict[str, schema.Scores]:
        if not all(map(self._known, trials.values())):
            self.teacher.clock[0] += 2.0  # type: ignore[attr-defined]
        return {key: schema.Scores(values={"loss": 0.5}) for key in trials}


@pytest.mark.parametrize(
    ("seconds", "workers", "known", "scored"),
    [
        (float("inf"), 1, "", "abcde"),
        (8.0, 1, "", "ab"),
        (8.0, 2, "", "abcd"),
        (1.0, 1, "", "a"),
        (1.0, 1, "ad", "abd"),
    ],
)
def test_the_next_ones_are_scored_if_they_should_end_in_time(
    seconds: float, workers: int, known: str, scored: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    ledger = Ledger(open_storage("", tmp_path), "run", ["loss"], SPACE)
    teacher: Any = SimpleNamespace(clock=clock, known=[TRIALS[key] for key in known])
    scoring: Any = SimpleNamespace(executor=SimpleNamespace(workers=workers), ledger=ledger)
    probe: Any = SimpleNamespace(text=SimpleNamespace(sha256="x"))
    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: clock[0])
        after, before = Slow(scoring, teacher, None, probe, seconds)._on_probe(TRIALS)  # type: ignore[arg-type]
    for scores in (after, before):
        assert {key for key, one in scores.items() if one.values} == set(scored)
        assert all("no time" in one.cause for key, one in scores.items() if key not in scored)
    said = shortened(ledger).get(PHASE, "")
    assert said == (
        "" if len(scored) == 5 else f"{len(scored)} of 5 students were scored in the {seconds} s there were"
    )
    ledger.close()


def test_parts_hold_all_in_their_order() -> None:
    assert in_parts("abcde", 2) == ["ab", "cd", "e"]


def test_a_card_says_how_many_blocks_a_short_probe_has() -> None:
    def words(blocks: int) -> str:
        file: Any = SimpleNamespace(probe=SimpleNamespace(name="docs", blocks=blocks))
        return probe_words(file)

    assert words(BLOCKS) == "loss on the probe, docs"
    assert words(FEWER) == "loss on the probe, docs (32 blocks)"
