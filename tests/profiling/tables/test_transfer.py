"""Tables travel whole, twice is once, and what was damaged on the way is refused where it arrives."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distilsearch.errors import InputError, TableError
from distilsearch.operators import Serving
from distilsearch.profiling import LatencyTable, profile
from distilsearch.profiling.tables.transfer import differences, pull, push
from distilsearch.space import SearchSpace

Fake = Callable[..., Any]


@pytest.fixture
def table(space: SearchSpace, serving: Serving, store: Path, make_fake: Fake) -> LatencyTable:
    device = make_fake()
    return profile(space, device, serving, store, models=1, clock=device.clock)


@pytest.fixture(params=["folder", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "shared") if request.param == "folder" else f"memory://{tmp_path.name}"


def test_there_and_back(table: LatencyTable, store: Path, tmp_path: Path, url: str) -> None:
    assert push(url, store) == len(table.meta.hashes["rounds"])
    assert push(url, store) == 0
    (found,) = pull(url, tmp_path / "other")
    assert found.meta == table.meta
    assert found.operators == table.operators
    assert pull(url, tmp_path / "other") == []


def test_damage_on_the_way_is_refused(table: LatencyTable, store: Path, tmp_path: Path) -> None:
    push(str(tmp_path / "shared"), store)
    path = next((tmp_path / "shared").rglob("*.parquet"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(TableError, match="damaged"):
        pull(str(tmp_path / "shared"), tmp_path / "other")
    assert not list((tmp_path / "other").rglob("*.parquet"))


def test_nothing_there_and_unknown_urls_are_named(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="there is no latency table at"):
        pull(str(tmp_path / "empty"), tmp_path / "other")
    with pytest.raises(InputError, match="cannot open 'nosuch://x'"):
        pull("nosuch://x", tmp_path / "other")


def test_differences(
    table: LatencyTable, space: SearchSpace, serving: Serving, tmp_path: Path, make_fake: Fake
) -> None:
    slow = make_fake(torch="2", noise=0.0)
    true = slow.true_seconds
    slow.true_seconds = lambda work, serving: 2 * true(work, serving)
    other = profile(space, slow, serving, tmp_path / "slow", models=0, clock=slow.clock)
    found = {d.kind: d for d in differences(table, other)}
    assert found["linear"].median_ratio == pytest.approx(2.0, rel=0.03)
    assert found["linear"].only_a == found["linear"].only_b == 0
    assert found["model"].common == 0 < found["model"].only_a
    assert all(d.median == 0 for d in differences(table, table))
