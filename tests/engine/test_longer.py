"""New students against longer training, and when to stop."""

import json
import math

import pytest

from distilsearch.architecture import Architecture
from distilsearch.engine.engine import Engine
from distilsearch.engine.longer import Training
from distilsearch.engine.objectives import Expensive, Known
from distilsearch.errors import InputError
from distilsearch.space import Parameter, SearchSpace

LENGTHS = (100.0, 400.0, 1600.0)


def space() -> SearchSpace:
    return SearchSpace("generic", [Parameter("depth", (1, 2, 3, 4, 5)), Parameter("width", (1, 2, 3, 4))])


def engine(**more: object) -> Engine:
    cost = Known("ms", lambda codes: 1.0 + codes[:, 0] + codes[:, 1])
    reference = {"loss": 3.0, "ms": 9.0}
    return Engine(space(), [Expensive("loss"), cost], initial=5, reference=reference, **more)  # type: ignore[arg-type]


def loss(architecture: Architecture, length: float, worth: float) -> float:
    """Longer training is worth `worth` for each factor of e."""
    quality = 1.0 / float(architecture["depth"]) + 0.5 / float(architecture["width"])
    return quality + worth * math.log(LENGTHS[-1] / length)


def run(made: Engine, trainings: int, worth: float) -> list[Training]:
    done = []
    for _ in range(trainings):
        training = made.ask_training(LENGTHS)
        assert training is not None
        made.tell(
            training.architecture, {"loss": loss(training.architecture, training.fidelity, worth)},
            fidelity=training.fidelity,
        )  # fmt: skip
        done.append(training)
    return done


def test_it_starts_students_then_tries_longer_training() -> None:
    done = run(engine(), 8, 0.2)
    assert [t.since for t in done[:5]] == [0.0] * 5
    assert [t.since for t in done[5:7]] == [100.0, 100.0]
    assert all(t.fidelity > t.since for t in done)


def test_worthwhile_training_goes_on_and_worthless_does_not() -> None:
    worthwhile = [t for t in run(engine(), 16, 0.5)[7:] if t.since]
    worthless = [t for t in run(engine(), 16, 0.0)[7:] if t.since]
    assert len(worthwhile) > len(worthless)


def test_a_student_in_training_is_not_trained_on_twice() -> None:
    made = engine()
    run(made, 7, 0.3)
    asked = [made.ask_training(LENGTHS) for _ in range(4)]
    keys = [t.architecture.key for t in asked if t is not None]
    assert len(keys) == len(set(keys)) == 4


def test_everything_fully_trained_ends_it() -> None:
    made = engine()
    for architecture in space().decode(space().grid(100)):
        made.tell(architecture, {"loss": loss(architecture, 1600.0, 0.1)}, fidelity=1600.0)
    assert made.ask_training(LENGTHS) is None
    assert made.expected_improvement() == 0.0
    assert made.converged()


def test_longer_training_that_pays_keeps_it_from_converging() -> None:
    made = engine()
    for i, architecture in enumerate(space().decode(space().grid(100))):
        length = LENGTHS[1] if i % 3 else LENGTHS[0]
        made.tell(architecture, {"loss": loss(architecture, length, 0.5)}, fidelity=length)
    assert made.converged()
    assert not made.converged(lengths=LENGTHS)
    training = made.ask_training(LENGTHS)
    assert training is not None
    assert made.expected_improvement(LENGTHS) >= training.gain * 0.5


def test_it_converges_when_little_is_left() -> None:
    made = engine()
    assert not made.converged()
    improvements = []
    for i in range(16):
        (architecture,) = made.ask()
        made.tell(architecture, {"loss": loss(architecture, 1600.0, 0.0)})
        if i >= 5:
            improvements.append(made.expected_improvement())
    assert improvements[-1] < improvements[0]
    assert made.converged(0.05)


@pytest.mark.parametrize("lengths", [(), (100.0, 50.0), (0.0, 10.0), (1.0, math.inf)])
def test_lengths_must_rise(lengths: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="rise"):
        engine().ask_training(lengths)


def test_a_restored_engine_trains_the_same() -> None:
    made = engine()
    run(made, 9, 0.3)
    made.ask_training(LENGTHS)
    twin = Engine.restore(space(), made.objectives, json.loads(json.dumps(made.state())))
    assert twin.ask_training(LENGTHS) == made.ask_training(LENGTHS)
    assert twin.expected_improvement() == made.expected_improvement()
