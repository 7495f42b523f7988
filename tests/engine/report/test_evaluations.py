"""Scores on a page: each with its spread and its share of the teacher's, where a share means something."""

from typing import Any

import pytest

from distilsearch.engine.report.readings import Reading, teacher_share
from distilsearch.engine.report.report import render
from distilsearch.engine.report.schema import EvaluationEntry, ResultFile, Scores
from distilsearch.engine.report.tables import evaluations_table
from distilsearch.engine.report.terminal import evaluation_lines

TEACHER = {"f1": 0.9, "f1_sd": 0.004, "mcc": -0.1, "loss": 2.0}


@pytest.fixture
def scored(result: dict[str, Any]) -> ResultFile:
    keys = [member["key"] for member in result["front"]]
    students: dict[str, Any] = {key: {"values": {"f1": 0.81, "f1_sd": 0.012, "mcc": 0.2, "loss": 3.0}} for key in keys}
    students[keys[0]] = {"cause": "it <diverged>"}
    entry = {"evaluation": "glue", "title": "MRPC (rows 500)", "heldout": "x", "students": students}
    return ResultFile.from_json(result | {"evaluations": [entry | {"teacher": {"values": TEACHER}}]})


def test_a_page_shows_scores_spreads_and_shares(scored: ResultFile) -> None:
    table = evaluations_table(Reading(scored))
    assert "F1, MRPC (rows 500)" in table
    assert "<td>0.810 ± 0.012 <small>90.0\u00a0%</small></td>" in table
    assert "<td>0.900 ± 0.004</td>" in table
    assert "<td>3.000</td>" in table  # of a loss less is better: no share
    assert table.count("<td>–</td>") >= 3  # who failed
    assert table in render(scored)
    assert "Evaluations" not in render(scored.model_copy(update={"evaluations": ()}))
    assert evaluation_lines(scored)[1].startswith("  MRPC (rows 500), ")
    assert ResultFile.from_json(scored.to_json()) == scored


@pytest.mark.parametrize(("name", "share"), [("f1", 0.9), ("mcc", None), ("loss", None), ("absent", None)])
def test_a_share_is_told_where_it_means_something(name: str, share: float | None) -> None:
    entry = EvaluationEntry(evaluation="e", title="t", heldout="h", teacher=Scores(values=TEACHER))
    own = Scores(values={"f1": 0.81, "mcc": 0.2, "loss": 3.0})
    assert teacher_share(entry, own, name) == (None if share is None else pytest.approx(share))


def test_what_says_the_same_of_every_row_has_no_share_and_no_merit(scored: ResultFile) -> None:
    told = Scores(values={"f1": 0.9, "one_label": 1.0})
    assert told.merit == 0.9
    (entry,) = scored.evaluations
    entry = entry.model_copy(update={"students": dict.fromkeys(entry.students, told)})
    table = evaluations_table(Reading(scored.model_copy(update={"evaluations": (entry,)})))
    assert "<td>0.900 <small>one label for all rows</small></td>" in table
    assert "One label, " not in table
    assert "100\u00a0%" not in table
    assert teacher_share(entry, told, "f1") is None
