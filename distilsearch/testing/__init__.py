"""Hypothesis strategies for the domain's own values, for the tests of those who embed or extend distilsearch.

Needs `hypothesis` (the extra `testing`). Spaces are small enough to be enumerated by a naive oracle. The contract
suites stand beside it, one file each (`families`, `losses`, `recipes`, `strategies`, `devices`, `evaluations` ...), so
that importing this needs neither pytest nor torch: inherit a suite's class, give its fixtures, and pytest runs it on
yours.
"""

import itertools
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from ..architecture import Architecture, Value
from ..families import FAMILIES, family
from ..operators import Serving
from ..space import Constraint, Parameter, SearchSpace


def parameters(name: str) -> st.SearchStrategy[Parameter]:
    """A gene of one to four choices, ordered or not."""
    numbers = st.lists(st.integers(-20, 200), min_size=1, max_size=4, unique=True).map(sorted)
    words = st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, max_size=4, unique=True)
    ordered = st.builds(Parameter, st.just(name), numbers.map(tuple))
    categorical = st.builds(Parameter, st.just(name), words.map(tuple), st.just(False))
    return st.one_of(ordered, categorical)


@st.composite
def spaces(draw: st.DrawFn, largest: int = 5) -> SearchSpace:
    """A generic space of up to `largest` genes with random constraints and activity rules; never empty."""
    genes = [draw(parameters(f"g{i}")) for i in range(draw(st.integers(1, largest)))]
    names = [g.name for g in genes]
    choices = {g.name: g.choices for g in genes}
    anchor = {g.name: draw(st.sampled_from(g.choices)) for g in genes}
    constraints = [_constraint(draw, names, choices, anchor) for _ in range(draw(st.integers(0, 2)))]
    active = {}
    if len(names) > 1 and draw(st.booleans()):
        active[names[-1]] = _constraint(draw, names[:-1], choices, None)
        anchor[names[-1]] = choices[names[-1]][0]
        constraints = [c for c in constraints if names[-1] not in (c.reads or ())]
    return SearchSpace("generic", genes, constraints, active)


def _constraint(draw: st.DrawFn, names: list[str], choices: Any, anchor: dict[str, Value] | None) -> Constraint:
    """A random truth table over one or two genes, true at the anchor."""
    reads = tuple(draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True)))
    cells = list(itertools.product(*(choices[name] for name in reads)))
    truth = dict(zip(cells, draw(st.lists(st.booleans(), min_size=len(cells), max_size=len(cells))), strict=True))
    if anchor is not None:
        truth[tuple(anchor[name] for name in reads)] = True
    return Constraint(reads, lambda *values: truth[values], f"a random rule on {', '.join(reads)}")


def enumerate_space(space: SearchSpace) -> Iterator[tuple[int, ...]]:
    """The naive oracle of a space: every valid canonical code row, by brute force over all combinations."""
    seen = set()
    for row in itertools.product(*(range(len(p.choices)) for p in space.parameters)):
        codes = list(row)
        for _ in space.parameters:
            values = {p.name: p.choices[c] for p, c in zip(space.parameters, codes, strict=True)}
            for gene, rule in space.active.items():
                if not rule.holds(*(values[name] for name in rule.reads or ())):
                    codes[space.column(gene)] = 0
        values = {p.name: p.choices[c] for p, c in zip(space.parameters, codes, strict=True)}
        good = all(c.holds(*(values[n] for n in c.reads)) if c.reads else c.holds(values) for c in space.constraints)
        if good and tuple(codes) not in seen:
            seen.add(tuple(codes))
            yield tuple(codes)


def servings() -> st.SearchStrategy[Serving]:
    """Serving conditions of small models."""
    return st.builds(
        Serving, batch=st.integers(1, 8), sequence=st.integers(1, 256), threads=st.sampled_from([None, 1, 2])
    )


@st.composite
def architectures(draw: st.DrawFn, name: str = "bert") -> Architecture:
    """A valid architecture of a family's default space."""
    import numpy as np

    space = family(name).space()
    codes = space.sample(1, np.random.default_rng(draw(st.integers(0, 2**32 - 1))))
    return space.decode(codes)[0]


def family_names() -> list[str]:
    """The families that the contract suite runs over."""
    return sorted(FAMILIES)


def latency_properties() -> dict[str, Any]:
    """What must hold of any latency predictor, by name: functions of a `distilsearch.predictors.properties.Subject`.

    Each returns what is wrong, or an empty string. Draw the subject's codes and call them from your own tests.
    """
    from distilsearch.predictors.properties import PROPERTIES

    return dict(PROPERTIES)
