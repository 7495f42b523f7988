"""The initial design and the reference it gives, also where trials fail, values come late and the space runs out."""

import json

import numpy as np
import pytest

from distilsearch.architecture import Architecture
from distilsearch.arrays import FloatArray
from distilsearch.engine.engine import Engine
from distilsearch.engine.objectives import Codes, Expensive, Known
from distilsearch.errors import InputError
from distilsearch.space import Parameter, SearchSpace


def line(n: int) -> SearchSpace:
    return SearchSpace("generic", [Parameter("x", tuple(range(n)))])


def cost(codes: Codes) -> FloatArray:
    return 1.0 + codes.sum(axis=1, dtype=np.float64)


def engine(space: SearchSpace, **more: object) -> Engine:
    return Engine(space, [Expensive("loss"), Known("ms", cost)], **more)  # type: ignore[arg-type]


def loss(architecture: Architecture) -> float:
    return 1.0 / (1.0 + sum(float(v) for v in architecture.values.values()))


@pytest.mark.parametrize("end", ["told", "failed", "pending"])
def test_a_space_that_ends_within_the_design_gives_no_more(end: str) -> None:
    made = engine(line(3))
    for _ in range(3):
        (asked,) = made.ask()
        if end == "told":
            made.tell(asked, {"loss": loss(asked)})
        elif end == "failed":
            made.fail(asked, "out of memory")
    assert made.ask() == []
    assert made.ask(4) == []


def test_failures_are_made_up_for_before_the_reference_stands() -> None:
    made = engine(line(30), initial=4)
    told = []
    for i in range(7):
        (asked,) = made.ask()
        if i in (1, 2, 3):
            made.fail(asked, "out of memory")
        else:
            assert made.state()["reference"]["frozen"] is None
            told.append(asked)
            made.tell(asked, {"loss": loss(asked)})
    losses = list(map(loss, told))
    expected = {"loss": max(losses) + 0.1 * np.ptp(losses), "ms": 30.0 + 0.1 * 29.0}
    assert made.state()["reference"]["frozen"] == pytest.approx(expected)
    assert made.hypervolume() > 0


def test_an_objective_that_is_told_late_still_gets_its_corner() -> None:
    space = SearchSpace("generic", [Parameter("x", tuple(range(6))), Parameter("y", tuple(range(6)))])
    made = Engine(space, [Expensive("loss"), Expensive("size"), Known("ms", cost)], initial=3)
    first = made.ask(3)
    for asked in first:
        made.tell(asked, {"loss": loss(asked)})
    assert made.state()["reference"]["frozen"] is None
    for i, asked in enumerate(first):
        made.tell(asked, {"size": float(i)})
    assert made.reference["size"] == pytest.approx(2.2)
    assert np.isfinite(made.expected_improvement())


def test_a_limit_of_zero_clips_the_reference() -> None:
    known = Known("gap", lambda codes: codes[:, 0] - 3.0, at_most=0.0)
    made = Engine(line(8), [Expensive("loss"), known], initial=2, reference={"loss": 1.0, "gap": 5.0})
    for asked in made.ask(2):
        made.tell(asked, {"loss": 0.5})
    assert made.hypervolume() <= 0.5 * 3.0


def test_designs_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InputError, match="at least one architecture"):
        engine(line(3), initial=0)
    limited = Known("ms", cost, at_most=2.0)
    with pytest.raises(InputError, match=r"initial architecture \{'x': 4\} breaks ms <= 2"):
        Engine(line(5), [Expensive("loss"), limited], initial=[Architecture("generic", {"x": 4})])


def test_costs_are_logarithms_everywhere_or_nowhere() -> None:
    space = SearchSpace("generic", [Parameter(f"x{i}", tuple(range(4))) for i in range(3)])
    made = Engine(space, [Expensive("loss"), Known("ms", lambda codes: codes.sum(axis=1) - 1.0)], initial=4)
    for architecture in space.decode(space.grid(100)[9:30:3]):
        made.tell(architecture, {"loss": loss(architecture)})
    view, codes = made._view([]), space.grid(100)
    whole = view.further(codes)
    apart = np.concatenate([view.further(codes[i : i + 1]) for i in range(len(codes))])
    assert np.array_equal(whole, apart)


