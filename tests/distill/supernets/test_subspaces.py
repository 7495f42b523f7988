"""Sub-spaces are shares of the teacher: the published ones of BERT-base, and of others what stock models can be."""

import contextlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilsearch.distill.supernets.subspaces import (
    GENES,
    SUBSPACES,
    SubSpace,
    part_of,
    said,
    space_of,
    spelt_out,
    subspaces,
)
from distilsearch.errors import InputError
from distilsearch.families import TeacherFacts, family

ALL = tuple(SUBSPACES)


def facts(layers: int, width: int, heads: int, ffn: int, name: str = "bert") -> TeacherFacts:
    return TeacherFacts(
        name="a teacher", family=name, layers=layers, width=width, heads=heads, ffn=ffn, vocabulary=100, positions=64,
        types=2, activation="gelu", head="embedding", pool="mean",
    )  # fmt: skip


BASE = facts(12, 768, 12, 3072)


def test_the_published_ones_are_those_of_the_papers_teacher() -> None:
    tiny, small, base = subspaces(ALL, "bert", {}, BASE)
    assert (tiny.layers, tiny.width) == ((4, 5, 6, 7), (128, 160, 192, 224))
    assert tiny.ffn[128] == (256, 320, 384, 448)
    assert (small.layers, base.width) == ((9, 10, 11, 12), (544, 576, 608, 640))
    assert subspaces(ALL, "bert", {}, None) == (tiny, small, base)  # without a teacher, the paper's


@settings(max_examples=20)
@given(st.integers(2, 24), st.integers(4, 32), st.integers(1, 4))
def test_all_members_are_stock_models_no_larger_than_the_teacher(layers: int, sixteens: int, ratio: int) -> None:
    teacher = facts(layers, 16 * sixteens, sixteens, 16 * sixteens * ratio)
    for name in ALL:
        with contextlib.suppress(InputError):  # a teacher may be too narrow for heads of 16
            parts = subspaces([name], "bert", {}, teacher)
            _check_members(parts, teacher)


def _check_members(parts: Any, teacher: TeacherFacts) -> None:
    space = space_of(parts, "bert", {}, teacher)
    for member in space.decode(space.sample(5, np.random.default_rng(0))):
        layers, width, heads, ffn = (int(member[gene]) for gene in GENES)
        assert parts[0].has(member)
        assert (layers <= teacher.layers, width <= teacher.width, ffn <= teacher.ffn) == (True, True, True)
        assert width % heads == 0
        assert 16 <= width // heads <= 64


def test_the_union_holds_exactly_the_members_of_the_parts() -> None:
    teacher = facts(6, 384, 12, 1536)
    parts = subspaces(ALL, "bert", {}, teacher)
    whole = space_of(parts, "bert", {}, teacher)
    sizes = [space_of([part], "bert", {}, teacher).size for part in parts]
    assert whole.size.exact
    assert int(whole.size) == sum(sizes)
    members = {a for part in parts for a in _members(space_of([part], "bert", {}, teacher))}
    assert set(_members(whole)) == members
    assert all(part_of(parts, member) in parts for member in members)


def _members(space: Any) -> list[Any]:
    return space.decode(space.grid(10_000))


def test_what_they_came_to_is_said() -> None:
    lines = said(subspaces(["tiny"], "bert", {}, facts(6, 384, 12, 1536)), "bert", {}, facts(6, 384, 12, 1536))
    assert lines == [
        "sub-space 'tiny': 156 students (256 in the paper): 2, 3, 4 layers, 64, 80, 96, 112 wide, with heads of 16 to"
        " 64 that divide the width"
    ]


def test_genes_of_the_user_stand_in_place_of_their_own_and_equal_ones_are_one() -> None:
    genes = {"layers": (2, 3), "width": (64, 96), "ffn": (128,)}
    (only,) = subspaces(ALL, "bert", genes, facts(6, 384, 12, 1536))
    assert (only.name, only.layers, only.width, only.ffn) == ("tiny", (2, 3), (64, 96), {64: (128,), 96: (128,)})
    assert only.heads == (1, 2, 3, 4, 6)


def test_tables_of_the_user_are_taken_as_they_are() -> None:
    given = {"mine": {"layers": [2, 4], "width": [100], "ratio": [1.5], "heads": [5]}}
    (mine,) = subspaces(given, "bert", {}, BASE)
    assert (mine.layers, mine.width, mine.heads, mine.ffn) == ((2, 4), (100,), (5,), {100: (150,)})
    assert SubSpace.from_json(mine.to_json()) == mine
    assert spelt_out(spelt_out(ALL)) == spelt_out(ALL)


@pytest.mark.parametrize(
    ("given", "name", "genes", "teacher", "words"),
    [
        (["tiny"], "bert", {}, facts(2, 32, 2, 64), "'tiny' has no shape that stock transformers can load: its widths"),
        (["tiyn"], "bert", {}, BASE, "unknown sub-space 'tiyn': did you mean 'tiny'"),
        ([], "bert", {}, BASE, "one sub-space or more"),
        ({"mine": {"layers": [2]}}, "bert", {}, BASE, "'mine' needs width and ratio"),
        ({"mine": {"layers": [2], "width": [64], "ratio": [0]}}, "bert", {}, BASE, "ratio of the sub-space 'mine'"),
        ({"mine": {"layer": [2]}}, "bert", {}, BASE, "did you mean 'layers'"),
        ({"mine": {"layers": [2], "width": [64], "ratio": [1], "of": [12]}}, "bert", {}, BASE, "layers and width"),
        (["tiny"], "llama", {}, None, "family 'llama' are not sub-networks"),
        (["tiny"], "mobilebert", {}, None, "family 'mobilebert' are not sub-networks"),
        (["tiny"], "bert", {"inherit": ("even", "last")}, BASE, "leave the gene inherit out"),
        (["tiny"], "bert", {"activation": ("gelu", "relu")}, BASE, "have one activation"),
        (["tiny"], "bert", {"heads": (11,)}, BASE, "divided by none of the heads"),
        (["tiny"], "bert", {"layers": (13,)}, BASE, "more than the teacher's 12"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_the_users_terms(
    given: Any, name: str, genes: Any, teacher: TeacherFacts | None, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        subspaces(given, name, genes, teacher)


def test_who_is_no_member_is_told_so() -> None:
    parts = subspaces(["tiny"], "bert", {}, BASE)
    with pytest.raises(InputError, match="no sub-space holds layers=12"):
        part_of(parts, family("bert").architecture(BASE))
