"""What there is at multiples of the teacher's speed, and how wide the holes of a front are."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilsearch.engine.report.budgets import (
    Answer,
    Fast,
    answer_words,
    answers,
    front_gap,
    surest,
    widest_gap,
)
from distilsearch.engine.report.files import read_result, write_result
from distilsearch.engine.report.readings import Reading
from distilsearch.engine.report.report import render
from distilsearch.engine.report.schema import ResultFile
from distilsearch.engine.report.terminal import answer_lines

Result = dict[str, Any]


def with_front(result: Result, rows: list[tuple[float, float]], measured: bool = True) -> Reading:
    """A result whose teacher takes 20 ms, with students of (loss, ms)."""
    model = result["front"][0]
    latency = {"predicted": 20.0, "measured": 20.0 if measured else None}
    front = [
        model
        | {"key": f"student{i}", "loss": loss, "student": None, "tokens": 800_000 if i else 160_000}
        | {"latency_ms": {"predicted": ms, "measured": ms if measured else None}}
        for i, (loss, ms) in enumerate(rows)
    ]
    teacher = result["teacher"] | {"latency_ms": latency}
    return Reading(ResultFile.from_json(result | {"front": front, "trials": [], "knee": None, "teacher": teacher}))


STUDENTS = st.builds(
    Fast, st.uuids(), st.sampled_from([0.1, 0.2, 0.3]), st.none() | st.sampled_from([0.5, 0.6]), st.booleans()
)


@given(st.lists(STUDENTS, min_size=1, unique_by=lambda one: one.student))
def test_the_best_at_a_speed_is_nobodys_inferior_by_the_rule(fast: list[Fast[Any]]) -> None:
    by = {one.student: (place, one) for place, one in enumerate(fast)}

    def rank(one: Fast[Any], measuring: bool) -> tuple[Any, ...]:  # smaller is better, the first difference counts
        merit = -one.merit if one.merit is not None else one.loss
        return one.merit is None, measuring and not one.measured, merit, by[one.student][0]

    chosen, best = (by[student][1] for student in surest(fast))
    assert all(rank(chosen, True) <= rank(one, True) for one in fast)
    assert all(rank(best, False) <= rank(one, False) for one in fast)


def test_every_speed_is_answered_in_words(result: Result) -> None:
    reading = with_front(result, [(0.4, 2.5), (0.2, 4.0), (0.3, 9.0)])
    assert answer_lines(reading.result) == [
        "what you get at multiples of the teacher's speed:",
        "  at 2x: 5.0x as fast, agreement 0.800, trained on 800 k tokens: student1",
        "  at 3x: 5.0x as fast, agreement 0.800, trained on 800 k tokens: student1",
        "  at 5x: 5.0x as fast, agreement 0.800, trained on 800 k tokens: student1",
        "  at 7x: 8.0x as fast, agreement 0.600, trained on 160 k tokens: student0",
        "  at 10x: no student of this run is 10x as fast as the teacher",
    ]
    page = render(reading.result)
    assert "no student of this run is 10× as fast" in page
    assert "the widest gap of the front is a factor of 2.2 in latency" in page  # from 20 / 9 to 5 times


def test_predictions_imports_and_servings_are_said(result: Result) -> None:
    reading = with_front(result, [(0.4, 2.5)], measured=False)
    assert "at 7x: ~8.0x as fast" in "\n".join(answer_lines(reading.result))
    (member,) = reading.front
    served = member.model_copy(update={"served": {"dtype": "int8", "mode": "compile"}, "tokens": None})
    words = answer_words(reading, Answer(7.0, served))
    assert (
        words
        == "at 7x: ~8.0x as fast (predicted), agreement 0.600, imported, not trained here: student0 (int8, compile)"
    )


def test_who_was_measured_answers_and_who_is_foretold_is_named_beside(result: Result) -> None:
    reading = with_front(result, [(0.4, 2.5), (0.3, 3.5), (0.2, 8.0)])
    plain = reading.result.model_dump(mode="json")
    plain["front"][1]["latency_ms"]["measured"] = None  # predicted to be 5.7 times as fast
    mixed_result = ResultFile.from_json({"schema": 1} | plain)
    lines = answer_lines(mixed_result)
    assert lines[3] == (
        "  at 5x: 8.0x as fast (measured), agreement 0.600, trained on 160 k tokens: student0; not measured as fast,"
        " student1 is predicted to be ~5.7x, agreement 0.700"
    )
    assert lines[1].startswith("  at 2x: 2.5x as fast (measured), agreement 0.800")
    assert "student1 is predicted to be ~5.7x" in render(mixed_result)


def test_who_was_measured_so_fast_on_a_disturbed_machine_answers_too(result: Result) -> None:
    plain = with_front(result, [(0.4, 2.5), (0.3, 3.5), (0.2, 8.0)]).result.model_dump(mode="json")
    plain["teacher"]["latency_ms"] |= {"lower": 19.0, "upper": 21.0}
    plain["front"][1]["latency_ms"] |= {"lower": 3.4, "upper": 3.6, "measured": 3.6, "repeated": 1.3}
    lines = answer_lines(ResultFile.from_json({"schema": 1} | plain))
    assert lines[3].startswith("  at 5x: ~5.7x as fast (predicted; measured ≈6× on a disturbed machine), agreement 0.7")
    plain["front"][1]["latency_ms"] |= {"measured": 4.2}  # which is 4.8 times as fast
    lines = answer_lines(ResultFile.from_json({"schema": 1} | plain))
    assert "student0; not measured as fast, student1 is predicted to be ~5.7x" in lines[3]


def test_a_result_keeps_its_answers_with_what_they_rest_on(result: Result, tmp_path: Path) -> None:
    told = write_result(with_front(result, [(0.4, 2.5), (0.2, 4.0)], measured=False).result, tmp_path)
    kept = {one.speed: one for one in read_result(tmp_path).answers}
    assert told == read_result(tmp_path)  # so that whoever prints it prints what was written
    assert (kept[7.0].key, kept[7.0].ratio, kept[7.0].kind) == ("student0", 8.0, "predicted")
    assert (kept[10.0].key, kept[10.0].kind) == (None, None)
    older = {name: value for name, value in told.to_json().items() if name != "answers"}
    (tmp_path / "result.json").write_text(json.dumps(older))
    assert read_result(tmp_path) == told


def test_nothing_is_said_where_no_speed_is_known(result: Result) -> None:
    for poorer in (result | {"front": [], "knee": None}, result | {"teacher": result["teacher"] | {"latency_ms": {}}}):
        reading = Reading(ResultFile.from_json(poorer))
        assert (answers(reading), front_gap(reading), answer_lines(reading.result)) == ([], None, [])
        assert "multiples of the teacher" not in render(reading.result)


@given(st.lists(st.tuples(st.floats(0.01, 1.0), st.floats(0.5, 60.0)), min_size=1, max_size=8))
def test_an_answer_has_the_least_loss_of_those_that_are_fast_enough(rows) -> None:
    teacher = {"architecture": {"family": "x", "values": {}}, "name": "t", "latency_ms": {"measured": 20.0}}
    plain = {"schema": 1, "name": "n", "quality": "agreement", "objectives": ["loss", "latency_ms"], "reference": {}}
    front = [
        {"key": str(i), "architecture": {"family": "x", "values": {}}, "loss": loss, "latency_ms": {"measured": ms}}
        for i, (loss, ms) in enumerate(rows)
    ]
    reading = Reading(
        ResultFile.from_json(plain | {"teacher": teacher, "front": front, "knee": None, "trials": [], "targets": []})
    )
    found = answers(reading)
    assert [answer.speed for answer in found] == [2, 3, 5, 7, 10]
    for answer in found:
        fast = [loss for loss, ms in rows if 20.0 / ms >= answer.speed]
        assert (answer.member.loss if answer.member else None) == min(fast, default=None)


@pytest.mark.parametrize(
    ("speeds", "gap"),
    [
        ([], 7.5), ([1.0, 20.0], 7.5), ([4.0], 3.75), ([2.0, 15.0], 7.5), ([3.0, 6.0, 12.0], 2.0), ([5.0, 5.0], 3.0),
        ([14.0, 1.2], 7.0),
    ],
)  # fmt: skip
def test_the_widest_gap_is_between_neighbours_or_the_ends(speeds, gap) -> None:
    assert widest_gap(speeds) == pytest.approx(gap)


@given(st.lists(st.floats(0.1, 40.0), max_size=9))
def test_no_speed_of_a_wider_gap_is_without_a_student(speeds) -> None:
    gap, marks = widest_gap(speeds), sorted({2.0, 15.0, *(s for s in speeds if 2 < s < 15)})
    assert 7.5 ** (1 / (len(marks) - 1)) <= gap * (1 + 1e-9) <= 7.5 * (1 + 1e-9)
    assert all(b <= a * gap * (1 + 1e-9) for a, b in pairwise(marks))
    assert widest_gap([*speeds, 5.0]) <= gap
