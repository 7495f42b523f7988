"""Tables that are wrong as a whole get a remark; rounds that cannot be true move neither a row nor a roof."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distilsearch.profiling import clock as timing
from distilsearch.profiling.device import Probe, Regime
from distilsearch.profiling.tables import rounds as files
from distilsearch.profiling.tables.remarks import remarks
from distilsearch.profiling.tables.rows import TableMeta
from distilsearch.profiling.tables.table import LatencyTable

META = TableMeta(1, {}, {}, {"float32": 1.2e11}, 2e10, 2e-6, 0.01, 0.4, "test")


def doubts(**figures: Any) -> str:
    return " | ".join(remarks(LatencyTable((), (), replace(META, **figures), {})))


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ({"peak_flops": {"float32": 1.2e8}}, "peak of 0.12 GFLOP/s in float32"),
        ({"peak_flops": {"bfloat16": 9e17}}, "GFLOP/s in bfloat16"),
        ({"bandwidth": 2e7}, "bandwidth of 0.02 GB/s"),
        ({"launch_floor_seconds": 2e-2}, "to launch"),
        ({"additivity_error": 1199.0}, "1.2e+03 x the sum"),
        ({"additivity_error": -0.999}, "another unit"),
    ],
)
def test_a_unit_that_is_wrong_by_a_thousand_gets_a_remark(figures: dict[str, Any], said: str) -> None:
    assert said in doubts(**figures)


@pytest.mark.parametrize(
    "figures",
    [
        {},
        {"peak_flops": {"float32": 1.2e9}, "bandwidth": 1e9, "launch_floor_seconds": 1e-5},  # a small board
        {"peak_flops": {"bfloat16": 2.2e15}, "bandwidth": 8e12, "launch_floor_seconds": 1e-6},  # a large accelerator
        {"additivity_error": float("nan"), "bandwidth": float("nan"), "launch_floor_seconds": float("nan")},
    ],
)
def test_machines_there_are_get_none(figures: dict[str, Any]) -> None:
    assert not doubts(**figures)


@pytest.mark.parametrize("times", [1e-3, 1e-6, 0.05, 1e3])
def test_a_round_that_was_cut_off_does_not_count(times: float) -> None:
    seconds = 2e-3 * (1 + 0.02 * np.random.default_rng(4).random(9))
    spoilt = seconds.copy()
    spoilt[6] *= times
    clean, after = (timing.summarise(list(s), [1e-4] * 9, 1e-4) for s in (seconds, spoilt))
    assert after.seconds_p10 == pytest.approx(clean.seconds_p10, rel=0.02)


@pytest.mark.parametrize("times", [1e-3, 1e3])
def test_a_probe_that_was_cut_off_raises_no_roof(tmp_path: Path, times: float) -> None:
    regime, rows = Regime("float32", "eager", 2), []
    for probe in (
        Probe("peak", "float32", flops=10**9),
        Probe("bandwidth", "float32", bytes=10**8),
        Probe("launch", "float32"),
    ):
        for number in range(8):
            seconds = (1e-6 if probe.name == "launch" else 5e-3) * (times if number == 3 else 1.0)
            rows.append(
                files.Row("probe", probe.signature, regime, "s", number, seconds, 1e-4, None, None, None, 1.0 + number)
            )
    files.append(tmp_path, rows, {"model": "abacus"}, {"torch": "1"})
    meta = LatencyTable.read(tmp_path).meta
    assert meta.peak_flops["float32"] == pytest.approx(2e11)
    assert meta.launch_floor_seconds == pytest.approx(1e-6)
