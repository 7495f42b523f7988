"""Losses and costs of any size: the unit of a result changes nothing of what is proposed."""

import numpy as np
import pytest

from distilsearch.engine.engine import Engine
from distilsearch.engine.objectives import Expensive, Known
from distilsearch.predictors.surrogate.accuracy import Warp
from distilsearch.space import Parameter, SearchSpace

SPACE = SearchSpace("generic", [Parameter(f"x{i}", tuple(range(5))) for i in range(3)])


def asked(unit: float, offset: float = 0.0, cost_unit: float = 1.0) -> list[tuple[int, ...]]:
    known = Known("cost", lambda codes: cost_unit * (1.0 + codes.sum(axis=1)))
    engine, rows = Engine(SPACE, [Expensive("loss"), known], initial=5), []
    for _ in range(8):
        (architecture,) = engine.ask()
        row = SPACE.encode([architecture])[0]
        rows.append(tuple(map(int, row)))
        engine.tell(architecture, {"loss": offset + unit * float(2 ** (3 + 12 - int(row.sum()))) / 4096})
    return rows


@pytest.mark.parametrize("unit", [2.0**-45, 2.0**-80, 2.0**-300, 2.0**60, 2.0**300])
def test_the_unit_of_a_loss_does_not_matter(unit: float) -> None:
    assert asked(unit) == asked(1.0)


@pytest.mark.parametrize("unit", [2.0**-60, 2.0**60])
def test_the_unit_of_a_cost_does_not_matter(unit: float) -> None:
    assert asked(1.0, cost_unit=unit) == asked(1.0)


def test_small_differences_between_large_losses_count() -> None:
    assert asked(2.0**-40, offset=1.0)[:6] == asked(1.0, offset=2.0**40)[:6]


@pytest.mark.parametrize("values", [[1e-13, 2e-13, 3e-13], [1.0, 1.0 + 1e-13, 1.0 - 1e-13], [1e200, 3e200, 2e200]])
@pytest.mark.parametrize("share", [None, 0.3])
def test_warped_values_have_mean_zero_and_variance_one(values: list[float], share: float | None) -> None:
    y = np.array(values)
    shift = None if share is None else float(y.min()) - share * float(np.ptp(y))
    warp = Warp.of(y, shift)
    z = warp(y)
    assert abs(z.mean()) < 0.02
    assert z.std() == pytest.approx(1.0, rel=0.02)
    assert warp.inverse(z) == pytest.approx(y, rel=1e-9)
    assert np.isfinite(np.log(warp.slope(y))).all()


@pytest.mark.parametrize("values", [[0.0, 0.0], [0.1 + 0.2, 0.3], [1e-320, 2e-320]])
def test_equal_values_stay_as_they_are(values: list[float]) -> None:
    assert Warp.of(np.array(values), None).scale == 1.0
