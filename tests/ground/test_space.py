import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from distilsearch import Architecture, Constraint, Parameter, SearchSpace
from distilsearch.errors import InputError
from distilsearch.testing import enumerate_space, spaces

RULES = settings(max_examples=60, deadline=None)


@given(spaces())
@RULES
def test_size_and_grid_are_what_brute_force_finds(space: SearchSpace) -> None:
    rows = sorted(enumerate_space(space))
    assert space.size == len(rows)
    assert space.size.exact
    assert sorted(map(tuple, space.grid(10_000).tolist())) == rows


@given(spaces(), st.integers(0, 1000))
@RULES
def test_samples_are_valid_canonical_members(space: SearchSpace, seed: int) -> None:
    codes = space.sample(50, np.random.default_rng(seed))
    assert codes.shape == (50, space.d)
    assert {tuple(row) for row in codes.tolist()} <= set(enumerate_space(space))


@given(spaces(), st.integers(0, 1000))
@RULES
def test_neighbours_differ_in_one_choice_and_are_valid(space: SearchSpace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes = space.sample(30, rng)
    changed = space.neighbours(codes, rng)
    members = set(enumerate_space(space))
    assert {tuple(row) for row in changed.tolist()} <= members
    silenced = len(space.active)  # silencing a gene changes it too
    assert ((codes != changed).sum(axis=1) <= 1 + silenced).all()


@given(spaces())
@RULES
def test_decoding_and_encoding_are_inverse(space: SearchSpace) -> None:
    codes = space.grid(10_000)
    assert np.array_equal(space.encode(space.decode(codes)), codes)


@given(spaces())
@RULES
def test_canonical_is_idempotent_and_keeps_validity(space: SearchSpace) -> None:
    raw = np.array(list(itertools.product(*(range(len(p.choices)) for p in space.parameters))), dtype=np.int16)
    once = space.canonical(raw)
    assert np.array_equal(space.canonical(once), once)
    assert np.array_equal(space.valid(raw), space.valid(once))


def test_sampling_is_uniform_over_valid_members() -> None:
    genes = [Parameter("depth", (1, 2, 3)), Parameter("a", (1, 2, 3, 4)), Parameter("b", ("x", "y"), ordered=False)]
    even = Constraint(("depth", "a"), lambda depth, a: (depth + a) % 2 == 0)
    space = SearchSpace("generic", genes, [even], {"b": Constraint(("depth",), lambda depth: depth > 1)})
    codes = space.sample(20_000, np.random.default_rng(0))
    _, counts = np.unique(codes, axis=0, return_counts=True)
    expected = 20_000 / len(counts)
    assert len(counts) == space.size
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < 2.5 * len(counts)


def test_sizes_beyond_64_bits_are_exact() -> None:
    depth = 30
    genes = [Parameter("depth", tuple(range(1, depth + 1)))]
    genes += [Parameter(f"g{i}", tuple(range(10))) for i in range(depth)]
    active = {f"g{i}": Constraint(("depth",), lambda d, i=i: i < d) for i in range(depth)}
    space = SearchSpace("generic", genes, (), active)
    assert int(space.size) == sum(10**d for d in range(1, depth + 1)) > 2**63
    assert space.size.exact


def test_an_opaque_constraint_makes_the_size_a_labelled_estimate() -> None:
    genes = [Parameter(f"g{i}", tuple(range(10))) for i in range(3)]
    space = SearchSpace("generic", genes, [Constraint(None, lambda v: v["g0"] + v["g1"] > 9, "an opaque rule")])
    assert not space.size.exact
    assert "estimated" in str(space.size)
    assert 350 < space.size < 550
    assert space.valid(space.sample(100, np.random.default_rng(0))).all()


def test_rules_that_entangle_everything_are_estimated() -> None:
    names = tuple(f"g{i}" for i in range(8))
    genes = [Parameter(name, tuple(range(8))) for name in names]
    pairs = [Constraint(pair, lambda a, b: a != b) for pair in itertools.combinations(names, 2)]
    space = SearchSpace("generic", genes, pairs)
    assert not space.size.exact
    assert 10_000 < space.size < 160_000  # 8! = 40,320


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Parameter("a", ()), "no choices"),
        (lambda: Parameter("a", (1, 1)), "repeats"),
        (lambda: Parameter("a", (0, False)), "repeats"),
        (lambda: SearchSpace("generic", []), "at least one parameter"),
        (lambda: SearchSpace("generic", [Parameter("a", (1,)), Parameter("a", (2,))]), "twice"),
        (
            lambda: SearchSpace("generic", [Parameter("width", (1,))], [Constraint(("widht",), lambda w: True)]),
            "did you mean 'width'",
        ),
        (
            lambda: SearchSpace(
                "generic", [Parameter("a", (1, 2))], [Constraint(("a",), lambda a: a > 5, "a above 5")]
            ),
            "a above 5",
        ),
    ],
)
def test_senseless_spaces_are_refused(make, message) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_a_grid_larger_than_the_limit_is_refused() -> None:
    space = SearchSpace("generic", [Parameter("a", tuple(range(100)))])
    with pytest.raises(InputError, match="100 architectures, more than the limit of 10"):
        space.grid(10)


def test_encoding_names_what_the_space_does_not_have() -> None:
    space = SearchSpace("generic", [Parameter("a", (1, 2))])
    with pytest.raises(InputError, match=r"a=3 is not in this space: \[1, 2\]"):
        space.encode([Architecture("generic", {"a": 3})])
    assert not space.contains(Architecture("bert", {"a": 1}))


@given(spaces())
@RULES
def test_indices_follow_combinations(space: SearchSpace) -> None:
    assume(space.d > 1)
    names = space.names[:2]
    codes = space.grid(10_000)
    combinations = list(space.combinations(names))
    found = [combinations[i] for i in space.indices(codes, names)]
    assert found == [tuple(a[n] for n in names) for a in space.decode(codes)]
