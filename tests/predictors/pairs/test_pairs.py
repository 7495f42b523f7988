"""Fitting without tables: on a toy device, and on published measurements of GPT students where they are there."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distilsearch.errors import InputError, TableError
from distilsearch.lowering import operators
from distilsearch.operators import Operator, Serving
from distilsearch.predictors import quality
from distilsearch.predictors.pairs.likelihood import negative_log_likelihood
from distilsearch.predictors.pairs.operator_prior import PARTS
from distilsearch.predictors.pairs.pairs import Counted, PairPredictor
from distilsearch.space import SearchSpace

DATA = Path(__file__).parents[4] / "shared" / "data" / "latency" / "hwgpt_s.csv.gz"


@pytest.fixture(scope="module")
def pairs(toy: Any, space: SearchSpace, serving: Serving) -> tuple[list[Counted], np.ndarray[Any, Any]]:
    architectures = space.decode(space.sample(240, np.random.default_rng(0)))
    measured = [
        toy.rounds(toy.model_seconds(a, serving), np.random.default_rng(i)) for i, a in enumerate(architectures)
    ]
    return [operators(a, serving) for a in architectures], np.array([1e3 * m.seconds_p10 for m in measured])


@pytest.mark.parametrize(("n", "most"), [(10, 0.15), (40, 0.05), (100, 0.03)])
def test_pairs_alone_tell_the_operators_apart(pairs: Any, n: int, most: float) -> None:
    models, measured = pairs
    p = PairPredictor.fit(models[:n], measured[:n]).predict_operators(models[140:])
    assert quality.errors(p.mean_ms, measured[140:]).median < most
    assert quality.coverage(p.lower_ms, p.upper_ms, measured[140:]).share > 0.75


def test_positive_finite_inside_its_interval_and_the_same_again(pairs: Any) -> None:
    models, measured = pairs
    a, b = (PairPredictor.fit(models[:30], measured[:30]).predict_operators(models) for _ in range(2))
    assert (np.isfinite(a.upper_ms) & (a.lower_ms > 0)).all()
    assert ((a.lower_ms < a.mean_ms) & (a.mean_ms < a.upper_ms)).all()
    np.testing.assert_array_equal(a.upper_ms, b.upper_ms)


def test_the_unit_does_not_matter(pairs: Any) -> None:
    models, measured = pairs
    a = PairPredictor.fit(models[:30], measured[:30]).predict_operators(models[30:60]).mean_ms
    b = PairPredictor.fit(models[:30], 1000 * measured[:30]).predict_operators(models[30:60]).mean_ms
    np.testing.assert_allclose(b, 1000 * a, rtol=1e-3)


def test_the_gradient_of_the_likelihood() -> None:
    rng, k = np.random.default_rng(0), len(PARTS) + 1
    roots = [rng.standard_normal((12, 12)) for _ in PARTS]
    parts, target, trust = [r @ r.T for r in roots], rng.standard_normal(12), rng.uniform(0.2, 1.2, 12)
    at = rng.standard_normal(k)
    _, gradient = negative_log_likelihood(parts, target, np.exp(at), trust)
    for index in range(k):
        step = 1e-5 * np.eye(k)[index]
        high, low = (negative_log_likelihood(parts, target, np.exp(at + way * step), trust)[0] for way in (1, -1))
        assert gradient[index] == pytest.approx((high - low) / 2e-5, rel=1e-4, abs=1e-6)


def test_outliers_are_not_believed(pairs: Any) -> None:
    models, measured = pairs
    spoilt = measured[:60].copy()
    spoilt[::10] *= 5.0
    p = PairPredictor.fit(models[:60], spoilt).predict_operators(models[140:])
    assert quality.errors(p.mean_ms, measured[140:]).median < 0.05


def test_noise_is_not_taken_for_physics(pairs: Any) -> None:
    """Many noisy pairs must not be explained by setting all operators to nothing."""
    models, measured = pairs
    noisy = measured * np.exp(0.1 * np.random.default_rng(0).standard_normal(len(measured)))
    p = PairPredictor.fit(models[:200], noisy[:200]).predict_operators(models[200:])
    assert quality.errors(p.mean_ms, measured[200:]).median < 0.05


def test_saved_and_loaded_predicts_the_same(pairs: Any, tmp_path: Path) -> None:
    models, measured = pairs
    fitted = PairPredictor.fit(models[:30], measured[:30])
    fitted.observe(models[30], 2 * measured[30])
    a, b = (p.predict_operators(models) for p in (fitted, PairPredictor.load(fitted.save(tmp_path))))
    np.testing.assert_allclose(a.mean_ms, b.mean_ms, rtol=1e-9)
    np.testing.assert_allclose(a.upper_ms, b.upper_ms, rtol=1e-9)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"schema": 1', '"schema": 2', "update distilsearch"),
        ('"format": "distilsearch pair', '"format": "other', "is not a"),
        ('"parts": ["launches"', '"parts": ["lunches"', "another prior"),
        ('"seconds": ', '"second": ', "damaged"),
        ("linear(", "nonlinear(", "operator kind 'nonlinear', which this version does not know"),
        ("{", "", "damaged"),
    ],
)
def test_files_that_are_not_ours_are_refused(pairs: Any, tmp_path: Path, old: str, new: str, message: str) -> None:
    models, measured = pairs
    path = PairPredictor.fit(models[:10], measured[:10]).save(tmp_path) / "pairs.json"
    path.write_text(re.sub(r', "content_sha256": "\w+"', "", path.read_text()).replace(old, new))
    with pytest.raises(TableError, match=message):
        PairPredictor.load(tmp_path)
    with pytest.raises(TableError, match="there is no predictor"):
        PairPredictor.load(tmp_path / "nowhere")


def test_another_device_helps_where_little_was_measured(pairs: Any, tmp_path: Path) -> None:
    """A device that is 2.5 times as slow, and has its own host time."""
    models, measured = pairs
    other = 2.5 * measured + 0.3
    source = PairPredictor.fit(models[:100], measured[:100])
    carried = source.calibrate(models[100:112], other[100:112])
    alone = PairPredictor.fit(models[100:112], other[100:112])
    a, b = (quality.errors(p.predict_operators(models[140:]).mean_ms, other[140:]).mean for p in (carried, alone))
    assert a < min(b, 0.03)
    loaded = PairPredictor.load(carried.save(tmp_path)).predict_operators(models)
    np.testing.assert_allclose(loaded.upper_ms, carried.predict_operators(models).upper_ms, rtol=1e-9)


def test_a_missed_winner_widens_the_intervals(pairs: Any) -> None:
    models, measured = pairs
    fitted = PairPredictor.fit(models[:30], measured[:30])
    before = fitted.predict_operators(models[30:40])
    assert not fitted.observe(models[30], 3 * measured[30])
    after = fitted.predict_operators(models[30:40])
    assert (after.upper_ms > before.upper_ms).all()
    with pytest.raises(InputError, match="positive latency"):
        fitted.observe(models[30], -1.0)


def test_bad_pairs_are_refused(pairs: Any) -> None:
    models, measured = pairs
    for n, values in ((2, measured[:2]), (3, measured[:2]), (3, -measured[:3])):
        with pytest.raises(InputError, match="three or more models"):
            PairPredictor.fit(models[:n], values)


def gpt(width: int, heads: list[int], ratios: list[int], bias: int, sequence: int = 1024) -> Counted:
    """A GPT with its own head count and feed-forward ratio in each layer."""
    parts: list[tuple[Operator, int]] = []

    def add(kind: str, count: int = 1, **sizes: int | str) -> None:
        parts.append((Operator(kind, {"batch": 1, "sequence": sequence, **sizes}), count))

    add("embedding", width=width, vocabulary=50257, positions=0, types=0, norm="none")
    for h, ratio in zip(heads, ratios, strict=True):
        add("linear", inputs=width, outputs=3 * 64 * h, bias=bias, activation="none")
        add("attention", heads=h, kv_heads=h, head_size=64, causal=1, cached=0)
        add("rotary", heads=h, kv_heads=h, head_size=64)
        add("linear", inputs=64 * h, outputs=width, bias=bias, activation="none")
        add("linear", inputs=width, outputs=ratio * width, bias=bias, activation="gelu")
        add("linear", inputs=ratio * width, outputs=width, bias=bias, activation="none")
        add("norm", 2, width=width, norm="layer", residual=1)
    add("head", width=width, vocabulary=50257, transform=0, tied=0)
    return parts


@pytest.mark.skipif(not DATA.exists(), reason=f"the published latencies are not there: {DATA.name}")
@pytest.mark.parametrize(("device", "most"), [("a100", 0.005), ("h100", 0.005), ("P100", 0.005), ("cpu_mlgpu", 0.06)])
def test_published_gpt_students(device: str, most: float) -> None:
    import pandas as pd

    rows = pd.read_csv(DATA, dtype={"n_head": str, "mlp_ratio": str}).sample(350, random_state=0)
    models = [
        gpt(w, [int(x) for x in h.split("-")[:n]], [int(x) for x in m.split("-")[:n]], b)
        for w, n, h, m, b in zip(rows.embed_dim, rows.n_layer, rows.n_head, rows.mlp_ratio, rows.bias, strict=True)
    ]
    measured = rows[f"lat_{device}"].to_numpy()
    p = PairPredictor.fit(models[:50], measured[:50]).predict_operators(models[50:])
    assert quality.errors(p.mean_ms, measured[50:]).mean < most
