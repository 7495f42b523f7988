"""What a table lacks of what profiling a space was to time: for want of time, or since the device cannot run it.

Nothing is timed for it, and no device is opened: plan and table say it. Operators that a plan leaves to the predictor
are not lacking.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from distilsearch.operators import Operator, Serving
from distilsearch.space import SearchSpace

from ..clock import Measured
from ..device import Regime
from ..tables.table import LatencyTable
from .plan import Case, make_plan

MODELS = "whole models"  # beside the kinds of operators


@dataclass(frozen=True)
class LeftOut:
    """Cases by kind of operator, or `MODELS`.

    Attributes:
        planned: what was to be timed.
        untimed: what nobody has timed.
        failed: what does not run, by how ("unsupported", "oom") and kind.
    """

    planned: Mapping[str, int]
    untimed: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """In words, such as "3 of 40 cases were not timed (linear 2, whole models 1)"; "" of nothing."""
        every = sum(self.planned.values())
        said = [f"{sum(self.untimed.values())} of {every} cases were not timed ({_listed(self.untimed)})"]
        said = said if self.untimed else []
        said += [
            f"{sum(kinds.values())} of {every} cases do not run on the device: {status} ({_listed(kinds)})"
            for status, kinds in sorted(self.failed.items())
        ]
        return "; ".join(said)


def left_out(table: LatencyTable, space: SearchSpace, servings: Iterable[Serving]) -> LeftOut:
    """What a table lacks of a space under some servings, all of its runtime."""
    planned, untimed, failed = Counter[str](), Counter[str](), dict[str, Counter[str]]()
    for serving in servings:
        there = _there(table, serving)
        for case in make_plan(space, [serving]).cases:
            planned[_kind(case)] += 1
            timing = there.get((case.kind, case.signature))
            if timing is None:
                untimed[_kind(case)] += 1
            elif not timing.usable:
                failed.setdefault(timing.status, Counter())[_kind(case)] += 1
    return LeftOut(planned, untimed, failed)


def _there(table: LatencyTable, serving: Serving) -> dict[tuple[str, str], Measured]:
    """What was timed as a serving runs; where the thread count is left to the device, with any."""
    cases: dict[tuple[str, str], Measured] = {}
    for (kind, signature, regime), timing in table.measured.items():
        if _same(regime, serving) and (timing.usable or (kind, signature) not in cases):
            cases[kind, signature] = timing
    return cases


def _same(regime: Regime, serving: Serving) -> bool:
    alike = (regime.dtype, regime.mode, regime.runtime) == (serving.dtype, serving.mode, serving.runtime)
    return alike and regime.cache == "hot" and (not regime.threads or serving.threads in (None, regime.threads))


def _kind(case: Case) -> str:
    return case.work.kind if isinstance(case.work, Operator) else MODELS


def _listed(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))
