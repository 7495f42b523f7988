"""What profiling left out of a table is counted against its plan, and said by kind."""

from dataclasses import replace

import pytest

from distilsearch.families import family
from distilsearch.operators import Serving
from distilsearch.profiling.cases.left_out import left_out
from distilsearch.profiling.cases.plan import make_plan
from distilsearch.profiling.clock import Measured
from distilsearch.profiling.device import Regime
from distilsearch.profiling.tables.derive import Key
from distilsearch.profiling.tables.table import LatencyTable, TableMeta

SPACE = family("bert").space(
    {"layers": [1, 2], "width": [32], "heads": [2], "ffn": [32, 64], "vocabulary": [97], "inherit": ["even"]}
)
SERVING = Serving(sequence=8, threads=1)
PLAN = make_plan(SPACE, [SERVING])
REGIME = Regime("float32", "eager", 1)
META = TableMeta(1, {}, {}, {}, 1.0, 1.0, 0.0, 0.0, "toy")


def table(statuses: dict[int, str]) -> LatencyTable:
    """The planned cases by their place, as they ended; a case that is not named was not timed."""
    timed = Measured(1.0, 1.0, 1.0, 7, 0.0, 1.0, "ok")
    measured: dict[Key, Measured] = {
        (PLAN.cases[place].kind, PLAN.cases[place].signature, REGIME): replace(timed, status=status)
        for place, status in statuses.items()
    }
    return LatencyTable((), (), META, measured)


def test_a_table_of_the_whole_plan_lacks_nothing() -> None:
    whole = table(dict.fromkeys(range(len(PLAN.cases)), "ok"))
    assert left_out(whole, SPACE, [SERVING]).words == ""
    assert left_out(whole, SPACE, [replace(SERVING, threads=None)]).words == ""


def test_what_was_not_timed_and_what_does_not_run_are_told_apart() -> None:
    statuses = dict.fromkeys(range(1, len(PLAN.cases)), "noisy")
    (place,) = [place for place, case in enumerate(PLAN.cases) if "attention" in case.signature and place]
    lacking = left_out(table(statuses | {place: "unsupported"}), SPACE, [SERVING])
    assert sum(lacking.planned.values()) == len(PLAN.cases)
    assert sum(lacking.untimed.values()) == 1
    assert lacking.failed == {"unsupported": {"attention": 1}}
    assert lacking.words.startswith(f"1 of {len(PLAN.cases)} cases were not timed (")
    assert lacking.words.endswith("do not run on the device: unsupported (attention 1)")


@pytest.mark.parametrize("other", [{"dtype": "bfloat16"}, {"threads": 2}, {"mode": "compile"}])
def test_rows_of_another_regime_are_no_rows(other: dict) -> None:
    whole = table(dict.fromkeys(range(len(PLAN.cases)), "ok"))
    lacking = left_out(whole, SPACE, [replace(SERVING, **other)])
    assert sum(lacking.untimed.values()) == sum(lacking.planned.values())
