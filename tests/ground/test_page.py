"""The page room: texts stay texts, ticks are readable, a chart has its place or says why not."""

import math
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilsearch.page import parts
from distilsearch.page.plots import area, band, common_layout, log_axis
from distilsearch.page.shell import document

HOSTILE = """</script><img src=x onerror="alert('2')">&amp;"""
texts = st.text(st.characters(exclude_categories=["C"]), max_size=12) | st.just(HOSTILE)


class Reader(HTMLParser):
    """The texts and tags of a piece of markup."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.texts, self.tags = "", set[str]()
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.texts += data


@given(texts, texts)
def test_a_text_of_the_user_is_a_text_of_the_page(first: str, second: str) -> None:
    pieces = [
        parts.header("", first, second),
        parts.notices([first, second]),
        parts.tiles([(first, second)]),
        parts.card(first, second, ""),
        parts.folded(first, parts.nothing(second)),
        parts.table([], [parts.row([parts.cell(first, small=second)])], HOSTILE),
        parts.code(first, HOSTILE, second),
        parts.chart("one", {"one": {}}, HOSTILE) + parts.chart("none", {}, "", first),
    ]
    for piece in pieces:
        reader = Reader(piece)
        assert not {"script", "img"} & reader.tags
        assert first in reader.texts
    assert all(second in Reader(piece).texts for piece in pieces[:-1])


@given(st.lists(st.floats(1e-6, 1e13), min_size=1, max_size=5))
def test_ticks_lie_on_the_axis_and_are_few(values: list[float]) -> None:
    axis = log_axis(values)
    low, high = axis["range"]
    assert low <= math.log10(min(values)) <= math.log10(max(values)) <= high
    ticks = axis.get("tickvals", [])
    assert all(low <= math.log10(tick) <= high for tick in ticks)
    assert len(ticks) <= 25
    assert len(set(axis.get("ticktext", []))) == len(ticks)


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([1.0, 4.0], ["1", "1.5", "2", "3"]),
        ([1.0, 20.0], ["1", "2", "3", "5", "10", "20"]),
        ([1e3, 2e9], ["1k", "10k", "100k", "1M", "10M", "100M", "1G"]),
    ],
)
def test_ticks_are_what_people_would_write(values: list[float], texts: list[str]) -> None:
    assert log_axis(values)["ticktext"] == texts


def test_a_band_is_an_area_around_the_diagonal() -> None:
    trace = band(1.0, 10.0)
    assert (trace["x"], trace["y"]) == ([1.0, 10.0, 10.0, 1.0], pytest.approx([1.1, 11.0, 9.0, 0.9]))
    assert area([1, 2], [0, 0], [5, 6], "x")["y"] == [5, 6, 0, 0]


def test_the_shell_holds_its_figures_and_asks_nobody() -> None:
    figures = {"one": {"data": [], "layout": common_layout("<x>", "y")}}
    page = document(HOSTILE, parts.chart("one", figures, "a chart"), figures)
    assert "default-src 'none'" in page
    assert '<div id="one"' in page
    assert '"text": "\\u003cx>"' in page
    assert "plotly.js v" not in document("t", "", {})
