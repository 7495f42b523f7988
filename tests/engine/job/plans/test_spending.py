"""What a run spends: an amount as it says, or minutes; a finish comes in stages and stops when time is over."""

import itertools
import math
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilsearch.architecture import Architecture
from distilsearch.distill.job import Training
from distilsearch.distill.recipes import EMBEDDING
from distilsearch.distill.store.trial import Trial
from distilsearch.engine.job.jobs import Distil
from distilsearch.engine.job.ledger import Entry
from distilsearch.engine.job.outcome.finish import shared_out
from distilsearch.engine.job.plans.budget import LOADING, RESERVE, RUNG, Plan, Speed, rung, size, trials_seconds
from distilsearch.engine.job.plans.phases import PROBE_SHARE
from distilsearch.engine.job.plans.planning import Settled, remembered
from distilsearch.engine.job.plans.spending import AGAIN, Amount, Finishing, Minutes
from distilsearch.engine.job.source import Making
from distilsearch.errors import Interrupted
from distilsearch.families import family
from distilsearch.progress import silent

SPACE = family("bert").space({"layers": [1, 2, 3, 4], "width": [64], "heads": [2], "ffn": [64, 128]})
STUDENTS = SPACE.decode(SPACE.grid(100))
FLASH = rung(-2)
MAKING = Making(Training("t", "t", "x", "r", FLASH, 0, "float32"), EMBEDDING)
TEXT = 500_000  # tokens
SPEED = Speed(start=1.0, step=0.1, per_flop=0.0, targets=0.05, step_tokens=1024, workers=2)


def entry(number: int, asked: int = FLASH) -> Entry:
    return Entry(number, number, STUDENTS[number], "complete", (0.5, 1.0), {"asked": asked, "tokens": asked})


class Machine:
    """An executor on a clock: trainings take what `SPEED` says, times a factor a job; after some jobs it is stopped."""

    workers = 2

    def __init__(self, factors: tuple[float, ...] = (), ended: float = math.inf) -> None:
        self.seconds, self.factors, self.ended = 0.0, list(factors), ended
        self.jobs: list[Distil] = []
        self.stopped, self.had = False, FLASH

    def submit(self, job: Distil, progress: Any = None) -> "Future[Any]":
        future: Future[Any] = Future()
        self.jobs.append(job)
        tokens = job.training.tokens
        new = tokens - max(EMBEDDING.shared(had, tokens) for had in (FLASH, self.had))  # it goes on from the trunk
        took = sum(SPEED.seconds(size(a), new) for a in job.architectures) + SPEED.teacher_seconds(TEXT) / 8
        self.seconds += took / self.workers * (self.factors.pop(0) if self.factors else 1.0)
        if len(self.jobs) > self.ended:
            future.set_exception(Interrupted("stopped"))
        else:
            future.set_result([self._trial(job, a) for a in job.architectures])
            self.had = tokens
        return future

    def stop(self) -> None:
        self.stopped = True

    @staticmethod
    def _trial(job: Distil, architecture: Architecture) -> Trial:
        tokens = job.training.tokens
        return Trial("k", architecture, job.training.at(tokens), 0.1, 10, tokens, 1.0, ((tokens, 0.1),))


def finishing(machine: Machine, seconds: float, most: int = 0) -> Finishing:
    return Finishing(MAKING, machine, SPEED, silent, TEXT, most, lambda: seconds - machine.seconds, 0.1 * seconds)


@given(st.lists(st.floats(0.1, 100.0), min_size=1, max_size=8), st.integers(1, 5))
def test_students_are_shared_out_evenly_each_once(weights: list[float], workers: int) -> None:
    weight = dict(zip(STUDENTS, weights, strict=False))
    parts = shared_out(list(weight), workers, weight.__getitem__)
    assert sorted(a.key for part in parts for a in part) == sorted(a.key for a in weight)
    assert 1 <= len(parts) <= workers
    loads = [sum(weight[a] for a in part) for part in parts]
    assert max(loads) - min(loads) <= max(weights) or len(parts) == 1


def test_an_amount_trains_those_that_had_less() -> None:
    machine = Machine()
    amount = Amount(FLASH, 5, 1_000_000, silent)
    assert amount.allowance(1e9).total(3, 1) == 5
    finals = amount.finish([entry(0), entry(1, 1_000_000)], MAKING, machine)
    assert list(finals) == [STUDENTS[0].key]
    for tokens in (0, FLASH):
        assert Amount(FLASH, 5, tokens, silent).finish([entry(0)], MAKING, machine) == {}


