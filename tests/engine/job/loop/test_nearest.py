"""The students nearest to a teacher are those that a look at all of them finds, and a search begins with them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilsearch.architecture import Architecture
from distilsearch.engine.engine import Engine
from distilsearch.engine.job.loop.nearest import first_students, nearest
from distilsearch.engine.objectives import Expensive, Known
from distilsearch.space import Constraint, Parameter, SearchSpace

TEACHER = Architecture("bert", {"layers": 6, "width": 96, "heads": 6, "inherit": "even", "activation": "gelu"})


def space_of(layers: tuple[int, ...], widths: tuple[int, ...], heads: tuple[int, ...]) -> SearchSpace:
    """Students whose heads divide their width, each by a rule or a cut of as many layers."""
    genes = [
        Parameter("layers", layers),
        Parameter("width", widths),
        Parameter("heads", heads),
        Parameter("inherit", ("none", "even", "5", "0,3,5", "1,3,5"), ordered=False),
        Parameter("activation", ("relu", "gelu"), ordered=False),
        Parameter("served.dtype", ("float32", "bfloat16"), ordered=False),
    ]
    rules = [
        Constraint(("width", "heads"), lambda width, heads: width % heads == 0),
        Constraint(("layers", "inherit"), lambda layers, cut: cut.isalpha() or len(cut.split(",")) == layers),
    ]
    return SearchSpace("bert", genes, rules)


def distance(student: Architecture) -> float:
    """From the teacher, but for the depth."""
    genes = student.values
    apart = sum(abs(math.log1p(genes[name]) - math.log1p(TEACHER[name])) for name in ("width", "heads"))
    cut = {"none": 2.0, "even": 1.0}.get(genes["inherit"], 0.0)
    return apart + cut + (genes["activation"] != "gelu")


choices = st.lists(st.sampled_from([16, 24, 32, 48, 64, 96]), min_size=1, max_size=5, unique=True)


@given(widths=choices, heads=st.lists(st.integers(1, 12), min_size=1, max_size=6, unique=True), most=st.integers(0, 99))
def test_none_is_nearer_of_those_that_keep_the_limits(widths: list[int], heads: list[int], most: int) -> None:
    space = space_of((1, 2, 3), tuple(sorted(widths)), (1, *sorted({*heads} - {1})))
    width = space.column("width")
    wide = np.array(space.parameters[width].choices)
    everyone = [a for a in space.decode(space.grid(10_000)) if a["layers"] == 3 and a["width"] <= most]
    found = nearest(space, TEACHER, 3, lambda codes: wide[codes[:, width]] <= most)
    if not everyone:
        assert found is None
        return
    assert found is not None
    assert found in everyone
    assert distance(found) == pytest.approx(min(map(distance, everyone)))


def test_the_best_cut_of_its_depth_is_what_it_inherits() -> None:
    first, second = first_students(space_of((1, 3, 6), (48, 96), (3, 6)), TEACHER, lambda codes: codes[:, 0] >= 0)
    whole = {"width": 96, "heads": 6, "activation": "gelu", "served.dtype": "float32"}
    assert dict(first.values) == whole | {"layers": 3, "inherit": "0,3,5"}
    assert dict(second.values) == whole | {"layers": 1, "inherit": "5"}


@pytest.mark.parametrize("layers", [(3,), (6,), ()])
def test_there_are_as_many_as_there_are_depths(layers: tuple[int, ...]) -> None:
    space = space_of(layers, (96,), (6,)) if layers else SearchSpace("generic", [Parameter("x", (1, 2))])
    assert len(first_students(space, TEACHER, lambda codes: codes[:, 0] >= 0)) == (layers == (3,))


def test_a_search_begins_with_them_and_goes_on_with_a_design_of_its_own() -> None:
    space = space_of((1, 2, 3, 4), (48, 96), (3, 6))
    first = first_students(space, TEACHER, lambda codes: codes[:, 0] >= 0)
    cost = Known("ms", lambda codes: 1.0 + codes[:, :2].sum(axis=1))
    engine = Engine(space, [Expensive("loss"), cost], first=first, reference={"ms": 6.0})
    asked = engine.ask(4)
    assert asked[:2] == first
    assert len({*asked}) == 4
    assert cost.values(space.encode(asked[2:3])) == [1.0]  # the cheapest, as ever
    assert engine.state()["first"] == [a.to_json() for a in first]
    for one in asked:
        engine.tell(one, {"loss": 1.0})
    (informed,) = Engine.restore(space, engine.objectives, engine.state()).ask()
    assert informed not in asked
