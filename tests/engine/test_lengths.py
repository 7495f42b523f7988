"""Areas under curves tell what longer training is worth, of students and of their kin."""

import json
import math
from itertools import product

import numpy as np
import pytest

from distilsearch.architecture import Architecture
from distilsearch.arrays import FloatArray
from distilsearch.engine.beliefs import Beliefs
from distilsearch.engine.engine import Engine
from distilsearch.engine.lengths import Lengths
from distilsearch.engine.objectives import Codes, Expensive, Known
from distilsearch.errors import InputError
from distilsearch.space import Parameter, SearchSpace

SHORT, LONG = 100.0, 1600.0
POWER = {"cut": 0.1, "random": 0.4}  # of the length, by which the loss falls


def space() -> SearchSpace:
    start = Parameter("start", tuple(POWER), ordered=False)
    return SearchSpace("generic", [Parameter("depth", (1, 2, 3, 4, 5, 6)), start])


def loss(architecture: Architecture, length: float) -> float:
    height = (1.0 if architecture["start"] == "random" else 0.4) / math.sqrt(float(architecture["depth"]))
    return height * (length / SHORT) ** -POWER[str(architecture["start"])]


def area(architecture: Architecture, length: float) -> float:
    """The mean of the loss over the last three quarters of a training."""
    power = 1 - POWER[str(architecture["start"])]
    return loss(architecture, length) * (1 - 0.25**power) / power / 0.75


def told(areas: bool, goal: str = "min") -> Engine:
    """All short trainings of even depth, and the long ones of those that are not random."""
    sign = 1.0 if goal == "min" else -1.0
    cost = Known("ms", lambda codes: 1.0 + codes[:, 0])
    engine = Engine(space(), [Expensive("loss", goal=goal), cost], reference={"loss": sign * 3.0, "ms": 9.0})  # type: ignore[arg-type]
    for depth, start in product((1, 2, 4, 5, 6), POWER):
        architecture = Architecture("generic", {"depth": depth, "start": start})
        for length in (SHORT, LONG) if start == "cut" else (SHORT,):
            value, under = loss(architecture, length) ** sign, area(architecture, length) ** sign
            engine.tell(architecture, {"loss": value}, fidelity=length, area=under if areas else None)
    return engine


def error(engine: Engine, depth: int) -> float:
    """Of the median at the longest length of a random student, as a logarithm."""
    beliefs, student = Beliefs.of(engine._view([])), Architecture("generic", {"depth": depth, "start": "random"})
    mean, _ = beliefs.surrogates[0].marginals(beliefs.features(space().encode([student])))
    return abs(math.log(float(beliefs.raw(0, mean)[0]) / loss(student, LONG)))


@pytest.mark.parametrize("depth", [2, 3, 5])  # the second was never trained
def test_curves_say_how_far_students_of_their_kind_will_fall(depth: int) -> None:
    assert error(told(areas=True), depth) < 0.6 * error(told(areas=False), depth)


def _drops(lengths: Lengths, codes: Codes, length: float) -> FloatArray:
    """In units of the loss."""
    return lengths.columns(codes, length, lengths.view.further(codes))[:, 1]


@pytest.mark.parametrize("goal", ["min", "max"])
def test_slopes_are_those_of_the_curves(goal: str) -> None:
    lengths = Lengths.of(told(True, goal)._view([]))
    assert lengths is not None
    students = [Architecture("generic", {"depth": 2, "start": start}) for start in POWER]
    codes, sign = space().encode(students), 1.0 if goal == "min" else -1.0
    slopes = _drops(lengths, codes, math.log(LONG)) / math.log(LONG / SHORT)
    falls = [sign * (area(s, SHORT) ** sign - loss(s, SHORT) ** sign) for s in students]
    assert slopes == pytest.approx(falls, rel=0.2)
    assert _drops(lengths, codes, math.log(SHORT)) == pytest.approx([0, 0])


def test_without_two_lengths_or_enough_curves_there_is_nothing_to_tell() -> None:
    engine, codes = told(areas=False), space().grid(100)
    lengths, view = Lengths.of(engine._view([])), engine._view([])
    assert lengths is not None
    assert lengths.columns(codes, lengths.target, view.further(codes)).shape == (12, 1)
    one = Engine(space(), engine.objectives)
    for architecture in space().decode(space().grid(100)):
        one.tell(architecture, {"loss": loss(architecture, SHORT)}, fidelity=SHORT, area=area(architecture, SHORT))
    assert Lengths.of(one._view([])) is None


def test_replicates_are_averaged_whatever_their_order() -> None:
    made = told(areas=True)
    (architecture, *_) = space().decode(space().grid(100))
    tells = [(0.5, 0.6), (0.5, 0.9), (0.3, 0.4)]
    views = []
    for order in (tells, tells[::-1]):
        twin = Engine.restore(space(), made.objectives, made.state())
        for value, under in order:
            twin.tell(architecture, {"loss": value}, fidelity=SHORT, area=under)
        lengths = Lengths.of(twin._view([]))
        assert lengths is not None
        views.append(_drops(lengths, space().grid(100), math.log(LONG)))
    assert np.array_equal(*views)


def test_areas_are_kept_with_the_state() -> None:
    made = told(areas=True)
    twin = Engine.restore(space(), made.objectives, json.loads(json.dumps(made.state())))
    assert np.array_equal(twin._view([]).area, made._view([]).area)
    assert twin.ask_training((SHORT, LONG)) == made.ask_training((SHORT, LONG))


@pytest.mark.parametrize(("under", "length"), [(math.inf, 1.0), (math.nan, 1.0), (0.5, None)])
def test_senseless_areas_are_refused(under: float, length: float | None) -> None:
    (architecture, *_) = space().decode(space().grid(100))
    with pytest.raises(InputError, match="an area is the finite mean"):
        told(areas=False).tell(architecture, {"loss": 0.5}, fidelity=length, area=under)
