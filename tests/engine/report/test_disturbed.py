"""What a report says of measurements on a disturbed machine: the prediction where that is surer, and no nonsense."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilsearch.engine.report import report
from distilsearch.engine.report.doubts import best_words, disturbed, quantiles, surer_foretold
from distilsearch.engine.report.readings import Reading, headline
from distilsearch.engine.report.requests import quantile_words, request_lines
from distilsearch.engine.report.schema import Latency, ResultFile
from distilsearch.engine.report.terminal import final_table
from distilsearch.request_lengths import CONTRADICTING, FAR_OFF, told

Result = dict[str, Any]
NARROW = {"predicted": 2.0, "lower": 1.8, "upper": 2.2}
TEACHER = {"predicted": 20.0, "lower": 18.0, "upper": 22.0}
LENGTHS = "300 requests, p50 21, p99 40: 3 x 0.100000, 21 x 0.500000, 40 x 0.400000"
positive = st.floats(1e-3, 1e4)


def chosen(result: Result, latency: Result, teacher: Result) -> Reading:
    """The result with these latencies of the chosen student and of the teacher."""
    next(member for member in result["front"] if member["key"] == result["knee"])["latency_ms"] = latency
    result["teacher"]["latency_ms"] = teacher
    return Reading(ResultFile.from_json(result))


def test_a_speedup_rests_on_predictions_where_the_machine_was_disturbed_and_they_are_surer(result: Result) -> None:
    reading = chosen(result, NARROW | {"measured": 3.9, "slowness": 1.9}, TEACHER | {"measured": 21.0})
    assert reading.knee is not None
    speedup = reading.speedup(reading.knee)
    assert speedup is not None
    assert (speedup.ratio, speedup.kind, speedup.disturbed) == (10.0, "predicted", False)
    assert "is predicted to be 10.0× faster" in headline(reading)
    page = report.render(reading.result)
    assert "measured ≈5× on a disturbed machine" in page
    assert "~2.00 ms" in page
    assert "≈4 ms measured on a disturbed machine" in page
    assert "~10.00×" in str(list(final_table(reading.result).columns[5].cells))


@pytest.mark.parametrize(
    "latency",
    [
        NARROW | {"measured": 2.1, "slowness": 1.2},  # the machine was quiet enough
        {"predicted": 2.0, "lower": 0.5, "upper": 9.0, "measured": 3.9, "slowness": 1.9},  # the prediction says less
        {"predicted": 2.0, "measured": 3.9, "slowness": 1.9},  # nobody knows how sure it is
        NARROW | {"measured": 1.0, "slowness": 1.9},  # a busy machine is never faster: the prediction is wrong
    ],
)
def test_what_was_measured_stands_where_it_is_surer_or_refutes_the_prediction(result: Result, latency: Result) -> None:
    reading = chosen(result, latency, TEACHER | {"measured": 21.0})
    assert reading.knee is not None
    speedup = reading.speedup(reading.knee)
    assert speedup is not None
    assert (speedup.kind, speedup.ratio) == ("measured", 21.0 / latency["measured"])


@given(positive, positive)
def test_no_long_request_is_said_to_take_less_than_a_usual_one(p50: float, p99: float) -> None:
    latency = Latency(measured=p50, measured_p50=p50, measured_p99=p99, predicted=p50, predicted_p50=p50)
    words, both = quantile_words(latency, "measured"), quantiles(latency, "measured")
    assert quantile_words(latency, "predicted") == ""
    if p99 * 1.1 < p50:
        assert both is None
        assert disturbed(latency)
        assert not re.search(r"p\d\d \d", words)
        assert CONTRADICTING["measured"] in words
    else:
        assert both is not None
        assert min(p50, p99) * (1 - 1e-9) <= both[0] <= both[1] <= max(p50, p99) * (1 + 1e-9)


def test_latencies_in_the_right_order_are_left_as_they_are() -> None:
    assert told("measured", 0.35, 0.3, 0.4)[:2] == (0.3, 0.4)


def test_a_result_keeps_no_figures_of_requests_that_cannot_be_true_and_says_why() -> None:
    written = Latency(measured=2.0, measured_p50=3.0, measured_p99=1.5, predicted_p50=1.0, predicted_p99=4.0)
    data = written.model_dump()
    assert not {"measured_p50", "measured_p99"} & set(data)
    assert data["left_out"] == {"measured": {"why": CONTRADICTING["measured"], "off": 2.0}}
    assert (data["predicted_p50"], data["predicted_p99"]) == (1.0, 4.0)
    assert Latency.model_validate(data) == written
    assert "left_out" not in Latency(measured=2.0, measured_p50=1.5, measured_p99=3.0).model_dump()


@given(st.lists(positive, min_size=4, max_size=40), st.floats(0, 1))
def test_requests_of_any_rising_latencies_are_told_and_others_far_from_their_mean_are_not(
    own: list[float], slower: float
) -> None:
    ms = sorted(own)
    p50, p99 = ms[len(ms) // 2], ms[-1]
    mean = sum(ms) / len(ms)
    assert told("predicted", mean, p50, p99)[:2] == (p50, p99)
    assert told("predicted", p50 / (3 + slower), p50, p99).why == FAR_OFF["predicted"]
    assert told("predicted", 3 * p99, p50, p99).why == FAR_OFF["predicted"]


def test_requests_that_contradict_each_other_are_said_to_be_disturbed(result: Result) -> None:
    del result["targets"][0]["serving"]["sequence"]
    result["targets"][0]["serving"]["lengths"] = LENGTHS
    latency = NARROW | {"measured": 2.1, "measured_p50": 1.987, "measured_p99": 1.234}
    reading = chosen(result, latency, TEACHER | {"measured": 21.0, "measured_p50": 14.1, "measured_p99": 40.2})
    page, lines = report.render(reading.result), request_lines(reading.result)
    assert not re.search(r">1\.99<|>1\.23<", page)
    assert "<td>disturbed</td><td>disturbed</td>" in page
    assert not re.search(r"1\.99|1\.23", "".join(lines))
    assert any(CONTRADICTING["measured"] in line for line in lines)
    assert any("p50 14.1, p99 40.2" in line for line in lines)


def test_a_prediction_that_is_not_surer_is_not_taken() -> None:
    busy = Latency(**NARROW, measured=3.0, slowness=1.6)
    assert surer_foretold(busy)
    assert best_words(busy) == "~2.00"
    assert not surer_foretold(busy, Latency(predicted=1.0, measured=1.0))
    assert not surer_foretold(Latency(**NARROW, measured=2.0))