def test_tight_limits_are_found_in_spaces_too_large_to_list() -> None:
    space = SearchSpace("generic", [Parameter(f"x{i}", tuple(range(8))) for i in range(27)])
    made = Engine(space, [Expensive("loss"), Known("ms", cost, at_most=25.0)], initial=3)
    asked = made.ask(3)
    assert len(asked) == 3
    assert cost(space.encode(asked)).max() <= 25.0
    with pytest.raises(InputError, match="lowest upper bound found is 1"):
        Engine(space, [Expensive("loss"), Known("ms", cost, at_most=0.5)]).ask()


def test_a_measured_cost_survives_a_longer_training_that_gives_none() -> None:
    made = engine(line(5), initial=2)
    (asked,) = made.ask()
    made.tell(asked, {"loss": 0.9, "ms": 7.5}, fidelity=100)
    made.tell(asked, {"loss": 0.5}, fidelity=1000)
    (outcome,) = made.outcomes()
    assert outcome.values == {"loss": 0.5, "ms": 7.5}
    assert outcome.fidelity == 1000


def test_the_state_is_json_whatever_numbers_were_told() -> None:
    made = engine(line(5), initial=2)
    (asked,) = made.ask()
    made.tell(asked, {"loss": np.float32(0.5)}, noise=np.float32(0.1), fidelity=np.int64(100))  # type: ignore[arg-type]
    assert json.loads(json.dumps(made.state()))["tells"][0]["fidelity"] == 100


def layered(at_most: float | None, spread: float = 0.0) -> Engine:
    """Depth, width and two genes more; cost is depth times the rest, and its bound grows with depth."""
    genes = [Parameter("depth", (1, 2, 3, 4, 6)), Parameter("width", (1, 2, 3, 4, 6))]
    genes += [Parameter(f"x{i}", (0, 1, 2, 3)) for i in range(2)]

    def figure(codes: Codes) -> FloatArray:
        depth, width = np.array((1.0, 2, 3, 4, 6))[codes[:, :2]].T
        return np.asarray(depth * (1 + width) * (1 + 0.1 * codes[:, 2:].sum(axis=1)))

    def upper(codes: Codes) -> FloatArray:
        return np.asarray(figure(codes) * (1 + spread * (1 + codes[:, 0])))

    known = Known("ms", figure, at_most=at_most, upper=upper, spread=lambda codes: spread * figure(codes) / 2)
    return Engine(SearchSpace("generic", genes), [Expensive("loss"), known])


@pytest.mark.parametrize("limit", [4.2, 6.0, 9.0, 20.0, None])
@pytest.mark.parametrize("spread", [0.0, 0.05])
def test_every_gene_that_can_vary_under_a_limit_varies_in_the_design(limit: float | None, spread: float) -> None:
    for seed in range(5):
        made = layered(limit, spread)
        made.seed = seed
        codes = made.space.grid(1000)
        can = np.ptp(codes[made.objectives[1].within(codes)], axis=0) > 0  # type: ignore[union-attr]
        shown = np.ptp(made.space.encode(made.ask(4)), axis=0) > 0
        assert (shown >= can).all()


@pytest.mark.parametrize("seed", range(3))
def test_depth_is_found_under_a_limit_where_it_pays(seed: int) -> None:
    made = layered(6.0, 0.03)
    made.seed = seed
    depths = set()
    for _ in range(8):
        (asked,) = made.ask()
        depths.add(asked["depth"])
        made.tell(asked, {"loss": 1.0 / float(asked["depth"]) + 0.1 / float(asked["width"])})
    assert 2 in depths
    assert made.front()[-1].architecture["depth"] == 2


def test_a_categorical_gene_is_covered_whatever_its_choices_are_called() -> None:
    for names in (("a", "b", "c"), ("c", "a", "b")):
        genes = [Parameter("kind", names, ordered=False), Parameter("x", tuple(range(9)))]
        space = SearchSpace("generic", genes)
        asked = Engine(space, [Expensive("loss"), Known("ms", lambda codes: 1.0 + codes[:, 1])]).ask(4)
        assert {a["kind"] for a in asked} == {"a", "b", "c"}
