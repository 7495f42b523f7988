"""Profiling for requests of many lengths: planned together, measured at each, at the price of one length or two."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distilsearch.families import family
from distilsearch.length_nodes import request_lengths
from distilsearch.lowering import operators
from distilsearch.operators import KINDS, Operator, Serving
from distilsearch.predictors.latency import LatencyPredictor
from distilsearch.profiling import measure, profile
from distilsearch.profiling.cases.plan import MOST_OPERATORS, make_plan, space_operators
from distilsearch.profiling.clock import Measured, over_lengths
from distilsearch.space import SearchSpace

DRAWN = np.random.default_rng(0).integers(2, 33, 400).tolist()
LENGTHS = request_lengths(DRAWN)
GENES = {"layers": [1, 2, 3, 4, 6], "width": [128, 192, 256, 384], "heads": [4, 8], "ffn": [256, 512, 1024]}


@pytest.mark.parametrize("batch", [1, 4])
def test_a_plan_shares_one_lengths_budget_among_all(batch: int) -> None:
    wide, serving = family("bert").space(GENES), Serving(batch=batch, lengths=LENGTHS)
    plan, alone = make_plan(wide, [serving]), make_plan(wide, [serving.at(LENGTHS.longest)])
    models = [case for case in plan.cases if case.kind == "model"]
    assert {case.serving for case in models} == {part for part, _ in serving.parts}
    others = [case for case in models if case.serving.sequence != LENGTHS.p50]
    assert len(others) <= alone.count("model") + 1
    whole = {o for case in models for o, _ in operators(case.work, case.serving)}  # type: ignore[arg-type]
    chosen = {case.work for case in plan.cases if case.kind == "operator"}
    assert len(chosen - whole) <= min(MOST_OPERATORS, 2 * len(space_operators(wide, serving.at(7))))
    assert {o.sizes["sequence"] for o in chosen if isinstance(o, Operator)} >= set(LENGTHS.nodes)
    assert len(chosen) + len(plan.spare) == plan.distinct == len(space_operators(wide, serving))


def test_every_whole_model_is_timed_at_the_median_length_too_and_no_operator_is_for_that() -> None:
    wide, serving = family("bert").space(GENES), Serving(lengths=LENGTHS)
    plan = make_plan(wide, [serving], most=1)
    models = [case for case in plan.cases if case.kind == "model"]
    assert {case.work for case in models} == {c.work for c in models if c.serving.sequence == LENGTHS.p50}
    in_turn = {c.work: c for c in sorted(models, key=lambda case: case.serving.sequence != LENGTHS.p50)}
    needed = {o for case in in_turn.values() for o, _ in operators(case.work, case.serving)}  # type: ignore[arg-type]
    others = {case.work for case in plan.cases if case.kind == "operator"} - needed
    assert len(others) <= len(KINDS)  # one of each, chosen among all


def test_what_takes_seconds_to_compile_is_timed_at_one_length_every_other_one_at_the_median() -> None:
    wide, serving = family("bert").space(GENES), Serving(lengths=LENGTHS, mode="compile")
    models = [case for case in make_plan(wide, [serving]).cases if case.kind == "model"]
    lengths = [case.serving.sequence for case in models]
    assert len({case.work for case in models}) == len(models)
    assert lengths[1::2] == [LENGTHS.p50] * (len(models) // 2)
    assert lengths[::2] == [*LENGTHS.nodes[::-1]][: len(lengths[::2])]


def test_one_table_holds_all_lengths_and_foretells_their_mean(
    space: SearchSpace, store: Path, make_fake: Callable[..., Any]
) -> None:
    lengths = request_lengths(DRAWN, most=4)
    device, serving = make_fake(), Serving(threads=1, lengths=lengths)
    table = profile(space, device, serving, store, clock=device.clock)
    assert {row.serving.sequence for row in table.models} == set(lengths.nodes)
    students = space.decode(space.sample(3, np.random.default_rng(1)))
    measured = measure([*students, students[0]], device, serving, store, clock=device.clock)
    assert measured[0] == measured[3]
    p = LatencyPredictor.fit(table).predict(students, serving)
    for place, student in enumerate(students):
        one = measured[place]
        naive = np.mean([device.true_seconds(student, serving.at(length)) for length in DRAWN])
        assert one.seconds_p10 == pytest.approx(naive, rel=0.05)
        assert 1e-3 * p.mean_ms[place] == pytest.approx(naive, rel=0.2)
        for seconds, node in zip(one.of_requests, (lengths.p50, lengths.p99), strict=True):
            assert seconds == pytest.approx(device.true_seconds(student, serving.at(node)), rel=0.05)
    again = make_fake()
    profile(space, again, serving, store, clock=again.clock)
    assert not again.prepared


def test_what_failed_at_one_length_is_not_served() -> None:
    lengths = request_lengths([4] * 20 + [16] * 20)
    fine = Measured(1.0, 1.1, 1.3, 8, 0.1, 1.0, "ok")
    assert over_lengths([fine, Measured.failed("oom")], lengths).status == "oom"
    noisy = over_lengths([fine, Measured(3.0, 3.0, 3.0, 6, 0.5, 2.0, "noisy")], lengths)
    assert (noisy.seconds_p10, noisy.of_requests, noisy.status) == (2.0, (1.0, 3.0), "noisy")
    assert (noisy.rounds, noisy.relative_iqr, noisy.sentinel_ratio) == (6, 0.5, 2.0)
    assert Measured.from_json(noisy.to_json()) == noisy
    assert set(fine.to_json()) == {
        "seconds_p10", "seconds_p50", "seconds_p90", "rounds", "relative_iqr", "sentinel_ratio", "status"
    }  # fmt: skip
