"""Rank fidelity: orders compared as defined, intervals that hold them, runs that are kept."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from distilsearch.cli_words import correlation, fidelity_lines
from distilsearch.distill.course import Course
from distilsearch.distill.fidelity import compare, fidelity, spread, summary
from distilsearch.distill.recipes import EMBEDDING, RELATION
from distilsearch.distill.store import distilled as module
from distilsearch.distill.store.archive import Archive
from distilsearch.distill.students.student import Student, build_student
from distilsearch.distill.teachers.teacher import Teacher
from distilsearch.distill.texts.data import Text
from distilsearch.distill.training import distill_student, train
from distilsearch.errors import InputError, TrialError
from distilsearch.families import family
from distilsearch.lowering import parameter_count

TINY = replace(EMBEDDING, batch_tokens=256)


def _row(loss: float, parameters: int) -> dict[str, Any]:
    return {"loss": loss, "area": loss + 0.1, "parameters": parameters}


def test_orders_are_compared_with_the_longest_budget() -> None:
    long = [_row(loss, parameters) for loss, parameters in ((0.1, 9), (0.2, 7), (0.3, 8), (0.4, 1), (0.5, 2))]
    short = [_row(loss, 1) for loss in (0.2, 0.3, 0.4, 0.5, 0.6)]
    found = {(f.predictor, f.tokens): f for f in compare({("", 100): long, ("", 10): short})}
    assert found["loss", 10].spearman.value == pytest.approx(1)
    assert found["area", 10].kendall.value == pytest.approx(1)
    parameters = found["parameters", 0].spearman
    assert parameters.value == pytest.approx(0.8)  # two neighbours are exchanged, twice
    assert parameters.lower <= parameters.value <= parameters.upper
    assert len(found) == 4


def test_the_trend_of_a_curve_orders_those_that_are_still_falling() -> None:
    long = [_row(0.1, 1), _row(0.2, 1), _row(0.3, 1)]
    short = [{"loss": 0.5, "area": 0.9, "parameters": 1}, _row(0.4, 1), _row(0.45, 1)]
    found = {f.predictor: f.spearman.value for f in compare({("", 100): long, ("", 10): short})}
    assert found["loss"] < 0 < found["trend"]


@pytest.fixture
def course(teacher: Teacher, text: Text) -> Course:
    return Course(teacher, text, TINY, 1, 0, "float32")


def test_students_of_the_archive_cost_nothing(
    course: Course, make_architecture: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    students = [make_architecture(course.teacher, layers=n, width=w) for n, w in ((1, 32), (2, 32), (2, 64))]
    rows, left_out = fidelity(course, students, [1_000, 4_000])
    assert not left_out
    assert {row.tokens for row in rows} == {1_000, 0}
    assert len([*Archive().matching(course.training.at(4_000))]) == 3
    monkeypatch.setattr(module, "train", None)
    assert fidelity(course, students, [4_000, 1_000]) == (rows, [])
    with pytest.raises(InputError, match="at least two budgets"):
        fidelity(course, students, [1_000])


def test_other_recipes_are_judges_at_the_shortest_budget(course: Course, make_architecture: Callable[..., Any]) -> None:
    students = [make_architecture(course.teacher, layers=n, width=32, ffn=f) for n, f in ((1, 32), (2, 32), (2, 64))]
    other = replace(RELATION, batch_tokens=256)
    found, _ = fidelity(course, students, [1_000, 2_000], also=[other])
    assert [(f.recipe, f.predictor, f.tokens) for f in found] == [
        ("", "loss", 1_000),
        ("", "area", 1_000),
        ("", "trend", 1_000),
        ("relation", "loss", 1_000),
        ("relation", "area", 1_000),
        ("relation", "trend", 1_000),
        ("", "parameters", 0),
    ]
    with pytest.raises(InputError, match="names of their own"):
        fidelity(course, students, [1_000, 2_000], also=[TINY])


def test_few_students_have_no_interval() -> None:
    rows = {("", n): [_row(loss, 5 + i) for i, loss in enumerate((0.3, 0.1, 0.2, 0.4))] for n in (10, 100)}
    found = summary(compare(rows), 100)["rows"][0]["spearman"]
    assert found == {"value": pytest.approx(1), "lower": None, "upper": None}
    assert correlation("spearman", found) == "spearman 1.000 (too few students for an interval)"


def test_a_predictor_without_an_order_is_null() -> None:
    """Where heads alone vary, all students have as many parameters."""
    rows = {("", n): [_row(loss, 5) for loss in (0.3, 0.1, 0.2)] for n in (10, 100)}
    facts = summary(compare(rows), 100)
    assert facts["rows"][-1]["predictor"] == "parameters"
    assert facts["rows"][-1]["kendall"] == {"value": None, "lower": None, "upper": None}
    assert correlation("kendall", facts["rows"][-1]["kendall"]).startswith("kendall not a number")
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert facts["spearman"] == pytest.approx(1)
    constant = summary(compare({("", n): [_row(0.5, i) for i in range(3)] for n in (10, 100)}), 100)
    assert constant["spearman"] is None


def test_a_diverging_student_is_left_out_of_all_orders(
    course: Course, make_architecture: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    students = [make_architecture(course.teacher, layers=1, ffn=f) for f in (16, 32, 48, 64)]
    bad, asked = [students[1]], []

    def diverges(course: Course, architectures: Any, *rest: Any) -> list[Student | TrialError]:
        asked.extend(architectures)
        cause = "the training diverged at step 3 of 4"
        made = train(course, architectures, *rest)
        return [
            TrialError(cause) if one in bad and course.tokens == 2_000 else student
            for one, student in zip(architectures, made, strict=True)
        ]

    monkeypatch.setattr(module, "train", diverges)
    budgets = [1_000, 2_000, 3_000]
    rows, left_out = fidelity(course, students, budgets)
    assert [(entry.architecture, entry.tokens) for entry in left_out] == [(students[1], 2_000)]
    assert {row.students for row in rows} == {3}
    assert asked.count(students[1]) == 2  # it is not tried at a longer budget
    facts = summary(rows, 3_000, left_out)
    assert facts["left_out"][0]["cause"].startswith("the training diverged")
    assert [*fidelity_lines(facts)][-1].startswith("left out, at 2,000 tokens: the training diverged at step 3")
    asked.clear()
    assert [entry.to_json() for entry in fidelity(course, students, budgets)[1]] == facts["left_out"]
    assert not asked
    bad.append(students[2])
    with pytest.raises(TrialError, match="2 of 4 diverged"):
        fidelity(course, students, budgets, Archive(tmp_path / "other"))


def test_students_from_random_weights_are_spread_too(teacher: Teacher, text: Text) -> None:
    space = family("bert").space({"layers": [1, 2], "width": [32], "heads": [2], "ffn": [16, 32]}, teacher.facts)
    members = spread(space, 4, fresh=2)
    assert [a["inherit"] == "none" for a in members].count(True) == 2
    fresh = next(a for a in members if a["inherit"] == "none")
    model, _ = build_student(teacher, fresh, text, seed=3)
    again, _ = build_student(teacher, fresh, text, seed=3)
    words = model.embeddings.word_embeddings.weight
    assert torch.equal(words, again.embeddings.word_embeddings.weight)
    before = words.detach().clone()
    student = distill_student(teacher, fresh, text, TINY, 2_000, seed=3, precision="float32")
    assert not torch.equal(student.model.embeddings.word_embeddings.weight, before)  # a random table is trained


def test_what_was_measured_is_summed_up() -> None:
    rows = {("", n): [_row(loss, 1 + i) for i, loss in enumerate((0.3, 0.2, 0.1))] for n in (10, 20, 100)}
    rows["relation", 5] = rows["", 10][::-1]
    found = summary(compare(rows), 100)
    assert found["rows"][-2]["recipe"] == "relation"
    assert found["rows"][-2]["spearman"]["value"] == pytest.approx(-1)  # listed, and not what the run is summed up by
    assert found["spearman"] == pytest.approx(1)
    assert found["pairs"] == 3
    assert found["note"] == "measured: 10 against 100 tokens"
    assert [row["predictor"] for row in found["rows"]] == [*["loss", "area", "trend"] * 3, "parameters"]


def test_a_spread_covers_the_sizes() -> None:
    space = family("bert").space()
    sizes = [parameter_count(a) for a in spread(space, 12)]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == 12
    assert sizes[-1] > 3 * sizes[0]
    assert spread(space, 5, seed=1) == spread(space, 5, seed=1)
    assert np.all(space.valid(space.encode(spread(space, 5))))
