"""A report on students that are served in several ways, and how its tables and messages are set."""

import copy
from typing import Any

import pytest

from distilsearch.engine.report import report
from distilsearch.engine.report.schema import ResultFile, member_key
from distilsearch.page import parts

Result = dict[str, Any]
WAYS = ({"runtime": "torch", "dtype": "float32"}, {"runtime": "onnxruntime", "dtype": "int8"})


@pytest.fixture
def both(result: Result) -> Result:
    """Three students that were trained, each served in two ways."""
    trials: list[Result] = []
    for trial in result["trials"][:3]:
        for way in WAYS:
            source = "trained" if way is WAYS[0] else "served"
            trials.append(copy.deepcopy(trial) | {"served": way, "source": source, "number": len(trials)})
            trials[-1]["key"] = member_key(trial["key"], way)
    names = ("key", "architecture", "loss", "parameters", "tokens", "latency_ms", "served")
    front = [{name: trial[name] for name in names} for trial in trials[:2]]
    return result | {"trials": trials, "front": front, "knee": front[0]["key"], "surrogate": None}


def test_trials_and_the_servings_of_their_students_are_counted_apart(both: Result) -> None:
    page = report.render(ResultFile.from_json(both))
    assert "3 trials (6 pairs of student and serving) completed" in page
    assert "All 3 trials (6 pairs of student and serving)" in page
    assert "6 trials" not in page


def test_the_first_lines_name_the_ways_of_serving_that_were_compared(both: Result) -> None:
    page = report.render(ResultFile.from_json(both))
    assert "Ways of serving that were compared: onnxruntime, int8; torch, float32." in page
    assert "The teacher is served by torch, float32." in page
    assert "float32, eager" not in page


def test_one_way_of_serving_is_told_with_the_machine(result: Result) -> None:
    page = report.render(ResultFile.from_json(result))
    assert "sequence 128, float32, eager" in page
    assert "22 trials completed, 2 failed" in page


def test_a_file_is_shown_by_its_name_and_linked_by_its_path(both: Result) -> None:
    file = f"students/{both['knee']}/served/openvino/model_qint8.xml"
    one = {
        "runtime": "openvino",
        "dtype": "int8",
        "file": file,
        "bytes": 12_000_000,
        "quantised": "static",
        "lost": 0.1,
    }
    both["front"][0] |= {"student": f"students/{both['knee']}", "artefacts": [one]}
    page = report.render(ResultFile.from_json(both))
    assert f'<a href="./{file}"><code>model_qint8.xml</code></a>' in page


def test_what_stands_between_backticks_is_set_as_code(result: Result) -> None:
    result["warnings"] = ["run `distilsearch measure <RUN>` again", "a lone ` stays"]
    page = report.render(ResultFile.from_json(result))
    assert "run <code>distilsearch measure &lt;RUN&gt;</code> again" in page
    assert "a lone ` stays" in page


def test_a_long_value_may_be_broken_where_its_parts_end() -> None:
    assert parts.cell("6/384/0,1,2", "words") == '<td class="words">6/<wbr>384/<wbr>0,<wbr>1,<wbr>2</td>'
    assert parts.cell("6/384") == "<td>6/384</td>"
    assert parts.cell("a/<b>", "words") == '<td class="words">a/<wbr>&lt;b&gt;</td>'
