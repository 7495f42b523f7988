"""Contract of a latency predictor, on a toy device whose law it does not know."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distilsearch.architecture import Architecture
from distilsearch.errors import InputError, TableError
from distilsearch.families import family
from distilsearch.lowering import operators
from distilsearch.operators import Serving
from distilsearch.predictors import quality
from distilsearch.predictors.latency import LatencyPredictor
from distilsearch.predictors.operators.totals import Lowered
from distilsearch.predictors.operators.utilisation import TIERS
from distilsearch.predictors.storage import FILE, TREES
from distilsearch.profiling.tables.table import LatencyTable
from distilsearch.space import SearchSpace

quick = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module", params=["whole table", "sparse table", "ceilings only"])
def fitted(request: Any, table: LatencyTable, sparse: LatencyTable, toy: Any) -> LatencyPredictor:
    """The same contract holds whether operators were measured, predicted, or only bounded."""
    bare = LatencyTable((), table.models[:3], table.meta, {})
    return LatencyPredictor.fit({"whole table": table, "sparse table": sparse, "ceilings only": bare}[request.param])


def draw(space: SearchSpace, seed: int, n: int = 8) -> np.ndarray[Any, np.dtype[np.int16]]:
    return space.sample(n, np.random.default_rng(seed))


@quick
@given(seed=st.integers(0, 10**6))
def test_predictions_are_positive_finite_and_inside_their_interval(
    fitted: LatencyPredictor, space: SearchSpace, serving: Serving, seed: int
) -> None:
    p = fitted.predict(space.decode(draw(space, seed)), serving)
    for figure in (p.mean_ms, p.lower_ms, p.upper_ms, p.spread_ms):
        assert figure.shape == (8,)
        assert (np.isfinite(figure) & (figure > 0)).all()
    assert ((p.lower_ms < p.mean_ms) & (p.mean_ms < p.upper_ms)).all()
    assert set(p.tier) <= set(TIERS)


@quick
@given(seed=st.integers(0, 10**6))
def test_never_below_the_roofline(fitted: LatencyPredictor, space: SearchSpace, serving: Serving, seed: int) -> None:
    architectures = space.decode(draw(space, seed))
    peak, bandwidth, _ = fitted.model.ceilings.of(fitted.setting(serving))
    for architecture, mean in zip(architectures, fitted.predict(architectures, serving).mean_ms, strict=True):
        parts = operators(architecture, serving)
        work, moved = sum(o.flops * n for o, n in parts), sum(o.bytes("float32") * n for o, n in parts)
        assert mean >= 1e3 * max(work / peak, moved / bandwidth)


@quick
@given(seed=st.integers(0, 10**6))
def test_adding_a_layer_is_never_faster(
    fitted: LatencyPredictor, space: SearchSpace, serving: Serving, seed: int
) -> None:
    one = space.decode(draw(space, seed, 1))[0]
    deep = [Architecture(one.family, {**one.values, "layers": n}) for n in (1, 2, 3, 4, 6)]
    assert (np.diff(fitted.predict(deep, serving).mean_ms) > 0).all()


@quick
@given(seed=st.integers(0, 10**6))
def test_sum_is_invariant_under_the_order_of_operators(space: SearchSpace, serving: Serving, seed: int) -> None:
    rng = np.random.default_rng(seed)
    parts = [operators(a, serving) for a in space.decode(draw(space, seed, 3))]
    shuffled = [[each[i] for i in rng.permutation(len(each))] for each in parts]
    a, b = Lowered.of_operators(parts), Lowered.of_operators(shuffled)
    size = {operator: rng.random() for operator in a.distinct}
    first = a.sums(np.array([[size[o]] for o in a.distinct]))
    np.testing.assert_allclose(first, b.sums(np.array([[size[o]] for o in b.distinct])), rtol=1e-12)


@quick
@given(seed=st.integers(0, 10**6))
def test_compiled_equals_predicted(fitted: LatencyPredictor, space: SearchSpace, serving: Serving, seed: int) -> None:
    compiled, codes = fitted.compile(space, serving), draw(space, seed)
    p = fitted.predict(space.decode(codes), serving)
    np.testing.assert_allclose(compiled(codes), p.mean_ms, rtol=1e-6)
    np.testing.assert_allclose(compiled.spread(codes), p.spread_ms, rtol=1e-6)
    np.testing.assert_allclose(compiled.upper(codes), p.upper_ms, rtol=1e-6)


def test_saved_and_loaded_predicts_the_same_to_the_last_bit(
    fitted: LatencyPredictor, space: SearchSpace, serving: Serving, tmp_path: Path
) -> None:
    loaded = LatencyPredictor.load(fitted.save(tmp_path))
    architectures = space.decode(draw(space, 1, 40))
    a, b = fitted.predict(architectures, serving), loaded.predict(architectures, serving)
    for name in ("mean_ms", "lower_ms", "upper_ms", "spread_ms", "tier"):
        assert (getattr(a, name) == getattr(b, name)).all()
    measured = 1.1 * a.mean_ms[:10]
    again = [
        p.calibrate(architectures[:10], serving, measured).predict(architectures, serving) for p in (fitted, loaded)
    ]
    assert (again[0].upper_ms == again[1].upper_ms).all()


def test_same_table_same_predictor(toy: Any, space: SearchSpace, serving: Serving, table: LatencyTable) -> None:
    turned = LatencyTable(table.operators[::-1], table.models, table.meta, {})
    architectures = space.decode(draw(space, 2, 40))
    a, b = (LatencyPredictor.fit(t).predict(architectures, serving).upper_ms for t in (table, turned))
    np.testing.assert_array_equal(a, b)


def test_learns_the_hidden_law(toy: Any, space: SearchSpace, serving: Serving, table: LatencyTable) -> None:
    architectures = space.decode(draw(space, 3, 200))
    truth = [1e3 * toy.model_seconds(a, serving) for a in architectures]
    p = LatencyPredictor.fit(table).predict(architectures, serving)
    assert quality.errors(p.mean_ms, truth).p90 < 0.03
    assert quality.coverage(p.lower_ms, p.upper_ms, truth).share > 0.85


@pytest.mark.parametrize(("models", "most"), [(0, 0.25), (1, 0.06), (3, 0.03), (9, 0.02), (20, 0.02)])
def test_few_measured_models_do_little_harm_and_much_good(
    toy: Any, space: SearchSpace, serving: Serving, models: int, most: float
) -> None:
    architectures = space.decode(draw(space, 4, 100))
    truth = [1e3 * toy.model_seconds(a, serving) for a in architectures]
    p = LatencyPredictor.fit(toy.table(space, models=models)).predict(architectures, serving)
    assert quality.errors(p.mean_ms, truth).median < most
    assert quality.coverage(p.lower_ms, p.upper_ms, truth).share > 0.85


def test_interval_is_wider_off_the_table(space: SearchSpace, serving: Serving, table: LatencyTable) -> None:
    fitted = LatencyPredictor.fit(table)
    inside = {row.operator for row in table.operators}
    known = next(a for a in space.decode(draw(space, 5, 50)) if all(o in inside for o, _ in operators(a, serving)))
    near = Architecture("bert", {**known.values, "ffn": 640})
    far = Architecture("bert", {**known.values, "ffn": 8192})
    p = fitted.predict([known, near, far], serving)
    assert p.tier.tolist() == ["exact", "interpolated", "extrapolated"]
    ratio = p.upper_ms / p.mean_ms
    assert ratio[0] < ratio[1] < ratio[2]


def test_outside_the_range_the_roofline_scales(space: SearchSpace, serving: Serving, table: LatencyTable) -> None:
    known = space.decode(draw(space, 6, 1))[0]
    wide = [Architecture("bert", {**known.values, "ffn": n}) for n in (6144, 12288, 24576)]
    growth = np.diff(LatencyPredictor.fit(table).predict(wide, serving).mean_ms)
    assert growth[1] / growth[0] == pytest.approx(2.0, rel=0.05)


def test_measured_operators_are_returned_as_measured(table: LatencyTable, serving: Serving) -> None:
    fitted = LatencyPredictor.fit(table)
    found = fitted.model.estimate([row.operator for row in table.operators], fitted.setting(serving))
    np.testing.assert_array_equal(found.seconds, [row.measured.seconds_p10 for row in table.operators])


def test_missing_kinds_and_regimes_are_named(table: LatencyTable, space: SearchSpace, serving: Serving) -> None:
    lame = LatencyTable(tuple(r for r in table.operators if r.operator.kind != "attention"), (), table.meta, {})
    fitted, architectures = LatencyPredictor.fit(lame), space.decode(draw(space, 7, 1))
    with pytest.raises(TableError, match="no operators of kind attention"):
        fitted.predict(architectures, serving)
    with pytest.raises(TableError, match="attention"):
        fitted.compile(space, serving)
    with pytest.raises(TableError, match="no rows for float32 compile 2 threads"):
        fitted.predict(architectures, Serving(threads=2, mode="compile"))
    with pytest.raises(TableError, match="7 threads"):
        fitted.predict(architectures, Serving(threads=7))


def test_no_thread_count_means_the_table_s_own(table: LatencyTable, space: SearchSpace) -> None:
    fitted, architectures = LatencyPredictor.fit(table), space.decode(draw(space, 7, 3))
    a, b = (fitted.predict(architectures, Serving(threads=n)).mean_ms for n in (None, 2))
    np.testing.assert_array_equal(a, b)


def test_a_device_without_threads_is_found_by_none(table: LatencyTable, space: SearchSpace) -> None:
    """A GPU's rows have 0 threads, however many this processor has."""
    regimes = [replace(row, regime=replace(row.regime, threads=0)) for row in table.operators]
    models = [replace(row, serving=replace(row.serving, threads=None)) for row in table.models]
    roofs = {key.replace("/2", "/0"): roof for key, roof in table.meta.roofs.items()}
    meta = replace(table.meta, device={"model": "toy", "multiprocessors": 8}, roofs=roofs)
    fitted = LatencyPredictor.fit(replace(table, operators=tuple(regimes), models=tuple(models), meta=meta))
    assert fitted.predict(space.decode(draw(space, 7, 3)), Serving()).mean_ms.min() > 0
    assert {(setting.threads, phase) for setting, phase in fitted.compositions} == {(0, "encode")}
    with pytest.raises(TableError, match=r"no rows for float32 graph \(it has"):
        fitted.predict(space.decode(draw(space, 7, 3)), Serving(mode="graph"))


