"""Plugins: found by name or by entry point, added once, refused with the reason."""

import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from distilsearch.engine.strategies import STRATEGIES, find_strategy
from distilsearch.errors import InputError
from distilsearch.families import FAMILIES
from distilsearch.plugins import PLACES, Plugin, load

STRATEGY = """
from distilsearch.plugins import Plugin

class Sleepy:
    name, needs_design = "sleepy", False
    def options(self): return {}
    def propose(self, view, n, rng): return view.codes[:0]

PLUGIN = Plugin(strategies={"sleepy": Sleepy})
"""


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """What a test adds is gone after it."""
    before = [(known, dict(known)) for known in (STRATEGIES, FAMILIES)]
    modules = set(sys.modules)
    yield
    for known, entries in before:
        known.clear()
        known.update(entries)
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that packages are found in."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_module_that_is_named_adds_its_variants_and_again_changes_nothing(site: Path) -> None:
    (site / "sleepy_strategy.py").write_text(STRATEGY)
    load(["sleepy_strategy"])
    first = dict(STRATEGIES)
    assert find_strategy("sleepy").name == "sleepy"
    load(["sleepy_strategy", "sleepy_strategy"])
    assert dict(STRATEGIES) == first


def test_an_installed_package_is_found_by_its_entry_point(site: Path) -> None:
    package, facts = site / "sleepy_package", site / "sleepy-1.0.dist-info"
    package.mkdir()
    facts.mkdir()
    (package / "__init__.py").write_text("")
    (package / "found.py").write_text(STRATEGY)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: sleepy\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[distilsearch]\nsleepy = sleepy_package.found\n")
    importlib.invalidate_caches()
    load()
    assert "sleepy" in STRATEGIES
    load(["sleepy_package.found"])  # named as well


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"'stranger' cannot be imported .*No module named 'stranger'"),
        ("import nothing_of_the_kind", "'stranger' cannot be imported .*nothing_of_the_kind"),
        ("X = 1", "'stranger' must have an attribute PLUGIN .* it has none"),
        ("PLUGIN = {}", "'stranger' must have an attribute PLUGIN .* it has a dict"),
        (
            "from distilsearch.plugins import Plugin\nPLUGIN = Plugin(strategies={'ehvi': object})",
            "'stranger' adds 'ehvi' to the strategies, and that name is taken",
        ),
    ],
)
def test_what_is_no_plugin_is_refused_by_name(site: Path, content: str | None, message: str) -> None:
    if content is not None:
        (site / "stranger.py").write_text(content)
    importlib.invalidate_caches()
    before = dict(STRATEGIES)
    with pytest.raises(InputError, match=message):
        load(["stranger"])
    assert before == STRATEGIES


def test_a_kind_that_nobody_knows_is_refused_where_it_is_written() -> None:
    with pytest.raises(TypeError, match="optimisers"):
        Plugin(optimisers={})  # type: ignore[call-arg]
    assert {field.name for field in fields(Plugin)} == set(PLACES)


@pytest.mark.parametrize("kind", PLACES)
def test_the_dict_of_each_kind_is_where_it_is_looked_for_and_has_a_contract(kind: str) -> None:
    module, _, name = PLACES[kind].partition(":")
    assert isinstance(getattr(importlib.import_module(module), name), dict)
    row = re.compile(
        rf"^\| \w+ \| `{module.removeprefix('distilsearch.')}\.{name}` \| `(\w+)\.(\w+)` \|$", re.MULTILINE
    )
    (contract,) = row.findall((Path(__file__).parents[2] / "CONTRIBUTING.md").read_text())
    assert isinstance(getattr(importlib.import_module(f"distilsearch.testing.{contract[0]}"), contract[1]), type)


def test_rooms_without_entries_are_not_imported(site: Path) -> None:
    (site / "sleepy_strategy.py").write_text("from distilsearch.plugins import Plugin\nPLUGIN = Plugin()\n")
    code = (
        "import sys; from distilsearch.plugins import load; load(['sleepy_strategy']); print('\\n'.join(sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(site)}
    )
    assert not {"torch", "numpy", "distilsearch.families", "distilsearch.profiling"} & set(run.stdout.split())
