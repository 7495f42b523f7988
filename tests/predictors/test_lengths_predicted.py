"""Predictions of requests of many lengths, against those of each length, from one table that covers a few."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distilsearch.length_nodes import request_lengths
from distilsearch.lowering import flops, operators, tabulate
from distilsearch.operators import USUAL_SEQUENCE, Serving
from distilsearch.predictors.latency import LatencyPredictor
from distilsearch.predictors.pairs.pairs import PairPredictor
from distilsearch.profiling.tables.table import LatencyTable, ModelRow
from distilsearch.space import SearchSpace

DRAWN = np.clip(np.random.default_rng(0).lognormal(3.2, 0.7, 500), 4, 128).astype(int).tolist()
SERVING = Serving(threads=2, lengths=request_lengths(DRAWN))
quick = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def several(toy: Any, space: SearchSpace) -> LatencyTable:
    """A table of all nodes, in which each whole model was measured at one of them."""
    tables = [toy.table(space, serving=part, seed=seed) for seed, (part, _) in enumerate(SERVING.parts)]
    count = len(tables)
    whole = tuple(row for place, one in enumerate(tables) for row in one.models[place::count])
    return LatencyTable(tuple(row for one in tables for row in one.operators), whole, tables[0].meta, {})


@pytest.fixture(scope="module")
def fitted(several: LatencyTable) -> LatencyPredictor:
    return LatencyPredictor.fit(several)


@quick
@given(seed=st.integers(0, 10**6))
def test_the_mean_is_that_of_the_lengths_and_compiled_the_same(
    fitted: LatencyPredictor, space: SearchSpace, seed: int
) -> None:
    codes = space.sample(6, np.random.default_rng(seed))
    students, compiled = space.decode(codes), fitted.compile(space, SERVING)
    p, parts = fitted.predict(students, SERVING), [(fitted.predict(students, s), w) for s, w in SERVING.parts]
    np.testing.assert_allclose(p.mean_ms, sum(w * one.mean_ms for one, w in parts), rtol=1e-3)
    assert ((p.lower_ms < p.mean_ms) & (p.mean_ms < p.upper_ms)).all()
    np.testing.assert_allclose(compiled(codes), p.mean_ms, rtol=1e-9)
    np.testing.assert_allclose(compiled.upper(codes), p.upper_ms, rtol=1e-9)


def test_median_and_tail_are_those_of_requests_of_that_length(fitted: LatencyPredictor, space: SearchSpace) -> None:
    assert SERVING.lengths is not None
    students = space.decode(space.sample(5, np.random.default_rng(1)))
    p = fitted.predict(students, SERVING)
    for quantile, length in ((p.p50_ms, SERVING.lengths.p50), (p.p99_ms, SERVING.lengths.p99)):
        assert quantile is not None
        np.testing.assert_array_equal(quantile, fitted.predict(students, SERVING.at(length)).mean_ms)
    assert fitted.predict(students, SERVING.at(16)).p50_ms is None


def test_it_foretells_what_all_requests_take(fitted: LatencyPredictor, toy: Any, space: SearchSpace) -> None:
    students = space.decode(space.sample(20, np.random.default_rng(2)))
    naive = [1e3 * np.mean([toy.model_seconds(a, SERVING.at(n)) for n in DRAWN[:100]]) for a in students]
    of_first = Serving(threads=2, lengths=request_lengths(DRAWN[:100]))
    p = fitted.predict(students, of_first)
    assert np.median(np.abs(np.log(p.mean_ms / naive))) < 0.05
    assert np.mean((p.lower_ms < naive) & (naive < p.upper_ms)) >= 0.8


def test_intervals_learn_from_a_measured_mean(several: LatencyTable, space: SearchSpace) -> None:
    student = space.decode(space.sample(1, np.random.default_rng(3)))[0]
    predictor = LatencyPredictor.fit(several)
    before = predictor.predict([student], SERVING)
    predictor.observe(student, SERVING, 3 * float(before.mean_ms[0]))
    assert predictor.predict([student], SERVING).upper_ms[0] > before.upper_ms[0]
    models = space.decode(space.sample(12, np.random.default_rng(4)))
    told = 2 * predictor.predict(models, SERVING).mean_ms
    twice = predictor.calibrate(models, SERVING, told)
    np.testing.assert_allclose(twice.predict(models, SERVING).mean_ms, told, rtol=0.05)


def test_a_predictor_of_pairs_does_so_too(toy: Any, space: SearchSpace) -> None:
    models = space.decode(space.sample(20, np.random.default_rng(5)))
    lowered, told = [operators(a, SERVING) for a in models], [1e3 * toy.model_seconds(a, SERVING) for a in models]
    pairs = PairPredictor.fit(lowered[:12], told[:12])
    assert np.median(np.abs(np.log(pairs.predict(models[12:], SERVING).mean_ms / told[12:]))) < 0.2


def test_padded_batches_are_composed_by_padded_models(toy: Any, space: SearchSpace, tmp_path: Path) -> None:
    plain, students = Serving(threads=2, batch=4, sequence=16), space.decode(space.sample(24, np.random.default_rng(8)))
    drawn = np.random.default_rng(9)
    padded, table = replace(plain, padded=True), toy.table(space, serving=plain)
    told = [ModelRow(a, padded, toy.rounds(1.2 * toy.model_seconds(a, plain), drawn)) for a in students[:12]]
    predictor = LatencyPredictor.fit(table, told)
    apart = predictor.predict(students[12:], padded).mean_ms / predictor.predict(students[12:], plain).mean_ms
    assert np.median(apart) == pytest.approx(1.2, rel=0.03)
    loaded = LatencyPredictor.load(predictor.save(tmp_path))
    mixed = replace(plain, sequence=USUAL_SEQUENCE, lengths=request_lengths([16] * 20, batch=4))
    for serving in (plain, padded):
        expected = predictor.predict(students, serving).mean_ms
        np.testing.assert_array_equal(loaded.predict(students, serving).mean_ms, expected)
    np.testing.assert_allclose(loaded.predict(students, mixed).mean_ms, predictor.predict(students, padded).mean_ms)


def test_padded_batches_that_nobody_timed_are_composed_as_unpadded_ones(toy: Any, space: SearchSpace) -> None:
    plain = Serving(threads=2, batch=4, sequence=16)
    predictor = LatencyPredictor.fit(toy.table(space, serving=plain))
    (encode,) = predictor.compositions
    another = replace(predictor.compositions[encode], floor=1.0)
    predictor.compositions |= {(encode[0], phase): another for phase in ("decode", "prefill")}
    assert predictor._composition(replace(plain, padded=True))[0] is predictor.compositions[encode]


def test_sums_over_operators_are_means_over_requests(space: SearchSpace) -> None:
    codes = space.sample(4, np.random.default_rng(7))
    mean = tabulate(space, SERVING, lambda held: np.array([[o.flops] for o in held], dtype=float))(codes)[:, 0]
    for student, figure in zip(space.decode(codes), mean, strict=True):
        assert figure == pytest.approx(sum(w * flops(student, part) for part, w in SERVING.parts))
        assert flops(student, SERVING) == pytest.approx(figure, abs=1)
