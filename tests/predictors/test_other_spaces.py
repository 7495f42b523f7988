"""A compiled latency is of one space: with codes of another it would look up other students, and say nothing."""

from functools import partial
from typing import Any

import numpy as np
import pytest

from distilsearch.engine.engine import Engine
from distilsearch.engine.objectives import Expensive, Known, Limit
from distilsearch.errors import InputError
from distilsearch.families import family
from distilsearch.operators import Serving
from distilsearch.predictors.latency import LatencyPredictor
from distilsearch.predictors.prediction import CompiledLatency
from distilsearch.profiling.tables.table import LatencyTable
from distilsearch.space import SearchSpace

CHOICES: dict[str, Any] = {
    "layers": [1, 2],
    "width": [128, 192],
    "heads": [2, 4],
    "ffn": [256, 512],
    "inherit": ["even"],
}


def of(**changes: list[int]) -> SearchSpace:
    return family("bert").space({**CHOICES, **changes})


@pytest.fixture(scope="module")
def compiled(table: LatencyTable, serving: Serving) -> CompiledLatency:
    return LatencyPredictor.fit(table).compile(of(), serving)


def engine_of(space: SearchSpace, known: Known) -> Engine:
    return Engine(space, [Expensive("loss"), known])


OTHERS = {
    "other choices": (of(width=[192, 320]), r"width is one of \[128, 192\] there and of \[192, 320\] here"),
    "another order": (of(width=[192, 128]), r"width is one of"),
    "more choices": (of(layers=[1, 2, 3]), r"layers is one of \[1, 2\] there and of \[1, 2, 3\] here"),
    "another family": (family("llama").space(), r"its genes are .* of bert, not .* of llama"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_an_engine_of_another_space_refuses_it(case: str, compiled: CompiledLatency) -> None:
    space, message = OTHERS[case]
    engine_of(of(), Known("ms", compiled, spread=compiled.spread, upper=compiled.upper))
    with pytest.raises(InputError, match=rf"the function of 'ms' was compiled for another space: {message}"):
        engine_of(space, Known("ms", compiled))


@pytest.mark.parametrize("name", ["spread", "upper", "lower"])
def test_so_it_does_where_only_a_bound_is_of_another_space(name: str, compiled: CompiledLatency) -> None:
    plain, space = (lambda codes: np.ones(len(codes))), of(width=[192, 320])
    bounds = {name: partial(compiled.upper) if name == "lower" else getattr(compiled, name)}
    with pytest.raises(InputError, match=f"the {name} of 'ms' was compiled for another space"):
        engine_of(space, Known("ms", plain, at_least=0.0, **bounds))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="the function of 'cap' was compiled for another space"):
        Engine(space, [Expensive("loss")], limits=[Limit("cap", compiled, 9.0)])


def test_codes_that_cannot_be_of_its_space_are_refused_by_itself(compiled: CompiledLatency) -> None:
    good = of().grid(99)
    assert len(compiled(good)) == len(good)
    assert len(compiled(good[:0])) == 0
    with pytest.raises(InputError, match=r"expected codes of the genes layers, .*; got shape"):
        compiled(good[:, :-1])
    for wrong in (2, -1):
        codes = good.copy()
        codes[3, of().column("width")] = wrong
        with pytest.raises(InputError, match="codes of 'width' run from 0 to 1 in the space that this latency was"):
            compiled.upper(codes)
