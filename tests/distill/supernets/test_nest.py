"""The sub-networks of a space: the smallest lies in all, the largest holds all, and a rule draws them again alike."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilsearch.architecture import Architecture
from distilsearch.distill.supernets.nest import FEWEST, MOST_SIZES, RULES, Nest
from distilsearch.errors import InputError
from distilsearch.families import TeacherFacts, family
from distilsearch.space import Constraint, SearchSpace

FACTS = TeacherFacts("t", "bert", 6, 384, 12, 1536, 100, 64, 2)
SIZES = ("layers", "width", "ffn")


def space(facts: TeacherFacts = FACTS, **genes: Any) -> SearchSpace:
    """A sub-space of the teacher's students."""
    given_ = {"layers": [2, 3, 4], "width": [128, 192, 256], "heads": [4, 6, 8], "ffn": [256, 512], "inherit": ["even"]}
    return family(facts.family).space(given_ | genes, facts)


def within(small: Architecture, large: Architecture) -> bool:
    return all(int(small[gene]) <= int(large[gene]) for gene in SIZES)


CHOICES = st.lists(st.integers(1, 8), min_size=1, max_size=4, unique=True)


@given(CHOICES, CHOICES, CHOICES, st.integers(0, 2**31), st.integers(0, 10**6))
def test_members_lie_between_the_smallest_and_the_largest_whatever_the_space(
    layers: list[int], widths: list[int], ffn: list[int], seed: int, step: int
) -> None:
    genes = {"layers": layers, "width": [32 * w for w in widths], "heads": [1, 2, 4, 8], "ffn": [32 * f for f in ffn]}
    facts = TeacherFacts("t", "bert", 9, 288, 9, 288, 100, 64, 2)
    nest = Nest.of(space(facts, **genes), facts)
    members = nest.space.decode(nest.codes)
    assert all(within(nest.smallest, one) and within(one, nest.largest) for one in members)
    for rule in RULES.values():
        trained = rule(nest, seed, step)
        assert trained == rule(nest, seed, step)
        assert set(trained) <= set(members)
        assert nest.largest in trained
    sizes = RULES["nested"](nest, seed, step)
    assert sizes == RULES["nested"](nest, seed + 1, step + 1)
    assert sizes[0] == nest.smallest
    assert all(within(small, large) for small, large in itertools.pairwise(sizes))
    assert len(set(sizes)) == len(sizes) <= MOST_SIZES


def test_a_sandwich_meets_every_member_and_is_another_one_at_every_step() -> None:
    nest = Nest.of(space(), FACTS)
    drawn = [tuple(RULES["sandwich"](nest, 0, step)) for step in range(200)]
    assert {one for trained in drawn for one in trained} == set(nest.space.decode(nest.codes))
    assert len(set(drawn)) > 100
    assert all(trained[:2] == (nest.smallest, nest.largest) and len(trained) == FEWEST for trained in drawn)


def test_nested_sizes_go_through_all_widths_and_depths_where_there_are_four_of_each() -> None:
    four = space(layers=[2, 3, 4, 5], width=[128, 192, 256, 320], ffn=[256, 512, 768, 1024], heads=[4, 6, 8, 10])
    sizes = RULES["nested"](Nest.of(four, FACTS), 0, 0)
    assert [one["layers"] for one in sizes] == [2, 3, 4, 5]
    assert [one["width"] for one in sizes] == [128, 192, 256, 320]
    assert [one["heads"] for one in sizes] == [4, 6, 8, 10]


def test_heads_of_the_teachers_size_stand_for_members_that_differ_in_heads_alone() -> None:
    nest = Nest.of(space(), FACTS)  # its heads are 32 wide
    assert (nest.largest["width"], nest.largest["heads"]) == (256, 8)
    assert (nest.smallest["width"], nest.smallest["heads"]) == (128, 4)


def test_equal_spaces_are_equal_in_json_and_others_are_not() -> None:
    told = Nest.of(space(), FACTS).to_json()
    assert told == Nest.of(space(), FACTS).to_json()
    assert told["count"] == len(Nest.of(space(), FACTS))
    ruled = space()
    narrower = SearchSpace(ruled.family, ruled.parameters, [*ruled.constraints, _rule(lambda w, f: f <= 2 * w)])
    assert Nest.of(narrower, FACTS).to_json() != told


def _rule(holds: Any) -> Constraint:
    return Constraint(("width", "ffn"), holds, "ffn within its bounds")


@pytest.mark.parametrize(
    ("holds", "word"), [(lambda w, f: w < 256 or f < 512, "largest"), (lambda w, f: w > 128 or f > 256, "smallest")]
)
def test_a_space_without_a_member_that_holds_or_lies_in_all_others_is_refused(holds: Any, word: str) -> None:
    whole = space()
    cut = SearchSpace(whole.family, whole.parameters, [*whole.constraints, _rule(holds)])
    with pytest.raises(InputError, match=f"no {word} member: none of its .* has layers .*, width .*, ffn .*"):
        Nest.of(cut, FACTS)


def test_what_is_no_size_must_be_one_value() -> None:
    with pytest.raises(InputError, match=r"inherit = \['even', 'last'\]: choose one"):
        Nest.of(space(inherit=["even", "last"]), FACTS)
    with pytest.raises(InputError, match=r"activation = \['gelu', 'relu'\]: choose one"):
        Nest.of(space(activation=["gelu", "relu"]), FACTS)


def test_families_whose_slices_are_no_models_are_refused() -> None:
    facts = TeacherFacts("t", "llama", 4, 64, 4, 128, 100, 64, 0, head="causal", kv_heads=2, head_size=16)
    with pytest.raises(InputError, match="llama students cannot share the weights"):
        Nest.of(family("llama").space(teacher=facts), facts)
    with pytest.raises(InputError, match="mobilebert students cannot share the weights"):
        Nest.of(family("mobilebert").space({"vocabulary": [100]}), FACTS)
    with pytest.raises(InputError, match="roberta sub-networks of a bert teacher"):
        Nest.of(family("roberta").space({"layers": [1, 2], "inherit": ["even"]}), FACTS)


def test_a_space_too_large_to_be_looked_through_is_refused() -> None:
    facts = TeacherFacts("t", "bert", 60, 2000, 50, 4000, 100, 64, 2)
    wide = {"layers": list(range(1, 60)), "width": [32 * i for i in range(1, 60)], "ffn": list(range(1, 3000))}
    with pytest.raises(InputError, match="at most 131,072 sub-networks"):
        Nest.of(space(facts, **wide), facts)
    assert np.isfinite(Nest.of(space(), FACTS).head_size)
