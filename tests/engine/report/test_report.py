"""The report: self-contained, escaped, complete, and calm about whatever is missing."""

import html
import json
import re
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from distilsearch.engine.report import report
from distilsearch.engine.report.files import write_report
from distilsearch.engine.report.readings import Reading
from distilsearch.engine.report.readings import headline as headline_of
from distilsearch.engine.report.schema import ResultFile
from distilsearch.engine.report.sections import SECTIONS, Section
from distilsearch.engine.report.terminal import answer_lines, final_table
from distilsearch.engine.report.words import count, milliseconds

Result = dict[str, Any]


def render(result: Result) -> str:
    return report.render(ResultFile.from_json(result))


def headline(result: Result) -> str:
    return headline_of(Reading(ResultFile.from_json(result)))


def sparse(result: Result, case: str) -> Result:
    """The same search in poorer states."""
    one = result["trials"][0]
    return {
        "just started": result | {"front": [], "knee": None, "trials": [], "hypervolume_trace": [], "surrogate": None,
                                  "rank_fidelity": {}, "phases": []},
        "one trial": result | {"trials": [one], "front": [one | {"student": None}], "knee": one["key"],
                               "hypervolume_trace": [0.4], "surrogate": None},
        "one running": result | {"trials": [one | {"state": "running", "loss": None, "latency_ms": {}, "curve": []}],
                                 "front": [], "knee": None},
        "unmeasured": unmeasured(result),
        "mlm": result | {"quality": "mlm loss", "teacher": result["teacher"] | {
            "loss": None, "latency_ms": {"predicted": 14.0, "measured": None}}},
        "generic": json.loads(json.dumps(result).replace('"layers"', '"depth"').replace('"width"', '"channels"')),
    }[case]  # fmt: skip


CASES = ("just started", "one trial", "one running", "unmeasured", "mlm", "generic")


def unmeasured(result: Result) -> Result:
    """What a search for a machine elsewhere gives."""
    poorer: Result = json.loads(json.dumps(result))
    for entry in (*poorer["front"], *poorer["trials"], poorer["teacher"]):
        entry["latency_ms"]["measured"] = None
    return poorer


