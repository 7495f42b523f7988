"""Rows with cold caches: asked for, told apart from the hot ones, and kept out of whatever serves."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from distilsearch.errors import InputError
from distilsearch.operators import Serving
from distilsearch.predictors.latency import LatencyPredictor
from distilsearch.profiling import LatencyTable, ModelRow, OperatorRow, profile
from distilsearch.profiling.check import check
from distilsearch.profiling.devices.cpu_loops import last_level_bytes
from distilsearch.space import SearchSpace

Fake = Callable[..., Any]


def grown(cache: str, space: SearchSpace, serving: Serving, store: Path, device: Any) -> LatencyTable:
    return profile(space, device, serving, store, models=1, clock=device.clock, cache=cache)


def seconds(rows: Iterable[OperatorRow | ModelRow]) -> list[float]:
    return [row.measured.seconds_p10 for row in rows]


def test_both_caches_stand_side_by_side(space: SearchSpace, serving: Serving, store: Path, make_fake: Fake) -> None:
    device = make_fake(noise=0.0)
    table = grown("both", space, serving, store, device)
    rows = {cache: [r for r in table.operators if r.regime.cache == cache] for cache in ("hot", "cold")}
    assert [r.operator for r in rows["hot"]] == [r.operator for r in rows["cold"]]
    for hot, cold in zip(rows["hot"], rows["cold"], strict=True):
        assert cold.measured.seconds_p10 - hot.measured.seconds_p10 == pytest.approx(3e-5)
        assert cold.roofline_seconds == hot.roofline_seconds
    assert len(table.models) > 0
    before = len(device.prepared)
    assert grown("both", space, serving, store, device).operators == table.operators
    assert len(device.prepared) == before


def test_cold_rows_are_added_to_hot_ones(space: SearchSpace, serving: Serving, store: Path, make_fake: Fake) -> None:
    first, second = make_fake(noise=0.0), make_fake(noise=0.0)
    hot = grown("hot", space, serving, store, first)
    both = grown("cold", space, serving, store, second)
    assert {r.regime.cache for r in hot.operators} == {"hot"}
    assert seconds(r for r in both.operators if r.regime.cache == "hot") == pytest.approx(
        seconds(hot.operators), rel=0.01
    )
    assert seconds(both.models) == seconds(hot.models)
    assert both.meta.noise_floor == hot.meta.noise_floor
    assert both.meta.additivity_error == hot.meta.additivity_error


def test_a_predictor_sees_hot_rows_alone(space: SearchSpace, serving: Serving, store: Path, make_fake: Fake) -> None:
    students = space.decode(space.grid(100))
    hot = LatencyPredictor.fit(grown("hot", space, serving, store, make_fake(noise=0.0)))
    both = LatencyPredictor.fit(grown("cold", space, serving, store, make_fake(noise=0.0)))
    assert (hot.predict(students, serving).mean_ms == both.predict(students, serving).mean_ms).all()
    assert (hot.predict(students, serving).upper_ms == both.predict(students, serving).upper_ms).all()


def test_a_check_judges_cold_rows_by_cold_ones(
    space: SearchSpace, serving: Serving, store: Path, make_fake: Fake
) -> None:
    old = grown("both", space, serving, store, make_fake())
    newer = make_fake(torch="2")
    found = check(newer, store, clock=newer.clock)
    assert {v.regime.cache for v in found.verdicts} == {"hot", "cold"}
    assert {v.decision for v in found.verdicts if v.rows >= 4} == {"accept"}
    assert len(found.table.operators) <= len(old.operators)
    assert {r.regime.cache for r in found.table.operators} == {"hot", "cold"}


def test_an_unknown_cache_is_named(space: SearchSpace, serving: Serving, store: Path, make_fake: Fake) -> None:
    with pytest.raises(InputError, match=r"unknown cache 'warm': known: both, cold, hot"):
        grown("warm", space, serving, store, make_fake())


def test_the_last_level_cache_is_known_or_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert last_level_bytes() >= 1 << 20
    monkeypatch.setattr("distilsearch.profiling.devices.cpu_loops.CACHES_FOLDER", tmp_path)
    assert last_level_bytes() == 32 << 20
    for core, shared in (("cpu0", "0-1"), ("cpu1", "0-1")):
        folder = tmp_path / core / "cache" / "index3"
        folder.mkdir(parents=True)
        (folder / "size").write_text("2048K\n")
        (folder / "shared_cpu_list").write_text(f"{shared}\n")
    assert last_level_bytes() == 2 << 20
