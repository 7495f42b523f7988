"""Composition of operator sums: shrinkage with few models, outliers, and physics that cannot be broken."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilsearch.predictors.composition import COLUMNS, PRIOR, Composition, left_out

LAUNCH = 2e-6
LEAST = 1e-9


def models(n: int, rng: np.random.Generator) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Column sums (n, k) of models as they come: milliseconds of matrices, less of the rest."""
    typical = np.array([2e-3, 5e-4, 2e-4, 1e-4, 0.0, 3e-4, 40 * LAUNCH, LAUNCH])
    spread = np.array([0.8, 0.8, 0.6, 0.3, 0.0, 0.8, 0.6, 0.0])
    return typical * np.exp(spread * rng.standard_normal((n, len(COLUMNS))))


def test_without_models_the_prior_answers() -> None:
    fitted = Composition.fit(np.empty((0, len(COLUMNS))), np.empty(0), np.empty(0))
    assert fitted.coefficients == tuple(PRIOR)


def test_one_model_moves_the_common_factor() -> None:
    sums = models(1, np.random.default_rng(0))
    fitted = Composition.fit(sums, np.full(1, LEAST), 1.4 * sums @ PRIOR)
    coefficients = dict(zip(COLUMNS, fitted.coefficients, strict=True))
    assert coefficients["matrix"] > 1.2
    assert coefficients["attention"] > 1.1
    assert coefficients["head"] > 1.1  # nothing was measured of it: it follows the others


def test_many_models_find_the_coefficients() -> None:
    rng = np.random.default_rng(1)
    truth = np.array([1.2, 2.0, 0.9, 1.0, 1.0, 0.1, 1.0, 10.0])
    sums = models(60, rng)
    fitted = Composition.fit(sums, np.full(60, LEAST), sums @ truth * np.exp(0.01 * rng.standard_normal(60)))
    new = models(200, rng)
    error = np.abs(new @ np.asarray(fitted.coefficients) / (new @ truth) - 1)
    assert np.median(error) < 0.01


def test_an_outlier_does_not_tilt_the_fit() -> None:
    rng = np.random.default_rng(2)
    sums = models(20, rng)
    measured = sums @ (1.3 * PRIOR)
    measured[3] *= 2.0
    fitted = Composition.fit(sums, np.full(20, LEAST), measured)
    clean = np.delete(np.arange(20), 3)
    assert np.abs(sums[clean] @ np.asarray(fitted.coefficients) / measured[clean] - 1).max() < 0.05


@given(st.integers(0, 10**6), st.integers(1, 25))
def test_coefficients_are_never_negative(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    measured = 1e-3 * np.exp(rng.standard_normal(n))
    fitted = Composition.fit(models(n, rng), np.full(n, LEAST), measured)
    assert (np.asarray(fitted.coefficients) >= 0).all()
    assert Composition.from_json(fitted.to_json()) == fitted


def test_a_centre_is_carried_over_up_to_a_factor() -> None:
    rng = np.random.default_rng(3)
    centre = Composition((1.2, 2.5, 0.9, 1.0, 1.0, 0.1, 1.0, 10.0))
    sums = models(2, rng)
    measured = 5.0 * sums @ np.asarray(centre.coefficients)
    fitted = Composition.fit(sums, np.full(2, LEAST), measured, centre)
    np.testing.assert_allclose(fitted.coefficients, 5.0 * np.asarray(centre.coefficients), rtol=0.01)


def test_left_out_models_are_not_seen() -> None:
    rng = np.random.default_rng(4)
    sums = models(12, rng)
    measured = sums @ PRIOR
    measured[5] *= 3.0
    residuals = left_out(sums, np.full(12, LEAST), measured, [str(i) for i in range(12)])
    assert residuals[5] == pytest.approx(np.log(3.0), abs=0.15)
    twins = left_out(sums, np.full(12, LEAST), measured, ["a"] * 12)
    np.testing.assert_allclose(twins, np.log(measured / (sums @ PRIOR)))