class Page(HTMLParser):
    """Checks that tags nest, and keeps what the tests ask for."""

    void = frozenset({"meta", "link", "img", "br", "hr", "input", "wbr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.starts: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.starts.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "script" in self.open or "style" in self.open:
            return
        self.text.append(data)
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


def figures_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.S)
    assert found
    figures: dict[str, Any] = json.loads(found[1])
    return figures


def terminal(result: Result, width: int = 200) -> str:
    out = StringIO()
    Console(file=out, width=width).print(final_table(ResultFile.from_json(result)))
    return out.getvalue()


def test_page_is_whole_and_needs_no_network(result: Result, tmp_path: Path) -> None:
    write_report(ResultFile.from_json(result), tmp_path)
    text = (tmp_path / "report.html").read_text()
    page = Page(text)
    assert text == render(result)
    assert text.count("plotly.js v") == 1
    for tag, attrs in page.starts:
        assert tag not in ("link", "img", "iframe", "base", "object")
        assert not attrs.get("src")
        assert not (attrs.get("href") or "").startswith(("http", "//"))
    policy = [attrs["content"] for tag, attrs in page.starts if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy[0] is not None
    assert policy[0].startswith("default-src 'none'")


def test_every_chart_is_valid_plotly_and_has_its_place(result: Result) -> None:
    import plotly.graph_objects as go

    page = render(result)
    figures = figures_of(page)
    assert set(figures) == {"front-0", "latency-0", "hypervolume", "calibration", "curves"}
    for name, figure in figures.items():
        go.Figure(json.loads(re.sub(r"var\(--\w+\)", "#123456", json.dumps(figure))))
        assert f'<div id="{name}"' in page
    colours = set(re.findall(r"var\((--\w+)\)", json.dumps(figures)))
    assert all(f"{colour}:" in page for colour in colours)


def test_all_numbers_of_the_front_appear(result: Result) -> None:
    text = render(result)
    rows = {row[0].removesuffix("chosen"): row for row in Page(text).rows if row}
    front = figures_of(text)["front-0"]["data"]
    shown = {(x, y) for trace in front for x, y in zip(trace["x"], trace["y"], strict=True)}
    for member in result["front"]:
        row, ms = rows[member["key"]], member["latency_ms"]
        values = member["architecture"]["values"]
        assert row[1] == "/".join(str(values[name]) for name in ("layers", "width", "heads", "ffn", "inherit"))
        assert row[2] == count(member["parameters"])
        assert row[3].startswith(milliseconds(ms["predicted"]))
        assert milliseconds(ms["lower"]) in row[3]
        assert milliseconds(ms["upper"]) in row[3]
        assert row[4] == milliseconds(ms["measured"])
        assert row[6] == f"{1 - member['loss']:.3f}"
        assert (ms["measured"] or ms["predicted"], 1 - member["loss"]) in shown


def test_failures_are_listed_with_their_causes(result: Result) -> None:
    rows = [row for row in Page(render(result)).rows if "failed" in row]
    assert [row[-1] for row in rows] == [result["trials"][7]["cause"], result["trials"][15]["cause"]]


def test_headline_says_what_was_found(result: Result) -> None:
    knee = next(member for member in result["front"] if member["key"] == result["knee"])
    values, ratio = knee["architecture"]["values"], 14.2 / knee["latency_ms"]["measured"]
    layers = f"{values['layers']} layer{'s' if values['layers'] > 1 else ''}"
    expected = (
        f"{layers} × {values['width']} is {ratio:.1f}× faster than the teacher at {1 - knee['loss']:.2f} agreement"
    )
    assert headline(result) == expected
    assert expected in "".join(Page(render(result)).text)
    assert "is predicted to be" in headline(unmeasured(result))
    assert "MLM loss" in headline(sparse(result, "mlm"))


HOSTILE = """</script><script>alert(1)</script><img src=x onerror="alert('2')">&amp;"""


def poisoned(value: Any) -> Any:
    """Hostile text in place of every free text of a result."""
    if isinstance(value, dict):
        return {
            name: item if name in ("state", "quality", "objective") else poisoned(item) for name, item in value.items()
        }
    if isinstance(value, list):
        return [item if item in ("loss", "latency_ms") else poisoned(item) for item in value]
    return f"{value}{HOSTILE}" if isinstance(value, str) else value


def test_hostile_text_stays_text(result: Result) -> None:
    bad = poisoned(result) | {"quality": HOSTILE}
    bad["environment"][HOSTILE] = HOSTILE
    bad["front"][0]["architecture"]["values"][HOSTILE] = HOSTILE
    text = render(bad)
    page = Page(text)
    assert [tag for tag, _ in page.starts].count("script") == 3
    assert "img" not in {tag for tag, _ in page.starts}
    assert not any(name.startswith("on") for _, attrs in page.starts for name in attrs)
    assert all(attrs["href"].startswith("./students/") for tag, attrs in page.starts if tag == "a" and attrs["href"])
    labels = json.dumps(figures_of(text))
    assert "<img" not in labels
    assert "<script" not in labels
    assert html.escape(HOSTILE) in text
    assert "alert" in terminal(bad, 4000)


def test_link_of_a_student_cannot_leave_the_page(result: Result) -> None:
    result["front"][0]["student"] = "javascript:alert(1)"
    links = [attrs["href"] for tag, attrs in Page(render(result)).starts if tag == "a"]
    assert all(link and link.startswith("./") for link in links)


@pytest.mark.parametrize("case", CASES)
def test_poor_results_still_give_a_page_and_a_table(result: Result, case: str) -> None:
    poorer = sparse(result, case)
    text = render(poorer)
    page = Page(text)
    words = "".join(page.text)
    assert headline(poorer) in words
    assert not re.search(r"\bNone\b|\bnan\b(?!>)", words)
    assert all(figure["data"] for figure in figures_of(text).values())
    assert terminal(poorer)


def test_empty_states_say_what_is_missing(result: Result) -> None:
    started = render(sparse(result, "just started"))
    for words in ("The front is empty so far", "No latency has been measured yet", "No trial has completed yet"):
        assert words in started
    assert "measured" not in {trace["name"] for trace in figures_of(render(unmeasured(result)))["front-0"]["data"]}
    assert "latency-0" not in figures_of(render(unmeasured(result)))


def test_rank_fidelity_is_told_with_its_note(result: Result) -> None:
    assert "full training of 6 students: Spearman 0.93, Kendall 0.80." in render(result)
    result["rank_fidelity"] = {"spearman": None, "kendall": None, "pairs": 1, "note": "fewer than 3 students have both"}
    assert "Short against full training: fewer than 3 students have both." in render(result)


def test_what_there_was_no_time_for_stands_with_the_times(result: Result) -> None:
    assert "Not all of it was done" not in render(result)
    result["phases"] = [
        {"what": "judge cuts", "seconds": 6.0, "short": "12 of 56 <cuts>"},
        {"what": "x", "seconds": 1.0},
    ]
    assert "Not all of it was done. Judge cuts: 12 of 56 &lt;cuts&gt;." in render(result)


def test_what_is_not_there_is_a_dash(result: Result) -> None:
    result["front"][0] |= {"parameters": None, "latency_ms": {"predicted": -1.0, "measured": 0.0}}
    result["hypervolume_trace"][2] = None
    result["trials"][0]["curve"][1][1] = None
    row = next(row for row in Page(render(result)).rows if row and row[0].startswith(result["front"][0]["key"]))
    assert row[2:6] == ["–"] * 4
    assert terminal(result)


def test_a_section_more_is_a_function_more(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    def mine(reading: Reading) -> Section:
        return Section(f"<p>{len(reading.front)} on the front</p>", {"mine": {"data": [], "layout": {}}})

    monkeypatch.setattr(report, "SECTIONS", [*SECTIONS, mine, lambda reading: None])
    text = render(result)
    assert f"<p>{len(result['front'])} on the front</p>" in text
    assert "mine" in figures_of(text)


def test_a_pair_of_student_and_serving_is_named_whole(result: Result) -> None:
    served = {"runtime": "onnxruntime", "dtype": "int8"}
    result["front"][0] |= {"key": "aaaabbbbcccc-01234567", "served": served}
    rows = {row[0]: row for row in Page(render(result)).rows if row}
    assert "onnxruntime, int8" in rows["aaaabbbbcccc-01234567"]
    assert "aaaabbbbcccc-01234567" in terminal(result)
    assert "onnxruntime, int8" in json.dumps(figures_of(render(result))["front-0"])


def test_who_was_trained_longer_stands_beside_the_front_of_equals_and_hides_nobody(result: Result) -> None:
    front = sorted(result["front"], key=lambda member: member["latency_ms"]["predicted"])
    fastest = front[0]
    equal = fastest["loss"]
    fastest |= {"flash_loss": equal, "flash_tokens": 160_000, "tokens": 800_000, "loss": 0.01}  # the best of all
    traces = {trace["name"]: trace for trace in figures_of(render(result))["front-0"]["data"]}
    ms = fastest["latency_ms"]["measured"] or fastest["latency_ms"]["predicted"]
    assert len(traces["front line"]["x"]) > 1
    assert (ms, 1 - equal) in zip(traces["front"]["x"], traces["front"]["y"], strict=True)
    assert list(zip(traces["finished"]["x"], traces["finished"]["y"], strict=True)) == [(ms, 0.99)]


def measured(entry: Result, ms: float, **about: float) -> None:
    entry["latency_ms"] = {"predicted": 1.51, "lower": 1.4, "upper": 1.6, "measured": ms, **about}


@pytest.mark.parametrize("about", [{"slowness": 1.6}, {"repeated": 1.25}, {"slowness": 3.0, "repeated": 1.01}])
@pytest.mark.parametrize("whose", ["student", "teacher"])
def test_digits_that_are_known_to_be_disturbed_are_not_printed(result: Result, about: dict, whose: str) -> None:
    """The same in headline, tiles, tables, answers, hovers and terminal: no figure that rests on it in full."""
    chosen = next(member for member in result["front"] if member["key"] == result["knee"])
    measured(chosen, 0.8734, measured_first=1.613, **(about if whose == "student" else {}))
    measured(result["teacher"], 18.71, **(about if whose == "teacher" else {}))
    text, words = render(result), "".join(Page(render(result)).text)
    shown = [words, json.dumps(figures_of(text)["front-0"]["data"][-2]["hovertext"]), terminal(result)]
    shown += answer_lines(ResultFile.from_json(result))
    assert not [part for part in shown if re.search(r"21\.4|21×|21x", part)]  # 18.71 / 0.8734
    assert "≈20× faster" in headline(result)
    assert "≈20×" in words
    assert "≈20×" in terminal(result)
    ms = "0.873" if whose == "student" else "18.7"
    assert not [part for part in shown if ms in part]
    assert ("≈0.9" if whose == "student" else "≈20") in words
    assert "1.61 at its trial" in words


def test_both_measurements_are_shown_and_how_far_repeats_differ(result: Result) -> None:
    for i, member in enumerate(result["front"]):
        measured(member, 2.0, measured_first=2.5, slowness=1.0, repeated=1.02 + 0.002 * i)
    measured(result["front"][0], 2.0, measured_first=2.5, slowness=2.0, repeated=1.5)
    words = "".join(Page(render(result)).text)
    assert re.search(r"2\.00\s*2\.50 at its trial", words)
    assert "differed by" in words
    assert "at most 50.0\u00a0%" in words
    assert "From its trial to that session a student's latency moved by 20.0\u00a0%" in words
    assert "Left out of that: 1 disturbed measurement." in words


def test_two_targets_get_their_own_charts_and_columns(result: Result) -> None:
    result["objectives"].append("latency_ms_2")
    for entry in (*result["front"], *result["trials"], result["teacher"]):
        entry["latency_ms_2"] = {name: value and 3 * value for name, value in entry["latency_ms"].items()}
    result["targets"].append(result["targets"][0] | {"objective": "latency_ms_2", "device": "cuda", "limit_ms": None})
    text = render(result)
    assert {"front-0", "front-1", "latency-0", "latency-1"} <= set(figures_of(text))
    assert "Latency 2: cuda" in text
    columns = [str(column.header) for column in final_table(ResultFile.from_json(result)).columns]
    assert columns[3:9] == [f"{word} {i}" for i in (1, 2) for word in ("predicted\nms", "measured\nms", "speedup")]


def test_table_columns_and_knee(result: Result) -> None:
    table = final_table(ResultFile.from_json(result))
    columns = [str(column.header) for column in table.columns]
    expected = "student|layers/width/heads/FFN|parameters|predicted ms|measured ms|speedup|agreement"
    assert [column.replace("/\n", "/").replace("\n", " ") for column in columns] == expected.split("|")
    assert "…" not in terminal(result, 80)
    assert table.row_count == len(result["front"]) + 1
    lines = terminal(result).splitlines()
    assert [line for line in lines if "★" in line and result["knee"] in line]
    assert [line for line in lines if "teacher" in line and "14.2" in line and "1.000" in line]


def test_limit_and_open_dots_are_drawn(result: Result) -> None:
    front = figures_of(render(result))["front-0"]
    assert [note["text"] for note in front["layout"]["annotations"]] == ["limit 9.00 ms"]
    symbols = {symbol for trace in front["data"] if trace["name"] == "trial" for symbol in trace["marker"]["symbol"]}
    assert symbols == {"circle", "circle-open"}


def test_front_line_never_worsens(result: Result) -> None:
    for case in (result, sparse(result, "mlm")):
        steps = next(t for t in figures_of(render(case))["front-0"]["data"] if t["name"] == "front line")
        sign = 1 if case["quality"] == "agreement" else -1
        assert steps["x"] == sorted(steps["x"])
        assert np.all(sign * np.diff(steps["y"]) > 0)
