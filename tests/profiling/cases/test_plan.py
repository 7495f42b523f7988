"""The plan covers the space, without duplicates, and spreads over it where it may not take all."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilsearch.arrays import FloatArray
from distilsearch.errors import InputError
from distilsearch.families import family
from distilsearch.lowering import operators
from distilsearch.operators import Operator, Serving
from distilsearch.profiling import profile
from distilsearch.profiling.cases import plan as planning
from distilsearch.profiling.cases.spread import farthest_first, size_points
from distilsearch.profiling.cases.whole_models import DEPTHS, whole_models
from distilsearch.profiling.device import Costs
from distilsearch.space import SearchSpace

WIDTHS, HEADS, FFNS = (32, 48, 64, 96, 128), (1, 2, 3, 4, 6, 8), (64, 96, 128, 200, 256)


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    def some(values: tuple[int, ...]) -> list[int]:
        return draw(st.lists(st.sampled_from(values), min_size=1, max_size=3, unique=True))

    head = draw(st.sampled_from(["embedding", "mlm"]))
    genes = {"layers": some((1, 2, 3, 4, 6)), "width": some(WIDTHS), "heads": some(HEADS), "ffn": some(FFNS)}
    try:
        return family("bert").space({**genes, "vocabulary": [100], "head": [head]})
    except InputError:
        return family("bert").space({**genes, "heads": [2], "width": [64], "vocabulary": [100]})


@settings(max_examples=25, deadline=None)
@given(spaces())
def test_every_operator_of_every_architecture_is_in_the_plan_once(space: SearchSpace) -> None:
    serving = Serving(sequence=8)
    plan = planning.make_plan(space, [serving], models=2)
    names = [(case.signature, case.serving) for case in plan.cases]
    assert len(names) == len(set(names))
    needed = {o.signature for a in space.decode(space.grid(10_000)) for o, _ in operators(a, serving)}
    assert {case.signature for case in plan.cases if case.kind == "operator"} == needed
    assert plan.distinct == len(needed)


@settings(max_examples=25, deadline=None)
@given(spaces(), st.integers(1, 4))
def test_whole_models_are_valid_and_differ(space: SearchSpace, count: int) -> None:
    models = whole_models(space, Serving(sequence=8), count)
    assert 1 <= len(models) == len(set(models)) < count + len(DEPTHS)
    assert space.valid(space.encode(models)).all()


def test_whole_models_come_at_several_depths() -> None:
    space = family("bert").space({"layers": [1, 2, 3, 4, 6], "width": [64], "heads": [2], "ffn": [64]})
    models = whole_models(space, Serving(sequence=8), 1)
    assert [a["layers"] for a in models] == [1, 2, 4]


def test_a_plan_of_a_large_space_takes_corners_of_every_kind_first() -> None:
    sizes = {"width": list(range(64, 1024, 16)), "ffn": list(range(128, 4096, 32))}
    space = family("bert").space({**sizes, "heads": [2, 4, 8, 16]})
    assert space.size > 10**4
    found = planning.space_operators(space, Serving())
    chosen = planning.choose(found, 100)
    assert len(chosen) == len(set(chosen)) == 100
    assert {o.kind for o in chosen} == {o.kind for o in found}
    linear = [o for o in chosen if o.kind == "linear" and o.sizes["activation"] == "gelu"]
    for size, limits in (("inputs", sizes["width"]), ("outputs", sizes["ffn"])):
        assert {max(limits), min(limits)} <= {o.sizes[size] for o in linear}


def test_farthest_first_spreads() -> None:
    """Any operator left out is nearer to a chosen one than the chosen ones are to each other."""
    sizes = itertools.product((32, 64, 128, 256, 512), (32, 96, 1024))
    fixed = {"batch": 1, "sequence": 8, "bias": 1, "activation": "none"}
    members = [Operator("linear", {**fixed, "inputs": i, "outputs": o}) for i, o in sizes]
    points = size_points(members)
    chosen = farthest_first(points, 6, [3])
    picked = points[chosen]
    assert len(set(chosen)) == 6
    assert chosen[0] == 3
    nearest = np.linalg.norm(points[:, None] - picked[None], axis=2).min(axis=1).max()
    apart = min(np.linalg.norm(a - b) for a, b in itertools.combinations(picked, 2))
    assert nearest <= apart + 1e-9


def test_the_estimate_grows_with_the_plan(space: SearchSpace) -> None:
    one = planning.make_plan(space, [Serving(sequence=8)])
    two = planning.make_plan(space, [Serving(sequence=8), Serving(sequence=16)])

    def roofline(found: object, serving: Serving) -> FloatArray:
        return np.full(len(found), 1e-3)  # type: ignore[arg-type]

    seconds = [plan.estimate_seconds(roofline, lambda serving: Costs(), rounds=8) for plan in (one, two)]
    assert seconds[1] == pytest.approx(2 * seconds[0], rel=0.01)
    assert seconds[0] > 8 * 1e-3 * len(one.cases)


def test_sequences_longer_than_the_positions_are_refused(space: SearchSpace) -> None:
    with pytest.raises(InputError, match="these models have positions for"):
        profile(space, "cpu", Serving(sequence=100_000))


def test_nothing_to_profile_is_an_error() -> None:
    with pytest.raises(InputError, match="nothing to profile"):
        profile([], "cpu")
