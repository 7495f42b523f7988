"""Front and hypervolume against what they mean: counting the cells of a grid, and comparing every pair."""

import itertools

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from distilsearch.engine.objectives import Expensive, Known, check_objectives, front, hypervolume, nondominated
from distilsearch.errors import InputError

SIDE = 5
Points = npt.NDArray[np.float64]


def point_sets(least: int = 2, most: int = 4) -> st.SearchStrategy[Points]:
    """Sets of points with whole coordinates below SIDE, duplicates and all."""
    shapes = st.tuples(st.integers(0, 8), st.integers(least, most))
    cells = st.integers(0, SIDE).map(float)
    return shapes.flatmap(lambda shape: arrays(np.float64, shape, elements=cells))


def naive_volume(points: Points) -> float:
    """Unit cells of the cube [0, SIDE)^M that some point dominates."""
    cells = np.array(list(itertools.product(range(SIDE), repeat=points.shape[1])))
    return float((points[:, None] <= cells[None]).all(axis=2).any(axis=0).sum())


def naive_front(points: Points) -> list[bool]:
    return [not any((q <= p).all() and (q < p).any() for q in points) for p in points]


@given(point_sets())
def test_hypervolume_counts_dominated_cells(points: Points) -> None:
    assert hypervolume(points, np.full(points.shape[1], SIDE)) == naive_volume(points)


@given(point_sets(most=3))
def test_front_is_what_no_other_point_dominates(points: Points) -> None:
    assert nondominated(points).tolist() == naive_front(points)


@given(point_sets(most=3), st.data())
def test_the_rule_of_fronts_against_every_pair(points: Points, data: st.DataObject) -> None:
    width = points.shape[1]
    limits = data.draw(st.lists(st.sampled_from([1.0, 3.0, np.inf]), min_size=width, max_size=width))
    signs = data.draw(st.lists(st.sampled_from([1.0, -1.0]), min_size=width, max_size=width))
    inside = [bool((p <= limits).all()) for p in points]
    rivals = points[inside]
    beaten = [any((signs * q <= signs * p).all() and (q != p).any() for q in rivals) for p in points]
    expected = [good and not worse for good, worse in zip(inside, beaten, strict=True)]
    assert front(points, limits, signs).tolist() == expected


@given(point_sets(), st.randoms(use_true_random=False))
def test_hypervolume_ignores_order_duplicates_and_dominated_points(points: Points, random: object) -> None:
    corner = np.full(points.shape[1], float(SIDE))
    volume = hypervolume(points, corner)
    shuffled = points[np.random.default_rng(len(points)).permutation(len(points))]
    assert hypervolume(np.concatenate([shuffled, points]), corner) == volume
    assert hypervolume(points[nondominated(points)], corner) == volume
    columns = np.roll(points, 1, axis=1)
    assert hypervolume(columns, corner) == pytest.approx(volume)


@given(point_sets(), st.floats(0.01, 100.0), st.floats(-5.0, 5.0))
def test_hypervolume_scales_with_each_objective(points: Points, factor: float, shift: float) -> None:
    corner = np.full(points.shape[1], float(SIDE))
    scaled, moved = points.copy(), corner.copy()
    scaled[:, 0], moved[0] = scaled[:, 0] * factor + shift, moved[0] * factor + shift
    expected = factor * hypervolume(points, corner)
    assert hypervolume(scaled, moved) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(point_sets(), st.floats(0.1, 3.0))
@settings(max_examples=50)
def test_a_farther_reference_never_shrinks_it(points: Points, step: float) -> None:
    corner = np.full(points.shape[1], 3.0)
    assert hypervolume(points, corner) <= hypervolume(points, corner + step) + 1e-12


def test_no_points_dominate_nothing() -> None:
    assert hypervolume(np.empty((0, 2)), [1.0, 1.0]) == 0.0
    assert hypervolume([[2.0, 0.0]], [1.0, 1.0]) == 0.0


def test_known_functions_are_checked() -> None:
    codes = np.zeros((3, 2), np.int16)
    assert Known("ms", lambda c: c[:, 0] + 1.0, at_most=1.0).within(codes).all()
    with pytest.raises(InputError, match="one number a row"):
        Known("ms", lambda c: np.zeros(2)).values(codes)
    with pytest.raises(InputError, match="not finite"):
        Known("ms", lambda c: np.full(len(c), np.nan)).values(codes)


def test_objectives_must_leave_something_to_learn() -> None:
    with pytest.raises(InputError, match="at least one"):
        check_objectives([Known("ms", lambda c: np.zeros(len(c)))])
    with pytest.raises(InputError, match="different names"):
        check_objectives([Expensive("a"), Expensive("a")])
    with pytest.raises(InputError, match="'min' or 'max'"):
        Expensive("loss", "down")  # type: ignore[arg-type]
