"""The contract of latency predictors, run by each of them: fitted to a table, and fitted to pairs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distilsearch import LatencyPredictor, PairPredictor, Serving
from distilsearch.lowering import operators
from distilsearch.predictors.protocol import Predictor
from distilsearch.profiling.tables.table import LatencyTable
from distilsearch.space import Codes, SearchSpace


@pytest.fixture(params=["table", "pairs"])
def predictor(request: pytest.FixtureRequest, toy: Any, table: LatencyTable, serving: Serving) -> Predictor:
    """A predictor of the toy device."""
    if request.param == "table":
        return LatencyPredictor.fit(table)
    models = [row.architecture for row in table.models]
    counted = [operators(model, serving) for model in models]
    return PairPredictor.fit(counted, [1e3 * toy.model_seconds(model, serving) for model in models])


@pytest.fixture
def codes(space: SearchSpace) -> Codes:
    return space.sample(30, np.random.default_rng(5))


def test_intervals_hold_the_mean(predictor: Predictor, space: SearchSpace, serving: Serving, codes: Codes) -> None:
    p = predictor.predict(space.decode(codes), serving)
    assert p.mean_ms.shape == (len(codes),)
    assert ((p.lower_ms > 0) & (p.lower_ms < p.mean_ms) & (p.mean_ms < p.upper_ms)).all()
    assert (p.spread_ms > 0).all()


def test_what_is_compiled_says_what_is_predicted(
    predictor: Predictor, space: SearchSpace, serving: Serving, codes: Codes
) -> None:
    p, compiled = predictor.predict(space.decode(codes), serving), predictor.compile(space, serving)
    np.testing.assert_allclose(compiled(codes), p.mean_ms, rtol=1e-9)
    np.testing.assert_allclose(compiled.spread(codes), p.spread_ms, rtol=1e-9)
    np.testing.assert_allclose(compiled.upper(codes), p.upper_ms, rtol=1e-9)
    assert compiled(codes[:0]).shape == (0,)


def test_it_is_near_the_truth(
    predictor: Predictor, toy: Any, space: SearchSpace, serving: Serving, codes: Codes
) -> None:
    truth = np.array([1e3 * toy.model_seconds(one, serving) for one in space.decode(codes)])
    errors = np.abs(predictor.predict(space.decode(codes), serving).mean_ms / truth - 1)
    assert np.median(errors) < 0.15


def test_what_is_saved_is_loaded(
    predictor: Predictor, space: SearchSpace, serving: Serving, codes: Codes, tmp_path: Path
) -> None:
    folder = predictor.save(tmp_path / "predictor")
    loaded: Predictor = type(predictor).load(folder)  # type: ignore[attr-defined]
    members = space.decode(codes)
    before, after = predictor.predict(members, serving), loaded.predict(members, serving)
    for name in ("mean_ms", "lower_ms", "upper_ms", "spread_ms"):
        np.testing.assert_allclose(getattr(after, name), getattr(before, name), rtol=1e-9)
