"""Intervals beyond what was measured: they grow with the distance, and hold there too."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from distilsearch.architecture import Architecture
from distilsearch.arrays import FloatArray
from distilsearch.lowering import operators
from distilsearch.operators import Serving
from distilsearch.predictors import quality
from distilsearch.predictors.latency import LatencyPredictor
from distilsearch.predictors.pairs.pairs import PairPredictor
from distilsearch.predictors.uncertainty.reach import PRIOR, Reach
from distilsearch.space import SearchSpace

SECONDS = np.exp(np.linspace(-7, -4, 24))


def bent(by: float) -> Any:
    """A fit that is right within, and off by `by` per e-fold beyond the largest or smallest it has seen."""

    def refitted(rest: NDArray[np.int64], held: NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
        out = np.maximum(SECONDS[held] / SECONDS[rest].max(), SECONDS[rest].min() / SECONDS[held])
        return SECONDS[held] * out**-by, np.full(len(held), 0.02)

    return refitted


@pytest.mark.parametrize("by", [0.15, 0.3, 0.5])
def test_growth_is_what_held_out_ends_needed(by: float) -> None:
    reach = Reach.fit(SECONDS, bent(by), 0.9)
    assert by <= reach.above <= 2.2 * by + PRIOR
    far = np.array([1.0, 2.0, 4.0]) * SECONDS.max()
    assert (np.diff(reach.growth(far)) > 0).all()
    assert (reach.growth(SECONDS) == 0).all()
    assert reach.growth(SECONDS[:1] / 3)[0] > 0.1


def test_few_models_say_nothing_of_growth_and_none_has_no_range() -> None:
    few = Reach.fit(SECONDS[:5], bent(2.0), 0.9)
    assert (few.below, few.above) == (PRIOR, PRIOR)
    assert (Reach().growth(SECONDS) == 0).all()


@pytest.mark.parametrize("reach", [Reach(), Reach(1e-3, 2e-2, 0.3, 0.7)])
def test_written_and_read_it_is_the_same(reach: Reach) -> None:
    assert Reach.from_json(reach.to_json()) == reach
    with pytest.raises(ValueError, match="positive"):
        Reach.from_json({"low": 0.0, "high": 1.0, "below": 0.1, "above": 0.1})


@pytest.mark.parametrize(("seed", "slow"), [(17, True), (23, False)])
def test_pairs_of_one_end_cover_the_other(
    toy: Any, space: SearchSpace, serving: Serving, tmp_path: Path, seed: int, slow: bool
) -> None:
    members = space.decode(space.sample(120, np.random.default_rng(seed)))
    rng = np.random.default_rng(seed)
    measured = np.array([1e3 * toy.rounds(toy.model_seconds(a, serving), rng).seconds_p10 for a in members])
    order = np.argsort(measured if slow else -measured)
    models = [operators(a, serving) for a in members]
    known, asked = np.sort(order[:40]), order[-24:]
    fitted = PairPredictor.fit([models[i] for i in known], measured[known])
    p = fitted.predict_operators([models[i] for i in asked])
    assert quality.coverage(p.lower_ms, p.upper_ms, measured[asked]).share >= 0.8
    assert np.median(p.upper_ms / p.mean_ms) < 4
    within = fitted.predict_operators([models[i] for i in known])
    assert np.median(within.upper_ms / within.mean_ms) < 1.5
    loaded = PairPredictor.load(fitted.save(tmp_path))
    assert loaded.reach == fitted.reach
    np.testing.assert_array_equal(loaded.predict_operators(models).upper_ms, fitted.predict_operators(models).upper_ms)


def test_a_table_with_fast_models_alone_doubts_slow_ones(toy: Any, space: SearchSpace, serving: Serving) -> None:
    table = toy.table(space, models=36, seed=19)
    fast = sorted(table.models, key=lambda row: row.measured.seconds_p10)[:12]
    fitted = LatencyPredictor.fit(replace(table, models=tuple(fast)))
    slow = [row for row in table.models if row.measured.seconds_p10 > 3 * fast[-1].measured.seconds_p10]
    truth = np.array([1e3 * row.measured.seconds_p10 for row in slow])
    p = fitted.predict([row.architecture for row in slow], serving)
    near = fitted.predict([row.architecture for row in fast], serving)
    assert quality.coverage(p.lower_ms, p.upper_ms, truth).share >= 0.8
    assert np.median(p.upper_ms / p.mean_ms) > np.median(near.upper_ms / near.mean_ms)
    codes = space.sample(20, np.random.default_rng(1))
    np.testing.assert_allclose(
        fitted.compile(space, serving).upper(codes), fitted.predict(space.decode(codes), serving).upper_ms, rtol=1e-6
    )


@pytest.mark.parametrize(("gene", "values"), [("ffn", (2048, 8192, 65536)), ("layers", (8, 24, 96))])
def test_the_farther_outside_the_wider(
    table: Any, space: SearchSpace, serving: Serving, gene: str, values: Any
) -> None:
    fitted, known = LatencyPredictor.fit(table), space.decode(space.sample(1, np.random.default_rng(6)))[0]
    far = [Architecture("bert", {**known.values, gene: value}) for value in values]
    p = fitted.predict(far, serving)
    assert (np.diff(p.upper_ms / p.mean_ms) > 0).all()


@pytest.mark.parametrize(("batch", "sequence"), [(1, 512), (64, 128), (8, 2048)])
def test_servings_far_outside_are_doubted(table: Any, space: SearchSpace, batch: int, sequence: int) -> None:
    fitted, asked = LatencyPredictor.fit(table), Serving(batch=batch, sequence=sequence, threads=2)
    (known,) = space.decode(space.sample(1, np.random.default_rng(6)))
    p = fitted.predict([known], asked)
    assert fitted.beyond(known, asked) == pytest.approx(max(batch, sequence / 128))
    assert fitted.beyond(known, Serving(threads=2)) == 1.0
    assert p.upper_ms[0] / p.mean_ms[0] > 1.3
