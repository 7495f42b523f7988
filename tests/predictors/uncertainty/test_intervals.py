"""Conformal intervals: coverage on exchangeable models, recovery on winners, and the few-model limit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilsearch.errors import InputError
from distilsearch.predictors.uncertainty.intervals import Intervals


@pytest.mark.parametrize("n", [9, 20, 100])
@pytest.mark.parametrize("law", ["normal", "laplace", "skewed"])
def test_covers_exchangeable_models_whatever_the_law(n: int, law: str) -> None:
    rng = np.random.default_rng(0)
    draw = {"normal": rng.normal, "laplace": rng.laplace, "skewed": lambda size: rng.exponential(size=size) - 1}[law]
    held = [abs(draw(size=1)[0]) <= Intervals.fit(draw(size=n), np.ones(n)).width for _ in range(600)]
    assert np.mean(held) >= 0.9 - 3 * np.sqrt(0.09 / 600)


@given(st.lists(st.floats(-1, 1), max_size=40), st.floats(1.0, 5.0))
def test_intervals_are_positive_and_grow_with_the_scale(residuals: list[float], scale: float) -> None:
    intervals = Intervals.fit(residuals, np.ones(len(residuals)))
    factor = intervals.factor(np.array([1.0, scale, scale + 1]))
    assert (factor > 1).all()
    assert (np.diff(factor) >= 0).all()
    assert (intervals.deviation(np.array([1.0, 2.0])) > 0).all()


def test_without_models_the_prior_answers_and_models_narrow_it() -> None:
    widths = [Intervals.fit(np.full(n, 0.01), np.ones(n)).width for n in (0, 1, 3, 8, 9)]
    assert widths[0] > 0.3
    assert (np.diff(widths) < 0).all()
    assert widths[-1] == pytest.approx(0.01)


def test_residuals_are_pooled_after_their_scales() -> None:
    one = Intervals.fit([0.02, -0.01, 0.03] * 5, np.ones(15))
    other = Intervals.fit(np.array([0.02, -0.01, 0.03] * 5) * 4, np.full(15, 4.0))
    assert one.width == pytest.approx(other.width)


def test_never_narrower_than_the_noise_of_the_measurements() -> None:
    assert Intervals.fit(np.zeros(20), np.ones(20), floor=0.02).width == 0.02


def test_recovers_on_winners_of_a_search() -> None:
    """Picking the best-looking of many predictions picks optimistic errors; adaptation brings the coverage back."""
    still, adapted = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        fixed = Intervals.fit(rng.normal(0, 0.1, 30), np.ones(30))
        moving = Intervals.fit(rng.normal(0, 0.1, 30), np.ones(30))
        for _ in range(25):
            truth = rng.normal(0, 0.1, 12)
            predicted = truth + rng.normal(0, 0.1, 12)
            winner = int(np.argmin(predicted))
            residual = float(truth[winner] - predicted[winner])
            still.append(abs(residual) <= fixed.width)
            adapted.append(moving.observe(residual, 1.0))
    assert np.mean(still) < 0.75
    assert np.mean(adapted) > 0.85


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_misses_widen_and_hits_narrow(outcomes: list[bool]) -> None:
    intervals = Intervals.fit([0.1] * 20, np.ones(20))
    for miss in outcomes:
        before = intervals.width
        assert intervals.observe(2 * before if miss else 0.0, 1.0) is not miss
        assert (intervals.width > before) is miss
    assert (intervals.observed, intervals.missed) == (len(outcomes), sum(outcomes))
    assert Intervals.from_json(intervals.to_json()) == intervals


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="level"):
        Intervals.fit([], [], level=90)
    with pytest.raises(InputError, match="one positive tier scale each"):
        Intervals.fit([0.1, np.nan], [1.0, 1.0])