@given(st.integers(1, 6), st.floats(5.0, 20_000.0))
def test_stages_go_on_from_each_other_and_end_in_time(students: int, seconds: float) -> None:
    machine = Machine()
    entries = [entry(n) for n in range(students)]
    finals = finishing(machine, seconds).run(entries, FLASH)
    lengths = list(dict.fromkeys(job.training.tokens for job in machine.jobs))
    assert machine.seconds <= seconds
    assert not machine.stopped
    assert all(b >= AGAIN * a * (1 - 1e-4) for a, b in itertools.pairwise(lengths))
    if lengths:
        assert lengths[0] >= RUNG * FLASH * (1 - 1e-4)
        assert {trial.training.tokens for trial in finals.values()} == {lengths[-1]}
        assert entries[0].architecture.key in finals
        assert set(finals) <= {e.architecture.key for e in entries}
    else:
        assert finals == {}
        shortest = finishing(machine, seconds).seconds(entries[:1], FLASH, rung(-1))
        assert shortest > 0.9 * seconds


def test_a_live_teacher_is_counted_once_for_all_that_a_worker_trains_side_by_side() -> None:
    entries, tokens = [entry(n) for n in range(6)], 10**6
    live = replace(SPEED, most_cached=FLASH)
    new = tokens - EMBEDDING.shared(FLASH, tokens)
    for workers in (1, 2, 3):
        alone = replace(SPEED, workers=workers, targets=0.0)
        plans = [replace(finishing(Machine(), 1e6), speed=replace(one, workers=workers)) for one in (live, alone)]
        asking, students = (plan.seconds(entries, FLASH, tokens) for plan in plans)
        assert asking == pytest.approx(students + live.teacher_seconds(new))
    assert replace(finishing(Machine(), 1e6), speed=live).longest(entries, FLASH, asking) >= FLASH


def test_where_there_is_no_time_for_all_the_first_is_never_left_out() -> None:
    entries = [entry(n) for n in range(6)]
    dear = finishing(Machine(), 1.0).seconds(entries, FLASH, rung(-1))
    machine = Machine()
    finals = finishing(machine, 0.7 * dear).run(entries[::-1], FLASH)
    assert entries[-1].architecture.key in finals
    assert 1 <= len(finals) < 6
    known = Amount(FLASH, 5, 1_000_000, silent, known=True)
    assert known.finish(entries, MAKING, machine) == {}


def test_what_learnt_from_a_share_of_the_text_begins_anew_on_all_of_it() -> None:
    of_share = replace(MAKING, training=replace(MAKING.training, share=0.3))
    machine = Machine()
    amount = Amount(FLASH, 5, FLASH, silent)
    assert list(amount.finish([entry(0)], of_share, machine)) == [STUDENTS[0].key]
    assert [job.training.share for job in machine.jobs] == [1.0]
    plain = finishing(machine, 1.0)
    anew = replace(plain, making=of_share, anew=FLASH)
    longer = rung(2)
    saved = EMBEDDING.shared(FLASH, longer) / SPEED.step_tokens * SPEED.step
    taught = SPEED.teacher_seconds(FLASH)
    assert saved > 0
    assert anew.seconds([entry(0)], FLASH, longer) == pytest.approx(
        plain.seconds([entry(0)], FLASH, longer) + saved + taught
    )
    assert anew.seconds([entry(0)], rung(0), longer) == plain.seconds([entry(0)], rung(0), longer)


def test_no_stage_exceeds_what_the_file_allows() -> None:
    machine = Machine()
    finishing(machine, 1e6, most=500_000).run([entry(0)], FLASH)
    assert max(job.training.tokens for job in machine.jobs) == 500_000


@pytest.mark.parametrize("factor", [1.5, 2.4, 4.0])
def test_a_machine_that_has_become_slower_ends_in_time_all_the_same(factor: float) -> None:
    machine, fast = Machine(factors=(factor,) * 40), Machine()
    for one in (machine, fast):
        finals = finishing(one, 600.0).run([entry(0), entry(1)], FLASH)
        assert len(finals) == 2
        assert one.seconds <= 600.0
    assert max(job.training.tokens for job in machine.jobs) < max(job.training.tokens for job in fast.jobs)


def test_what_had_not_ended_when_time_was_over_is_left_out() -> None:
    machine = Machine(ended=1)
    finals = finishing(machine, 600.0).run([entry(0)], FLASH)
    first, last = [job.training.tokens for job in machine.jobs]
    assert last > first
    assert {trial.training.tokens for trial in finals.values()} == {first}


class Watch:
    """A stopwatch that stands."""

    seconds = 60.0

    def note(self) -> None:
        pass


@pytest.fixture
def minutes(tmp_path: Path) -> Minutes:
    plan = Plan(FLASH, 20, 60.0, 1e7, SPEED)
    return Minutes(10.0, plan, Watch(), TEXT, 0, tmp_path / "plan.json", silent)  # type: ignore[arg-type]


def test_trials_have_their_share_of_all_minutes_over_all_calls(minutes: Minutes) -> None:
    fresh, later = minutes.allowance(0.0), minutes.allowance(200.0)
    each = SPEED.seconds(1e7, FLASH)
    share = 0.6 * (600 * (1 - RESERVE) - LOADING - 60)
    assert fresh.total(0, 0) == int(share * 2 / each)
    assert later.total(0, 0) == int((share - 200) * 2 / each)
    assert minutes.allowance(share).total(7, 0) == 7
    late = Watch()
    late.seconds = 590.0  # much of it went into other calls' reading
    over = replace(minutes, watch=late)  # type: ignore[arg-type]
    assert over.allowance(0.0).total(7, 0) == 7


