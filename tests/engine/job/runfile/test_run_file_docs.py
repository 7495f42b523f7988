"""docs/run-file.md names every key of the run file, and the defaults it states are those of the code."""

from pathlib import Path

import pytest

from distilsearch.engine.job.runfile.config import Run
from distilsearch.engine.job.runfile.evaluated import EvaluateSection, ProxySection
from distilsearch.engine.job.runfile.sections import SECTIONS
from distilsearch.engine.job.source import SOURCES
from distilsearch.engine.strategies import STRATEGIES

TEXT = (Path(__file__).parents[4] / "docs" / "run-file.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip().strip("|").split(" | ")] for line in TEXT.splitlines() if line[:1] == "|"
]


def _section(name: str) -> dict[str, list[str]]:
    """The rows of a section by key; "" is the top level."""
    rows, here = {}, ""
    for row in ROWS:
        if row[0].startswith("**`"):
            here = row[0].strip("*`[]")
        elif here == name and row[0].startswith("`"):
            rows[row[0].strip("`")] = row
    return rows


def test_every_key_is_documented() -> None:
    sections = {"space", "strategy", "source", "evaluate", "proxy", *SECTIONS}
    assert set(_section("")) == set(Run.model_fields) - sections
    for name, section in SECTIONS.items():
        assert set(_section(name)) == set(section.model_fields), name
    assert set(_section("evaluate")) == {"with", *EvaluateSection.model_fields}
    assert set(_section("proxy")) == {"with", *ProxySection.model_fields}
    assert set(_section("strategy")) == set(_section("source")) == {"name"}


@pytest.mark.parametrize("name", ["", *SECTIONS])
def test_the_defaults_are_those_of_the_code(name: str) -> None:
    fields = SECTIONS[name].model_fields if name else Run.model_fields
    for key, row in _section(name).items():
        default, stated = fields[key].default, row[1].replace(",", "")
        if isinstance(default, str):
            assert stated in (f'`"{default}"`', "the file's name"), key
        elif isinstance(default, int | float) and not isinstance(default, bool):
            assert float(stated) == default, key


def test_every_strategy_and_source_is_documented() -> None:
    for name in (*STRATEGIES, *SOURCES):
        assert f'`"{name}"`' in TEXT, name
