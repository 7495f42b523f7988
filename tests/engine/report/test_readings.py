"""Questions to a result, and the words for its numbers."""

from typing import Any

import pytest

from distilsearch.engine.report.readings import Reading, Speedup, prediction_error
from distilsearch.engine.report.schema import Latency, ResultFile
from distilsearch.engine.report.words import count, duration, milliseconds, percent, roughly

Result = dict[str, Any]


def test_prediction_error_against_a_plain_count() -> None:
    latencies = [
        Latency(predicted=1.0, lower=0.9, upper=1.1, measured=1.0),
        Latency(predicted=1.2, lower=1.1, upper=1.3, measured=1.0),
        Latency(predicted=1.05, measured=1.0),
        Latency(predicted=1.0),
    ]
    error = prediction_error(latencies)
    assert error is not None
    assert (error.count, error.inside_interval) == (3, 0.5)
    assert error.median == pytest.approx(0.05)
    assert error.worst == pytest.approx(0.2)
    assert error.within_tenth == pytest.approx(2 / 3)
    assert prediction_error([]) is None


def test_speedup_compares_like_with_like(result: Result) -> None:
    result["teacher"]["latency_ms"] = {"predicted": 10.0, "measured": 12.0}
    reading = Reading(ResultFile.from_json(result))

    def speedup(**latency: float) -> Speedup | None:
        return reading.speedup(reading.front[0].model_copy(update={"latencies": {"latency_ms": Latency(**latency)}}))

    both, only = speedup(predicted=5.0, measured=4.0), speedup(predicted=5.0)
    assert both is not None
    assert (both.ratio, both.kind) == (3.0, "measured")
    assert only is not None
    assert (only.ratio, only.kind) == (2.0, "predicted")
    assert speedup() is None


def test_words_for_numbers() -> None:
    assert [roughly(x) for x in (21.4, 0.873, 0.96, 3.4, 1.52, 1.76, 11.6, 140, 0.0312)] == [
        "≈20", "≈0.9", "≈1", "≈3", "≈1.5", "≈2", "≈10", "≈150", "≈0.03"
    ]  # fmt: skip
    assert [milliseconds(x) for x in (0.0312, 3.1, 31.04, 310.4, None)] == ["0.0312", "3.10", "31.0", "310", "–"]
    assert [count(x) for x in (12, 1536, 8_290_000, 3e9, None)] == ["12", "1.5 k", "8.3 M", "3.0 B", "–"]
    assert [duration(x) for x in (3.14, 125, 7260, None)] == ["3.1 s", "2 min 05 s", "2 h 01 min", "–"]
    assert [percent(x) for x in (0.034, 1.0, None)] == ["3.4\u00a0%", "100\u00a0%", "–"]
