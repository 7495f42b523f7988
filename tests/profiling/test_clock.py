"""Statistics that see through disturbance, and repetition that stops when it should."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilsearch.profiling import clock as timing
from distilsearch.profiling.clock import Measured, summarise

TIMES = st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=20)


def test_disturbed_rounds_do_not_move_the_low_quantile() -> None:
    seconds = [1.0, 1.01, 1.02, 1.0, 1.01]
    quiet = summarise(seconds, [1.0] * 5, 1.0)
    disturbed = summarise([*seconds, 3.0, 0.5, 4.0], [*[1.0] * 5, 2.0, 1.9, 2.5], 1.0)
    assert disturbed.seconds_p10 == quiet.seconds_p10 == pytest.approx(1.0)
    assert disturbed.status == quiet.status == "ok"
    assert disturbed.seconds_p90 > 3 * quiet.seconds_p90
    assert disturbed.relative_iqr > quiet.relative_iqr


def test_rounds_beside_a_quiet_sentinel_that_were_slow_by_chance_are_not_the_undisturbed_machine() -> None:
    chance = summarise([1.3, 1.31, 1.32, 1.0, 1.01, 1.02, 1.03], [1.0] * 3 + [1.2] * 4, 1.0)
    assert chance.seconds_p10 == chance.seconds_p50 == 1.03


def test_a_machine_that_is_never_quiet_is_noisy() -> None:
    assert summarise([1.0, 2.0, 3.0, 1.5], [2.0, 2.5, 3.0, 2.0], 1.0).status == "noisy"
    assert summarise([1.0, 1.9, 3.0, 1.5], [1.0] * 4, 1.0).status == "noisy"


def test_a_machine_that_is_slow_all_along_is_divided_out_but_bursts_are_not() -> None:
    slow = summarise([1.5, 1.51, 1.52, 1.5], [1.5] * 4, 1.0)
    assert slow.seconds_p10 == pytest.approx(1.0, rel=0.01)
    assert (slow.seconds_p50, slow.status) == (pytest.approx(1.505), "noisy")
    bursts = summarise([1.0, 1.01, 1.6, 1.7], [1.0, 1.25, 1.6, 1.7], 1.0)
    assert bursts.seconds_p10 == pytest.approx(1.0, rel=0.01)
    crowded = summarise([1.5, 1.51, 1.52, 1.5], [7.0] * 4, 1.0)
    assert crowded.seconds_p10 == pytest.approx(1.5, rel=0.01)


def test_a_slow_session_is_folded_into_a_fast_one() -> None:
    fast, slow = [1.0, 1.01, 1.02], [1.1, 1.11, 1.12]
    found = summarise([*fast, *slow], [1.0] * 3 + [1.1] * 3, 1.0, [1.0] * 3 + [1.1] * 3)
    alone = summarise(slow, [1.1] * 3, 1.0, [1.1] * 3)
    assert found.seconds_p10 == pytest.approx(1.0, rel=0.01)
    assert alone.seconds_p10 == pytest.approx(1.0, rel=0.01)
    assert (alone.seconds_p50, alone.sentinel_ratio) == (1.11, pytest.approx(1.1))


@given(TIMES, st.floats(0.5, 4.0))
def test_quantiles_are_ordered_and_scale_with_the_unit(seconds: list[float], unit: float) -> None:
    ratios = [1.0 + (i % 3) / 4 for i in range(len(seconds))]
    found = summarise(seconds, ratios, 1.0)
    assert min(seconds) <= found.seconds_p10 <= max(seconds)
    assert found.seconds_p10 <= found.seconds_p50 <= found.seconds_p90 <= max(seconds)
    assert found.rounds == len(seconds)
    scaled = summarise([s * unit for s in seconds], ratios, 1.0)
    assert scaled.seconds_p10 == pytest.approx(found.seconds_p10 * unit)
    assert scaled.relative_iqr == pytest.approx(found.relative_iqr)


@given(TIMES, st.randoms(use_true_random=False))
def test_the_order_of_rounds_does_not_matter(seconds: list[float], random: Any) -> None:
    pairs = [(s, 1.0 + i / 10) for i, s in enumerate(seconds)]
    shuffled = random.sample(pairs, len(pairs))
    one, other = (summarise(*map(list, zip(*p, strict=True)), 1.0) for p in (pairs, shuffled))
    assert one.seconds_p10 == pytest.approx(other.seconds_p10)
    assert one.status == other.status


@given(st.lists(st.floats(0.9, 5.0), min_size=1, max_size=20))
def test_some_rounds_are_always_kept_and_they_are_the_quietest(ratios: list[float]) -> None:
    kept = timing.kept_rounds(np.array(ratios))
    assert len(kept) >= min(len(ratios), timing.LEAST_KEPT)
    rest = np.delete(np.array(ratios), kept)
    assert not len(rest) or max(np.array(ratios)[kept]) <= min(rest)


def test_settled_needs_three_agreeing_quiet_rounds() -> None:
    quiet = [1.0] * 4
    assert timing.settled([1.0, 1.01, 1.02, 2.0], quiet, 1.0, 0.03)
    assert not timing.settled([1.0, 1.2, 1.3, 2.0], quiet, 1.0, 0.03)
    assert not timing.settled([1.0, 1.01, 1.02, 2.0], [1.0, 1.0, 2.0, 2.0], 1.0, 0.03)


def test_warm_up_runs_until_the_times_stop_falling(make_fake: Callable[..., Any]) -> None:
    device = make_fake(noise=0.0)
    from_cold = device.sentinel(None)
    from_cold.slow_start = 30
    assert timing.warm_up(from_cold, device.clock) == pytest.approx(from_cold.true, rel=0.1)
    assert from_cold.runs >= 28


def test_warm_up_of_slow_work_ends_in_time(make_fake: Callable[..., Any]) -> None:
    device = make_fake()
    slow, start = device.sentinel(None), device.clock.now()
    slow.true = 1.0
    timing.warm_up(slow, device.clock, at_most=0.5)
    assert device.clock.now() - start < 4


def test_a_failed_measurement_has_no_times_in_json() -> None:
    failed = Measured.failed("oom")
    assert not failed.usable
    assert failed.to_json()["seconds_p10"] is None
