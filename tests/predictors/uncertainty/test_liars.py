"""A few measurements that are wrong by orders of magnitude change no fit, and are named."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distilsearch.arrays import FloatArray
from distilsearch.lowering import operators
from distilsearch.operators import Serving
from distilsearch.predictors import quality
from distilsearch.predictors.latency import LatencyPredictor
from distilsearch.predictors.pairs.pairs import PairPredictor
from distilsearch.predictors.uncertainty.liars import Distrusted, lying, named
from distilsearch.profiling.tables.table import LatencyTable
from distilsearch.space import SearchSpace

WRONG = pytest.mark.parametrize("times", [1e-3, 1e4])


def spoilt(rows: Sequence[Any], places: Sequence[int], times: float) -> tuple[Any, ...]:
    """Rows of a table, some of which claim so many times the time they took."""
    out = list(rows)
    for place in places:
        timing = out[place].measured
        out[place] = replace(out[place], measured=replace(timing, seconds_p10=timing.seconds_p10 * times))
    return tuple(out)


@pytest.fixture(scope="module")
def asked(toy: Any, space: SearchSpace, serving: Serving) -> tuple[list[Any], FloatArray]:
    architectures = space.decode(space.sample(60, np.random.default_rng(90)))
    return architectures, np.array([1e3 * toy.model_seconds(a, serving) for a in architectures])


@pytest.fixture(scope="module")
def other(toy: Any, space: SearchSpace) -> LatencyTable:
    table: LatencyTable = toy.table(space, models=14, share=0.7, seed=31)
    return table


def p90(predicted: Any, truth: FloatArray) -> float:
    return quality.errors(predicted.mean_ms, truth).p90


@WRONG
@pytest.mark.parametrize("places", [[1, 6, 12]])
def test_whole_models_that_lie_are_left_out_and_named(
    other: LatencyTable, asked: Any, serving: Serving, times: float, places: list[int]
) -> None:
    clean = LatencyPredictor.fit(other)
    fitted = LatencyPredictor.fit(replace(other, models=spoilt(other.models, places, times)))
    before, after = clean.predict(asked[0], serving), fitted.predict(asked[0], serving)
    assert p90(after, asked[1]) < p90(before, asked[1]) + 0.03
    assert (after.upper_ms / after.mean_ms).max() < 2
    assert not clean.distrusted
    said = [str(liar) for liar in fitted.distrusted]
    assert len(said) == len(places)
    assert all(f"width={other.models[p].architecture.values['width']}" in " ".join(said) for p in places)
    assert [liar.times for liar in fitted.distrusted] == pytest.approx([times] * len(places), rel=0.3)


@WRONG
def test_operators_that_lie_are_left_out_and_named(
    other: LatencyTable, asked: Any, serving: Serving, times: float
) -> None:
    places = [2, len(other.operators) // 2, len(other.operators) - 2]
    fitted = LatencyPredictor.fit(replace(other, operators=spoilt(other.operators, places, times)))
    assert p90(fitted.predict(asked[0], serving), asked[1]) < 0.15
    assert {liar.what.split()[0] for liar in fitted.distrusted} == {
        other.operators[place].operator.signature for place in places
    }


def test_a_kind_of_which_every_row_lies_is_predicted_with_doubt(
    other: LatencyTable, asked: Any, serving: Serving
) -> None:
    places = [i for i, row in enumerate(other.operators) if row.operator.kind == "pooling"][:2]
    rows = [r for i, r in enumerate(other.operators) if r.operator.kind != "pooling" or i in places]
    at = [i for i, row in enumerate(rows) if row.operator.kind == "pooling"]
    fitted = LatencyPredictor.fit(replace(other, operators=spoilt(rows, at, 1e-4)))
    assert len(fitted.distrusted) == len(at)
    assert p90(fitted.predict(asked[0], serving), asked[1]) < 0.2


def test_clean_tables_are_fitted_as_if_nobody_had_looked(toy: Any, space: SearchSpace) -> None:
    for seed in range(40, 42):
        noisy = type(toy)(noise=0.1).table(space, models=12, share=0.6, seed=seed)
        assert LatencyPredictor.fit(noisy).distrusted == ()


@WRONG
def test_calibration_survives_one_of_twelve(
    other: LatencyTable, asked: Any, toy: Any, serving: Serving, times: float
) -> None:
    slow = type(toy)(noise=0.02, speed=0.2)
    measured = np.array([1e3 * slow.model_seconds(a, serving) for a in asked[0]])
    told = measured[:12].copy()
    told[7] *= times
    fitted = LatencyPredictor.fit(other).calibrate(asked[0][:12], serving, told)
    assert p90(fitted.predict(asked[0][12:], serving), measured[12:]) < 0.1
    (liar,) = fitted.distrusted
    assert liar.times == pytest.approx(times, rel=0.3)


@pytest.mark.parametrize(("times", "places"), [(1 / 60, [3, 11]), (1e6, [2])])
def test_pairs_that_lie_are_left_out_and_named(asked: Any, serving: Serving, times: float, places: list[int]) -> None:
    models = [operators(a, serving) for a in asked[0]]
    told = asked[1][:24] * np.exp(0.02 * np.random.default_rng(3).standard_normal(24))
    told[places] *= times
    fitted = PairPredictor.fit(models[:24], told)
    assert p90(fitted.predict_operators(models[24:]), asked[1][24:]) < 0.25
    assert [int(str(liar).split()[1]) for liar in fitted.distrusted] == places


def test_one_of_five_pairs_is_found_out(asked: Any, serving: Serving) -> None:
    models = [operators(a, serving) for a in asked[0]]
    told = asked[1][:5].copy()
    told[2] *= 1e-3
    fitted = PairPredictor.fit(models[:5], told)
    assert len(fitted.distrusted) == 1
    assert quality.errors(fitted.predict_operators(models[5:]).mean_ms, asked[1][5:]).median < 0.4


def test_a_saved_predictor_still_names_what_it_left_out(other: LatencyTable, tmp_path: Path) -> None:
    clean = LatencyPredictor.fit(other).save(tmp_path / "clean")
    assert "distrusted" not in (clean / "predictor.json").read_text()  # what older versions read stays as it was
    fitted = LatencyPredictor.fit(replace(other, models=spoilt(other.models, [3], 1e-3)))
    loaded = LatencyPredictor.load(fitted.save(tmp_path / "spoilt"))
    assert loaded.distrusted == fitted.distrusted != ()


@pytest.mark.parametrize(
    ("share", "times"),
    [(0.1, 1e-9), (0.1, 1e-3), (0.1, 1 / 60), (0.1, 0.1), (0.1, 12), (0.1, 1e9), (0.3, 1e-3), (0.3, 1e3)],
)
def test_liars_do_not_hide_behind_each_other(share: float, times: float) -> None:
    rng = np.random.default_rng(8)
    sizes = np.exp(rng.uniform(0, 5, 50))
    truth = sizes + 3.0
    lies = rng.random(50) < share
    measured = truth * np.exp(0.05 * rng.standard_normal(50)) * np.where(lies, times, 1.0)

    def line(seconds: FloatArray) -> FloatArray:
        design = np.stack([sizes, np.ones(50)], axis=1) / seconds[:, None]
        fitted: FloatArray = np.stack([sizes, np.ones(50)], axis=1) @ np.linalg.lstsq(design, np.ones(50))[0]
        return np.maximum(fitted, 1e-9)

    np.testing.assert_array_equal(lying(measured, sizes, line, 4.0)[0], lies)


def test_two_measurements_are_judged_by_what_is_known_of_machines() -> None:
    same: Callable[[FloatArray], FloatArray] = lambda seconds: seconds  # noqa: E731
    guess = np.array([1.0, 2.0])
    assert lying(np.array([3.0, 2e-3]), guess, same, 4.0)[0].tolist() == [False, True]


def test_many_liars_are_counted_and_few_are_told() -> None:
    liars = [Distrusted(f"pair {i}", 1e-3) for i in range(9)]
    assert named(liars).endswith("pair 4 (1/1e+03 of what all others say) and 4 more")


@WRONG
def test_whole_models_alone_survive_one_liar(
    toy: Any, space: SearchSpace, asked: Any, serving: Serving, times: float
) -> None:
    table = toy.table(space, models=24, seed=33)
    meta = replace(table.meta, peak_flops={}, roofs={}, bandwidth=float("nan"), launch_floor_seconds=float("nan"))
    bare = LatencyTable((), table.models, meta, {})
    fitted = LatencyPredictor.fit(replace(bare, models=spoilt(bare.models, [4], times)))
    assert p90(fitted.predict(asked[0], serving), asked[1]) < 0.25
    assert len(fitted.distrusted) == 1