def test_a_finish_is_planned_by_how_fast_the_last_trials_were(minutes: Minutes) -> None:
    lengths = []
    for factor in (1.0, 3.0):
        time, machine = minutes.allowance(0.0), Machine()
        time.landed(1e7, factor * SPEED.trial_seconds(1e7, FLASH) + SPEED.teacher_seconds(FLASH))
        minutes.finish([entry(0), entry(1)], MAKING, machine)
        lengths.append(max(job.training.tokens for job in machine.jobs))
    assert lengths[1] < lengths[0]


def test_time_for_scoring_what_is_handed_back_is_left_by_the_finish(minutes: Minutes) -> None:
    def taken(probed: bool, handed: int) -> float:
        machine = Machine()
        asked = replace(minutes, probed=probed, plan=replace(minutes.plan, speed=replace(SPEED, scoring=5.0)))
        before = asked.left()
        asked.finish([entry(0), entry(1)], MAKING, machine, handed)
        assert asked.left() == pytest.approx(before - min(handed * 2.5, PROBE_SHARE * 600.0) * probed)
        return machine.seconds

    whole = taken(False, 8)
    assert taken(True, 0) == whole
    assert taken(True, 99) <= taken(True, 8) <= taken(True, 4) <= whole


def test_a_later_finish_goes_on_from_the_longest_trainings_and_makes_no_shorter_ones(minutes: Minutes) -> None:
    def lengths(asked: Minutes, reached: Mapping[str, Trial]) -> set[int]:
        machine = Machine()
        asked.finish(entries, MAKING, machine, reached=reached)
        return {job.training.tokens for job in machine.jobs}

    entries, late = [entry(0), entry(1)], Watch()
    first = minutes.finish(entries, MAKING, Machine())
    (reached,) = {trial.training.tokens for trial in first.values()}
    late.seconds = 400.0
    little = replace(minutes, watch=late)  # type: ignore[arg-type]
    assert 0 < max(lengths(little, {})) < reached
    assert not lengths(little, first)
    assert min(lengths(replace(minutes, minutes=100.0), first)) > reached


def test_four_minutes_hold_longer_trials_and_a_finish_by_the_speeds_of_two_busy_cores(tmp_path: Path) -> None:
    """A model of costs: the seconds that a search of all-MiniLM noted of its mean student on 462 held-out blocks.

    Its plan took all looks for those of a long training, and had 90 s behind it; nobody was finished.
    """
    flops = np.array([5.85e8])
    former = Speed(start=10.55, step=0.103, per_flop=0.0, targets=0.1, step_tokens=1024, workers=2, pause=4.2)
    before = Plan.made(4.0, 90.3, former, flops)
    assert (before.trials, before.flash_tokens) == (7, rung(-5))
    told_apart = replace(former, start=0.7, look=4.6 * 128 / 462, heldout=128, block=128, scoring=2.0)
    plan = Plan.made(4.0, 50.0, told_apart, flops)
    assert plan.trials >= 10
    assert plan.flash_tokens >= 2 * before.flash_tokens
    watch = Watch()
    minutes = Minutes(4.0, plan, watch, TEXT, 0, tmp_path / "plan.json", silent, True)  # type: ignore[arg-type]
    watch.seconds = plan.spent + trials_seconds(4.0, plan.spent) + 22.0  # the front was measured
    machine = Machine()
    finals = minutes.finish([entry(n) for n in range(5)], MAKING, machine, handed=5)
    assert len(finals) == 5
    assert all(trial.training.tokens > plan.flash_tokens for trial in finals.values())


def test_what_it_came_to_is_remembered(minutes: Minutes) -> None:
    assert remembered(minutes.place) is None
    minutes.settle(12, [])  # nobody is finished: the same question goes on
    assert remembered(minutes.place) is None
    minutes.settle(12, Machine().submit(MAKING.distil(STUDENTS[:2], rung(3))).result())
    assert remembered(minutes.place) == Settled(FLASH, 12, rung(3))
    minutes.place.write_text('{"schema": 1, "flash_tokens": "many"}')
    assert remembered(minutes.place) is None


def test_measuring_has_its_share_of_the_minutes(minutes: Minutes) -> None:
    time_for = minutes.measuring()
    assert time_for(60.0)
    assert not time_for(61.0)
    assert Amount(FLASH, 5, 7, silent).measuring()(1e9)


def test_final_lengths_are_rungs_above_the_flash_the_longest_first(minutes: Minutes) -> None:
    lengths = minutes.final_lengths()
    assert list(lengths) == sorted(lengths, reverse=True)
    assert lengths[-1] == rung(-1)
    assert Amount(FLASH, 5, 7, silent).final_lengths() == [7]
