"""A busy machine refuses no run that has measured students within its limits, and is named where it is the cause."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from distilsearch.engine.engine import Engine
from distilsearch.engine.job.ledger import Ledger, open_storage
from distilsearch.engine.job.machines.limits import measured_within
from distilsearch.engine.job.run import MainJob
from distilsearch.engine.objectives import Expensive, Known
from distilsearch.errors import InputError
from distilsearch.families import family
from distilsearch.profiling.clock import Measured
from distilsearch.space import Codes

GENES = {"layers": [1, 2, 3], "width": [128, 192], "heads": [4], "ffn": [256], "inherit": ["even"]}
SPACE = family("bert").space(GENES)
LIMIT = 3.2


def table(*ratios: float) -> Any:
    rows = [
        SimpleNamespace(measured=Measured(1e-3, 1e-3, 1e-3, 9, 0.1, r, "noisy" if r > 1.5 else "ok")) for r in ratios
    ]
    return SimpleNamespace(operators=rows, models=[])


def machine(of: Any, keeps: bool = True) -> Any:
    keeping = {"keeps": lambda architecture: keeps}
    return SimpleNamespace(objective="latency_ms", limit_ms=LIMIT, tables={"torch": of}, **keeping)


def engine() -> Engine:
    """All students have an upper bound beyond the limit, whatever their mean."""

    def wide(codes: Codes) -> np.ndarray[Any, np.dtype[np.float64]]:
        return np.full(len(codes), 4.566)

    known = Known("latency_ms", lambda codes: np.full(len(codes), 0.8), at_most=LIMIT, spread=wide, upper=wide)
    return Engine(SPACE, [Expensive("loss"), known])


class Case:
    def __init__(self, folder: Path) -> None:
        self.folder, self.said = folder, list[str]()
        (folder / "run.toml").write_text("")
        self.ledger = Ledger(open_storage("", folder), "run", ["loss", "latency_ms"], SPACE)

    def trained(self, measured: float | None) -> None:
        latency = {"predicted": 1.0, "lower": 0.2, "upper": 4.0, "measured": measured}
        facts = {"source": "trained", "latencies": {"latency_ms": latency}, "tokens": 10, "asked": 10}
        member = SPACE.decode(SPACE.grid(100))[len(self.ledger.entries())]
        self.ledger.add(member, [0.3, measured or 1.0], facts)

    def check(self, of: Any) -> None:
        prepared = SimpleNamespace(run=SimpleNamespace(seed=0), folder=self.folder)
        say = lambda what, done, total: self.said.append(what)  # noqa: E731
        MainJob(prepared, None, self.ledger, None, say, 0.0).check_limits(engine(), [of])  # type: ignore[arg-type]


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_a_run_whose_measured_students_keep_the_limit_goes_on(case: Case) -> None:
    for latency in (0.9, 3.0, 5.0):
        case.trained(latency)
    case.check(machine(table(1.0, 7.2)))
    (word,) = case.said
    assert "no student is predicted to keep latency_ms <= 3.2" in word
    assert "going on, for 2 measured students of this run keep it" in word


def test_the_last_measurement_counts(case: Case) -> None:
    case.trained(0.9)
    member = case.ledger.entries()[0].architecture
    case.ledger.note("measured", {"latency_ms": {member.key: 4.0}})
    assert measured_within(case.ledger, [machine(table(1.0))]) == 0


@pytest.mark.parametrize("latency", [None, 5.0])
def test_what_was_only_predicted_or_is_too_slow_is_no_reason_to_go_on(case: Case, latency: float | None) -> None:
    case.trained(latency)
    with pytest.raises(InputError, match="raise the limit"):
        case.check(machine(table(1.0)))
    assert (case.folder / "run.toml").exists()


def test_students_beyond_another_limit_are_no_reason_to_go_on(case: Case) -> None:
    case.trained(0.9)
    assert measured_within(case.ledger, [machine(table(1.0), keeps=False)]) == 0


def test_a_busy_machine_is_named_where_it_refuses(case: Case) -> None:
    with pytest.raises(
        InputError, match=r"Mind: 2 of 3 rows were timed while others used the machine \(.* 9.0 times slow"
    ):
        case.check(machine(table(1.0, 7.2, 9.0)))
    assert not (case.folder / "run.toml").exists()
    case.folder.joinpath("run.toml").write_text("")
    with pytest.raises(InputError, match=r"smaller students$"):
        case.check(machine(table(1.0, 1.1)))
