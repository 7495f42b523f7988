"""`distilsearch tables` from the command line: what it prints, and what it says when something is wrong."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from distilsearch.cli import app
from distilsearch.errors import DistilSearchError, TableError
from distilsearch.operators import Serving
from distilsearch.profiling import LatencyTable, profile
from distilsearch.space import SearchSpace

Fake = Callable[..., Any]


def run(*arguments: object) -> str:
    """What a command prints; errors raised on purpose pass through."""
    done = CliRunner().invoke(app, ["tables", *map(str, arguments)])
    if isinstance(done.exception, DistilSearchError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def table(space: SearchSpace, serving: Serving, store: Path, make_fake: Fake) -> LatencyTable:
    device = make_fake()
    return profile(space, device, serving, store, models=1, clock=device.clock, cache="both")


def test_a_table_is_listed_shown_compared_and_sent(
    table: LatencyTable, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert table.folder is not None
    assert table.folder.name in run("list", "--store", store)
    page = tmp_path / "page.html"
    shown = run("show", table.folder, "--out", page)
    assert re.search(r"\d+ operators: .*\n\d+ operators with cold caches: ", shown)
    assert "cold cache" in page.read_text()
    assert shown.splitlines()[-1] == str(page)
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.rglob("*"))
    assert run("show", table.folder) == shown.removesuffix(f"{page}\n")
    assert set(tmp_path.rglob("*")) == before  # nobody has asked for a page
    assert "is sound" in run("check", table.folder)
    assert "1.000    0.0%    0.0%" in run("diff", table.folder, store)
    assert "sent to" in run("push", tmp_path / "away", "--store", store)
    assert "nothing new" in run("push", tmp_path / "away", "--store", store)
    assert str(tmp_path / "here") in run("pull", tmp_path / "away", "--store", tmp_path / "here")


def test_stores_devices_and_tables_are_merged(table: LatencyTable, store: Path, tmp_path: Path) -> None:
    assert table.folder is not None
    for i, source in enumerate((store, table.folder.parent, table.folder)):
        assert f"{len(table.models)} whole models" in run("merge", source, "--store", tmp_path / str(i))
    assert str(store) in run("merge", store, store, "--store", store)


def test_what_is_no_table_is_named(table: LatencyTable, store: Path, tmp_path: Path, make_fake: Fake) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no latency table yet" in run("list", "--store", empty)
    for command in (["show", empty], ["diff", store, empty], ["check", empty]):
        with pytest.raises(TableError, match=r"there is no latency table in .*empty"):
            run(*command)
    with pytest.raises(TableError, match="there is no folder"):
        run("show", tmp_path / "nothing")
    with pytest.raises(TableError, match=r"empty holds no latency table; name a store"):
        run("merge", empty)
    with pytest.raises(TableError, match="there is no folder"):
        run("merge", tmp_path / "nothing")
    with pytest.raises(TableError, match="holds no latency table to send"):
        run("push", tmp_path / "away", "--store", empty)
    with pytest.raises(TableError, match=r"expected DEVICE/STACK/rounds"):
        run("pull", empty, "--store", store)


def test_two_tables_are_not_one(
    table: LatencyTable, space: SearchSpace, serving: Serving, store: Path, make_fake: Fake
) -> None:
    other = make_fake(torch="2")
    profile(space, other, serving, store, models=0, clock=other.clock)
    with pytest.raises(TableError, match="expected the folder of one table"):
        run("show", store)


def test_a_store_to_read_is_not_made(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["tables", "list", "--store", str(tmp_path / "typo")])
    assert done.exit_code == 2
    assert not (tmp_path / "typo").exists()
