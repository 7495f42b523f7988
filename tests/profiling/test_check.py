"""After a change of stack: rows that still hold are taken over, rows that moved together rescaled, others measured."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distilsearch.architecture import Architecture
from distilsearch.errors import TableError
from distilsearch.operators import Operator, Serving
from distilsearch.profiling import LatencyTable, profile
from distilsearch.profiling.check import check, chosen, judged, nearest_sibling
from distilsearch.profiling.device import Regime
from distilsearch.space import SearchSpace

Fake = Callable[..., Any]
REGIME = Regime("float32", "eager", 1)


def changed(make_fake: Fake, factor: Callable[[Any], float], torch: str = "2") -> Any:
    """A device with a newer stack on which work takes `factor(work)` times as long."""
    device = make_fake(torch=torch)
    true = device.true_seconds
    device.true_seconds = lambda work, serving: factor(work) * true(work, serving)
    return device


def large(space: SearchSpace) -> SearchSpace:
    from distilsearch.families import family

    genes = {"layers": [1, 2], "width": [32, 48, 64, 96], "heads": [2, 3, 4, 6], "ffn": [64, 96, 128, 192, 256]}
    return family("bert").space({**genes, "vocabulary": [100]})


@pytest.fixture
def old(space: SearchSpace, serving: Serving, store: Path, make_fake: Fake) -> LatencyTable:
    device = make_fake()
    return profile(large(space), device, serving, store, clock=device.clock)


def after(device: Any, store: Path) -> tuple[dict[str, str], LatencyTable]:
    found = check(device, store, clock=device.clock)
    return {v.kind: v.decision for v in found.verdicts}, found.table


def test_nothing_changed(old: LatencyTable, space: SearchSpace, serving: Serving, store: Path, make_fake: Fake) -> None:
    device = changed(make_fake, lambda work: 1.0)
    decisions, table = after(device, store)
    assert decisions["linear"] == decisions["norm"] == decisions["model"] == "accept"
    assert len([w for w in device.prepared if isinstance(w, Operator)]) < 0.6 * len(old.operators)
    assert {r.operator for r in table.operators} >= {r.operator for r in old.operators if r.operator.kind == "linear"}


def test_kinds_that_moved_together_are_rescaled(
    old: LatencyTable, space: SearchSpace, serving: Serving, store: Path, make_fake: Fake
) -> None:
    def slower(work: Any) -> float:
        return 1.5 if isinstance(work, Operator) and work.kind == "linear" else 1.0

    device = changed(make_fake, slower)
    decisions, table = after(device, store)
    assert decisions["linear"] == "rescale"
    assert decisions["norm"] == "accept"
    for row in table.operators:
        assert row.measured.seconds_p10 == pytest.approx(device.true_seconds(row.operator, serving), rel=0.06)


def test_kinds_that_moved_apart_are_measured_anew(
    old: LatencyTable, space: SearchSpace, serving: Serving, store: Path, make_fake: Fake
) -> None:
    def uneven(work: Any) -> float:
        if isinstance(work, Architecture) or not isinstance(work, Operator) or work.kind != "linear":
            return 1.0
        return 1.8 if int(work.sizes["inputs"]) * 7919 % 13 % 2 else 1.0

    device = changed(make_fake, uneven)
    decisions, _ = after(device, store)
    assert decisions["linear"] == "anew"
    device.prepared.clear()
    table = profile(large(space), device, serving, store, clock=device.clock)
    again = {w for w in device.prepared if isinstance(w, Operator)}
    assert {o.kind for o in again} >= {"linear"}
    assert not {o for o in again if decisions[o.kind] != "anew"}
    for row in table.operators:
        assert row.measured.seconds_p10 == pytest.approx(device.true_seconds(row.operator, serving), rel=0.06)


def test_the_nearest_sibling_is_the_most_alike(
    old: LatencyTable, space: SearchSpace, serving: Serving, store: Path, make_fake: Fake
) -> None:
    assert nearest_sibling(make_fake(torch="2"), store) == old
    assert nearest_sibling(make_fake(), store) is None
    with pytest.raises(TableError, match="no table of this fake"):
        check(make_fake(model="slide rule"), store)


@pytest.mark.parametrize(
    ("shift", "spread", "decision"),
    [(0.0, 0.01, "accept"), (0.02, 0.01, "accept"), (0.3, 0.02, "rescale"), (-0.3, 0.02, "rescale"), (0, 0.4, "anew")],
)
def test_the_rule(shift: float, spread: float, decision: str) -> None:
    """On a hundred draws of twelve rows, the documented decision is the usual one."""
    rng = np.random.default_rng(0)
    found = [judged("x", REGIME, list(rng.normal(shift, spread, 12)), 0.01).decision for _ in range(100)]
    assert found.count(decision) >= 95


def test_noise_widens_the_rule_and_few_rows_decide_nothing() -> None:
    ratios = list(np.random.default_rng(0).normal(0.0, 0.15, 12))
    assert judged("x", REGIME, ratios, 0.01).decision == "anew"
    assert judged("x", REGIME, ratios, 0.10).decision == "accept"
    few = judged("x", REGIME, ratios[:2], 0.01)
    assert few.decision == "anew"
    assert math.isnan(few.factor)


def test_the_choice_is_spread_over_sizes(old: LatencyTable) -> None:
    rows = [row for row in old.operators if row.operator.kind == "linear"]
    picked = chosen(rows, 0.05)
    seconds = sorted(row.measured.seconds_p10 for row in rows)
    assert [picked[0].measured.seconds_p10, picked[-1].measured.seconds_p10] == [seconds[0], seconds[-1]]
    assert len(picked) == 6