def test_units_are_milliseconds(table: LatencyTable, serving: Serving) -> None:
    row = table.models[0]
    mean = LatencyPredictor.fit(table).predict([row.architecture], serving).mean_ms[0]
    assert mean == pytest.approx(1e3 * row.measured.seconds_p10, rel=0.1)


def test_calibration_carries_a_table_to_another_device(
    space: SearchSpace, serving: Serving, table: LatencyTable
) -> None:
    fitted = LatencyPredictor.fit(table)
    architectures = space.decode(draw(space, 8, 120))
    rng = np.random.default_rng(0)
    parts = fitted.predict(architectures, serving).mean_ms
    truth = 3.7 * parts * (1 + 0.1 * np.array([a["width"] == 128 for a in architectures]))
    noisy = truth * np.exp(0.01 * rng.standard_normal(len(truth)))
    p = fitted.calibrate(architectures[:12], serving, noisy[:12]).predict(architectures[12:], serving)
    assert quality.errors(p.mean_ms, truth[12:]).median < 0.05
    assert quality.coverage(p.lower_ms, p.upper_ms, truth[12:]).share > 0.8


def test_observed_winners_widen_what_is_compiled(table: LatencyTable, space: SearchSpace, serving: Serving) -> None:
    fitted, codes = LatencyPredictor.fit(table), draw(space, 9, 5)
    compiled = fitted.compile(space, serving)
    before, mean = compiled.upper(codes), compiled(codes)
    winner = space.decode(codes[:1])[0]
    assert fitted.observe(winner, serving, 2.0 * float(mean[0])) is fitted
    assert (compiled.upper(codes) > before).all()
    for _ in range(20):
        fitted.observe(winner, serving, float(mean[0]))
    assert (compiled.upper(codes) < before).all()
    np.testing.assert_array_equal(compiled(codes), mean)


