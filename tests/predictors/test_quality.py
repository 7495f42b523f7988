"""Error statistics against their definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilsearch.errors import InputError
from distilsearch.predictors import quality

positive = st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=30)


def test_errors_by_hand() -> None:
    e = quality.errors([1.0, 2.1, 2.7, 5.0], [1.0, 2.0, 3.0, 4.0])
    assert (e.n, e.within_5, e.within_10) == (4, 0.5, 0.75)
    assert e.median == pytest.approx(0.075)
    assert e.mean == pytest.approx(0.1)
    assert e.worst == pytest.approx(0.25)
    assert e.bias == pytest.approx(0.05)
    assert "median 7.5%" in str(e)


@given(positive, st.floats(0.5, 2.0))
def test_errors_do_not_depend_on_the_unit(values: list[float], unit: float) -> None:
    measured = np.array(values)
    a, b = quality.errors(1.07 * measured, measured), quality.errors(unit * 1.07 * measured, unit * measured)
    assert a.median == pytest.approx(b.median)
    assert (a.within_5, a.within_10) == (b.within_5, b.within_10) == (0.0, 1.0)


def test_rank_correlations_by_hand() -> None:
    a, b = [1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 4.0]
    assert quality.kendall(a, b) == pytest.approx(4 / 6)
    assert quality.spearman(a, b) == pytest.approx(0.8)
    assert quality.kendall(a, a) == quality.spearman(a, a) == pytest.approx(1.0)
    assert quality.kendall(a, [1.0] * 4) == quality.spearman([1.0] * 4, a) == 0.0


def test_coverage_knows_how_little_few_measurements_say() -> None:
    few = quality.coverage(np.zeros(10), np.ones(10), [0.5] * 8 + [2.0] * 2)
    many = quality.coverage(np.zeros(1000), np.ones(1000), [0.5] * 800 + [2.0] * 200)
    assert few.share == many.share == 0.8
    assert few.agrees(0.9)
    assert not many.agrees(0.9)
    assert "80.0% of 10" in str(few)


@pytest.mark.parametrize("values", [([], []), ([1.0], [1.0, 2.0]), ([np.nan], [1.0])])
def test_unequal_empty_or_missing_values_are_refused(values: tuple[list[float], list[float]]) -> None:
    with pytest.raises(InputError):
        quality.kendall(*values)
    with pytest.raises(InputError, match="positive"):
        quality.errors([0.0], [1.0])
