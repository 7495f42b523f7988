"""Rules that few architectures keep, rules that read too much to be tabulated, and spaces that are a list."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilsearch import Architecture, Constraint, Parameter, SearchSpace
from distilsearch import space as module
from distilsearch.engine.engine import Engine
from distilsearch.engine.objectives import Expensive, Known
from distilsearch.errors import InputError
from distilsearch.testing import enumerate_space, spaces


def genes(n: int, choices: int) -> list[Parameter]:
    return [Parameter(f"g{i}", tuple(range(choices))) for i in range(n)]


def names(n: int) -> tuple[str, ...]:
    return tuple(f"g{i}" for i in range(n))


@pytest.mark.parametrize("seed", range(3))
def test_one_in_a_thousand_behind_an_opaque_rule_is_found(seed: int) -> None:
    rule = Constraint(None, lambda v: (v["g0"] * 100 + v["g1"] * 10 + v["g2"]) == 345, "rare")
    space = SearchSpace("generic", genes(7, 10), [rule])
    assert not space.size.exact
    assert 2_000 < space.size < 50_000  # 10,000
    codes = space.sample(64, np.random.default_rng(seed))
    assert codes.shape == (64, 7)
    assert (codes[:, :3] == [3, 4, 5]).all()
    assert len(np.unique(codes, axis=0)) > 16


def test_one_in_a_hundred_thousand_is_found_in_a_small_space() -> None:
    space = SearchSpace("generic", genes(5, 10), [Constraint(None, lambda v: set(v.values()) == {7}, "all seven")])
    assert space.size == 1
    assert space.grid(10**6).tolist() == [[7] * 5]
    (asked,) = Engine(space, [Expensive("loss")]).ask(5)
    assert set(asked.values.values()) == {7}


def test_a_rule_that_reads_twenty_genes_is_asked_row_by_row() -> None:
    start = time.monotonic()
    rule = Constraint(names(20), lambda *values: sum(values) <= 15, "not too much")
    space = SearchSpace("generic", genes(20, 3), [rule])
    codes = space.sample(50, np.random.default_rng(0))
    assert (codes.sum(axis=1) <= 15).all()
    assert not space.size.exact
    assert time.monotonic() - start < 30  # 3^20 combinations would take an hour


def test_an_activity_rule_may_read_many_genes_too() -> None:
    active = {"g12": Constraint(names(12), lambda *values: sum(values) > 18)}
    space = SearchSpace("generic", genes(13, 4), (), active)
    codes = space.sample(200, np.random.default_rng(0))
    silent = codes[:, :12].sum(axis=1) <= 18
    assert silent.any()
    assert (codes[silent, 12] == 0).all()
    assert (codes[~silent, 12] > 0).any()


@given(spaces(), st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_a_rule_asked_row_by_row_says_what_its_table_says(space: SearchSpace, seed: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "WIDE", 0)
        asked = SearchSpace("generic", space.parameters, space.constraints, space.active)
        rows = sorted(enumerate_space(space))
        assert asked.size == len(rows)
        assert sorted(map(tuple, asked.grid(10_000).tolist())) == rows
        assert {tuple(row) for row in asked.sample(40, np.random.default_rng(seed)).tolist()} <= set(rows)


def test_what_was_not_found_is_not_called_impossible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEARCHED", 4_096)
    never = Constraint(None, lambda v: all(x == 9 for x in v.values()), "all nines")
    with pytest.raises(InputError, match=r"found in 4,096 draws, though there may be some.*SearchSpace.of.*all nines"):
        SearchSpace("generic", genes(12, 10), [never])
    with pytest.raises(InputError, match="no architecture of this space is valid; its constraints are: never"):
        SearchSpace("generic", genes(3, 5), [Constraint(None, lambda v: False, "never")])


def test_enumerations_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ROWS", 10_000)
    space = SearchSpace("generic", genes(7, 10), [Constraint(None, lambda v: v["g0"] == v["g1"] == v["g2"], "same")])
    with pytest.raises(InputError, match="more than 10,000 combinations"):
        space.grid(10**7)


def test_a_rare_rule_is_searched_by_the_engine() -> None:
    rule = Constraint(None, lambda v: v["g0"] == v["g1"] and v["g2"] == v["g3"] and v["g4"] == 2, "pairs")
    space = SearchSpace("generic", genes(9, 6), [rule])
    engine = Engine(space, [Expensive("loss"), Known("ms", lambda codes: 1.0 + codes.sum(axis=1))], initial=2)
    for asked in engine.ask(2):
        assert space.contains(asked)
        engine.tell(asked, {"loss": 1.0 / (1.0 + float(asked["g0"]))})
    assert space.contains(engine.ask()[0])


# Spaces that are a list


@given(spaces(), st.data())
@settings(max_examples=40, deadline=None)
def test_a_space_of_a_list_holds_that_list(space: SearchSpace, data: st.DataObject) -> None:
    rows = space.grid(10_000)
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=12))
    members = space.decode(rows[chosen])
    listed = SearchSpace.of(members)
    assert listed.size == len(set(members))
    assert listed.size.exact
    assert set(listed.decode(listed.grid(100))) == set(members)
    assert set(listed.decode(listed.sample(30, np.random.default_rng(0)))) <= set(members)
    codes = listed.grid(100)
    assert listed.valid(listed.neighbours(codes, np.random.default_rng(0))).all()
    others = [a for a in space.decode(rows) if a not in set(members)]
    assert not any(listed.contains(a) for a in others)
    assert all(listed.contains(a) for a in members)


def test_a_list_is_searched_like_any_space() -> None:
    members = [
        Architecture("generic", {"depth": d, "kind": k}) for d, k in zip(range(1, 13), "abcabcabcabc", strict=True)
    ]
    space = SearchSpace.of(members)
    assert [p.ordered for p in space.parameters] == [True, False]
    engine, seen = Engine(space, [Expensive("loss"), Known("ms", lambda codes: 1.0 + codes[:, 0])]), set()
    while asked := engine.ask(3):
        seen.update(asked)
        for a in asked:
            engine.tell(a, {"loss": 1.0 / float(a["depth"])})
    assert seen == set(members)


def test_genes_of_a_list_may_be_labels() -> None:
    space = SearchSpace.of([Architecture("generic", {"x": v}) for v in (3, 1, 2.5)], unordered=["x"])
    assert space.parameters == (Parameter("x", (1, 2.5, 3), ordered=False),)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "at least one"),
        ([{"x": 1}], "made of Architecture"),
        ([Architecture("generic", {"x": 1}), Architecture("generic", {"y": 1})], "the same genes"),
        ([Architecture("generic", {"x": 1}), Architecture("other", {"x": 1})], "one family"),
    ],
)
def test_lists_that_make_no_space_are_refused(members: list[Architecture], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SearchSpace.of(members)
