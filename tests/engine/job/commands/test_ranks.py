"""Rank fidelity is measured on what a search measures on, so that either finds what the other has trained."""

import random
from pathlib import Path
from typing import Any

import pytest

from distilsearch.distill.course import Course
from distilsearch.engine.job.commands import ranks
from distilsearch.engine.job.plans import heldout
from distilsearch.engine.job.runfile.config import Run

OLD = Path(__file__).parents[3] / "old" / "0.1.0"
RUN = {
    "teacher": str(OLD / "teacher"),
    "space": {"layers": [1, 2], "width": [16], "heads": [1], "ffn": [16], "inherit": ["even"]},
    "train": {"device": "cpu", "precision": "float32", "flash_tokens": 2_048, "final_tokens": 6_144, "threads": 1},
}


@pytest.mark.parametrize("asked", [{}, {"text_heldout": 2_000}])
def test_a_run_file_that_leaves_the_blocks_open_is_measured_as_its_search_would_be(
    asked: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(heldout, "_blocks", lambda run, text: 5)
    courses: list[Course] = []

    class Ended(Exception):  # noqa: N818
        pass

    def fidelity(course: Course, *parts: Any, **conditions: Any) -> Any:
        courses.append(course)
        raise Ended

    monkeypatch.setattr(ranks, "fidelity", fidelity)
    words, order = (OLD / "text" / "words.txt").read_text().split(), random.Random(0)
    (tmp_path / "more.txt").write_text(" ".join(order.choices(words, k=16_000)))
    (tmp_path / "run.toml").write_text(Run.parse(RUN | {"text": str(tmp_path / "more.txt")} | asked).to_toml())
    with pytest.raises(Ended):
        ranks.rank_fidelity(tmp_path / "run.toml", students=2)
    heldout_blocks = len(courses[0].text.heldout)
    assert heldout_blocks == 5 if not asked else heldout_blocks > 5  # else all that the text holds out