def test_measured_latencies_are_checked(table: LatencyTable, space: SearchSpace, serving: Serving) -> None:
    fitted, architectures = LatencyPredictor.fit(table), space.decode(draw(space, 9, 2))
    for bad in ([1.0], [1.0, -1.0], [1.0, float("nan")]):
        with pytest.raises(InputError, match="positive measured latencies in ms"):
            fitted.calibrate(architectures, serving, bad)


def test_foreign_newer_and_damaged_files_are_refused(table: LatencyTable, sparse: LatencyTable, tmp_path: Path) -> None:
    with pytest.raises(TableError, match="no predictor in"):
        LatencyPredictor.load(tmp_path)
    file = LatencyPredictor.fit(sparse).save(tmp_path) / FILE
    good = re.sub(r',\s*"content_sha256": "\w+"', "", file.read_text())
    for old, new, said in (
        ('"schema": 1', '"schema": 99', "update distilsearch"),
        ('"format": "distilsearch', '"format": "other', "not a distilsearch latency predictor"),
        ('"log_bytes"', '"log_words"', "other features"),
        ('"operators"', '"operands"', "damaged"),
        ("{", "", "damaged"),
    ):
        file.write_text(good.replace(old, new, 1))
        with pytest.raises(TableError, match=said):
            LatencyPredictor.load(tmp_path)
    file.write_text(good)
    (tmp_path / TREES).write_bytes(b"not trees")
    with pytest.raises(TableError, match="not the file that was saved"):
        LatencyPredictor.load(tmp_path)
    (tmp_path / TREES).unlink()
    with pytest.raises(TableError, match="missing"):
        LatencyPredictor.load(tmp_path)


def test_a_table_without_ceilings_is_refused(table: LatencyTable) -> None:
    bare = LatencyTable((), (), replace(table.meta, peak_flops={}, roofs={}), {})
    with pytest.raises(TableError, match="no measured peak"):
        LatencyPredictor.fit(bare)


