"""What is said of latencies that were measured, and who is chosen once they have been measured anew."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilsearch.engine.job.outcome.remarks import all_latency_warnings, kept_choice, latency_warnings
from distilsearch.engine.job.outcome.remeasure import _concluded
from distilsearch.engine.report.schema import Latency, ResultFile


def result(
    times: list[float], losses: list[float], knee: int = 0, limit: float | None = 5.0, **more: Any
) -> ResultFile:
    """A run whose teacher takes 20 ms; its front by ms and by loss."""
    shape = {"architecture": {"family": "x", "values": {}}}
    front = [
        shape | {"key": f"k{i}", "loss": loss, "latency_ms": {"predicted": 1.0, "measured": ms}}
        for i, (ms, loss) in enumerate(zip(times, losses, strict=True))
    ]
    target = {"objective": "latency_ms", "device": "cpu", "serving": {}, "limit_ms": limit}
    plain = {"schema": 1, "name": "n", "quality": "agreement", "objectives": ["loss", "latency_ms"], "reference": {}}
    teacher = shape | {"name": "t", "latency_ms": {"measured": 20.0, "lower": 18.0, "upper": 22.0}}
    plain |= {"teacher": teacher, "front": front, "knee": f"k{knee}", "trials": [], "targets": [target]}
    return ResultFile.from_json(plain | more)


@pytest.mark.parametrize(
    ("latency", "message"),
    [
        ({"measured": 20.0, "slowness": 1.4}, "1.40 times slower than when quiet"),
        (
            {"measured": 30.0, "lower": 18.0, "upper": 22.0},
            "the teacher was measured at 30 ms and predicted at 18 to 22",
        ),
        ({"measured": 20.0, "repeated": 1.3}, r"latency_ms of 1 of 3 models, .* more than 10% \(up to 30%\) between"),
        ({"measured": 20.0, "repeated": 1.104}, r"more than 10% \(up to 10.4%\) between"),
        ({"measured": 20.0, "repeated": 1.1003}, r"more than 10% between"),
    ],
)
def test_a_reader_is_warned_of_what_is_disturbed(latency: dict[str, float], message: str) -> None:
    students = [Latency(measured=1.0, repeated=1.0), Latency(measured=2.0, repeated=1.09)]
    (warning,) = latency_warnings("latency_ms", Latency(**latency), students)

    assert re.search(message, warning)


def test_calm_measurements_and_predictions_need_no_word() -> None:
    calm = Latency(measured=20.0, slowness=1.05, repeated=1.02, lower=18.0, upper=22.0)
    assert list(latency_warnings("latency_ms", calm, [Latency(measured=1.0, repeated=1.1)])) == []
    assert list(latency_warnings("latency_ms", Latency(predicted=20.0), [])) == []


@pytest.mark.parametrize(
    ("choose", "most", "expected"),
    [
        ("quality", None, "k1"),
        ("fastest", None, "k0"),
        ("knee", None, "k0"),
        ("quality", 0.45, "k0"),
        ("knee", 0.1, "k1"),
    ],
)
def test_who_is_measured_beyond_the_limit_is_no_longer_chosen(choose, most, expected) -> None:
    file = result([2.0, 4.0, 6.0], [0.4, 0.3, 0.2], knee=2)
    knee, remark = kept_choice(file, choose, most)
    assert knee == expected
    assert f"k2 was chosen and breaks its limit (latency_ms is 6 ms, at most 5 were allowed); {expected} is" in remark


def test_who_keeps_the_limit_stays_chosen_whatever_the_rule_says_now() -> None:
    assert kept_choice(result([2.0, 4.0], [0.4, 0.3], knee=0), "quality", None) == ("k0", "")
    assert kept_choice(result([2.0, 9.0], [0.4, 0.3], knee=1, limit=None), "fastest", None) == ("k1", "")
    knee, remark = kept_choice(result([8.0, 9.0], [0.4, 0.3], knee=1), "fastest", None)
    assert (knee, "so does all of the front" in remark) == ("k1", True)


@given(st.lists(st.tuples(st.floats(0.5, 9.0), st.floats(0.1, 1.0)), min_size=1, max_size=6), st.data())
def test_whoever_is_chosen_is_a_member_and_keeps_the_limit_if_anybody_does(rows, data) -> None:
    file = result([ms for ms, _ in rows], [loss for _, loss in rows], data.draw(st.integers(0, len(rows) - 1)))
    knee, _ = kept_choice(file, data.draw(st.sampled_from(["knee", "quality", "fastest"])), None)
    ms = {f"k{i}": row[0] for i, row in enumerate(rows)}
    assert ms[knee] <= 5.0 or min(ms.values()) > 5.0


def test_measured_anew_a_result_says_nothing_of_the_former_measurement() -> None:
    disturbed = Latency(measured=20.0, slowness=2.0, lower=18.0, upper=22.0)
    file = result([2.0, 4.0], [0.4, 0.3], knee=1)
    file = file.model_copy(update={"teacher": file.teacher.model_copy(update={"latencies": {"latency_ms": disturbed}})})
    file = file.model_copy(update={"warnings": ("something else", *all_latency_warnings(file))})
    assert len(file.warnings) == 2
    calm = file.teacher.model_copy(update={"latencies": {"latency_ms": Latency(measured=19.0, slowness=1.0)}})
    slower = file.front[1].model_copy(update={"latencies": {"latency_ms": Latency(measured=7.0)}})
    again = _concluded(file, [calm, file.front[0], slower], None)
    assert again.knee == "k0"
    remark, other = again.warnings
    assert "k1 was chosen and breaks its limit" in remark
    assert other == "something else"