def test_models_of_what_the_table_lacks_are_left_aside(
    toy: Any, space: SearchSpace, serving: Serving, table: LatencyTable
) -> None:
    mlm = family("bert").space({"layers": [2], "width": [128], "heads": [4], "ffn": [512], "head": ["mlm"]})
    other = [replace(row, serving=replace(row.serving, threads=7)) for row in table.models]
    more = replace(table, models=(*table.models, *toy.table(mlm, models=2).models, *other))
    architectures = space.decode(draw(space, 11, 20))
    a, b = (LatencyPredictor.fit(t).predict(architectures, serving).upper_ms for t in (table, more))
    np.testing.assert_array_equal(a, b)


def test_works_for_any_batch_and_length_in_range(toy: Any, space: SearchSpace) -> None:
    """Servings share one composition; a length between two profiled ones is interpolated."""
    tables = [toy.table(space, models=6, serving=Serving(batch=1, sequence=n, threads=2)) for n in (64, 256)]
    both = LatencyTable(
        tables[0].operators + tables[1].operators, tables[0].models + tables[1].models, tables[0].meta, {}
    )
    middle = Serving(sequence=128, threads=2)
    architectures = space.decode(draw(space, 10, 60))
    truth = [1e3 * toy.model_seconds(a, middle) for a in architectures]
    p = LatencyPredictor.fit(both).predict(architectures, middle)
    assert set(p.tier) == {"interpolated"}
    assert quality.errors(p.mean_ms, truth).median < 0.1


def test_mlm_students_need_their_head_measured(toy: Any, serving: Serving, table: LatencyTable) -> None:
    choices = {"layers": [1, 2], "width": [128, 256], "heads": [4], "ffn": [512], "head": ["mlm"]}
    mlm = family("bert").space(choices)
    with pytest.raises(TableError, match="kind head"):
        LatencyPredictor.fit(table).compile(mlm, serving)
    fitted = LatencyPredictor.fit(toy.table(mlm, models=3))
    assert (fitted.compile(mlm, serving)(draw(mlm, 0)) > 0).all()


@pytest.fixture(scope="module")
def decoder() -> SearchSpace:
    choices = {"layers": [1, 2, 4], "width": [128, 256], "heads": [4], "kv_heads": [2, 4], "ffn": [256, 512]}
    return family("llama").space(choices)


@pytest.mark.parametrize(("phase", "lengths"), [("prefill", (32, 128)), ("decode", (64, 512))])
def test_prefill_and_decode_at_lengths_and_batches_in_between(
    toy: Any, decoder: SearchSpace, phase: str, lengths: tuple[int, int]
) -> None:
    ends = [Serving(b, n, phase=phase, threads=2) for n in lengths for b in (1, 4)]
    tables = [toy.table(decoder, models=4, serving=serving) for serving in ends]
    rows = [sum((getattr(t, name) for t in tables), ()) for name in ("operators", "models")]
    fitted = LatencyPredictor.fit(LatencyTable(rows[0], rows[1], tables[0].meta, {}))
    middle = Serving(2, 2 * lengths[0], phase=phase, threads=2)
    architectures = decoder.decode(draw(decoder, 0, 30))
    truth = [1e3 * toy.model_seconds(a, middle) for a in architectures]
    p = fitted.predict(architectures, middle)
    assert set(p.tier) == {"interpolated"}
    assert quality.errors(p.mean_ms, truth).median < 0.15
    compiled = fitted.compile(decoder, middle)
    np.testing.assert_allclose(compiled.upper(draw(decoder, 0, 30)), p.upper_ms, rtol=1e-6)


def test_a_phase_without_measured_models_borrows_a_composition_and_is_less_certain(
    toy: Any, decoder: SearchSpace
) -> None:
    servings = [Serving(1, 64, phase=phase, threads=2) for phase in ("prefill", "decode")]
    whole, bare = (toy.table(decoder, models=n, serving=s) for n, s in zip((8, 0), servings, strict=True))
    fitted = LatencyPredictor.fit(LatencyTable(whole.operators + bare.operators, whole.models, whole.meta, {}))
    architectures = decoder.decode(draw(decoder, 1, 20))
    known, borrowed = (fitted.predict(architectures, s) for s in servings)
    truth = [1e3 * toy.model_seconds(a, servings[1]) for a in architectures]
    assert quality.errors(borrowed.mean_ms, truth).median < 0.2
    assert (borrowed.upper_ms / borrowed.mean_ms > known.upper_ms / known.mean_ms).all()
    codes = draw(decoder, 1, 20)
    np.testing.assert_allclose(fitted.compile(decoder, servings[1]).upper(codes), borrowed.upper_ms, rtol=1e-6)
