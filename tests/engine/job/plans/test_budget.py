"""Time as a budget: the ladder, the line through what was rehearsed, plans that fit, and trials that end in time."""

import math
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilsearch.distill import FLASH_TOKENS
from distilsearch.distill.rehearsal import Rehearsal
from distilsearch.engine.job.plans.budget import (
    FEWEST,
    LOWEST,
    RUNG,
    Plan,
    Speed,
    Time,
    rung,
    rung_below,
    trials_seconds,
    usual_trials,
)
from distilsearch.errors import InputError

speeds = st.builds(
    Speed,
    start=st.floats(0.0, 5.0),
    step=st.floats(1e-3, 0.5),
    per_flop=st.floats(0.0, 1e-10),
    targets=st.floats(0.0, 0.5),
    step_tokens=st.sampled_from([512, 1024]),
    workers=st.integers(1, 4),
    pause=st.floats(0.0, 5.0),
    most_cached=st.none() | st.integers(0, 10**6),
    scoring=st.floats(0.0, 5.0),
    look=st.floats(0.0, 5.0),
    look_per_flop=st.floats(0.0, 1e-8),
    heldout=st.integers(0, 2_000),
    block=st.just(128),
)
FLOPS = np.array([1e7, 1e8, 4e8])


class Clock:
    """A clock that stands where it is put."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def note(self) -> None:
        pass


@given(st.floats(1.0, 1e12))
def test_the_rung_below_is_the_longest_one_that_is_not_above(tokens: float) -> None:
    below = rung_below(tokens)
    naive = max(r for r in (rung(n) for n in range(-60, 60)) if r <= tokens)
    assert below == naive


def test_the_usual_flash_is_a_rung_and_rungs_are_far_apart() -> None:
    assert rung(0) == FLASH_TOKENS
    assert all(math.isclose(rung(n + 1) / rung(n), RUNG, rel_tol=1e-4) for n in range(LOWEST, 20))
    assert all(rung_below(rung(n) * RUNG + 2) == rung(n + 1) for n in range(LOWEST, 20))


@given(speeds)
def test_a_speed_is_found_again_from_rehearsals_of_two_students(speed: Speed) -> None:
    passes = {"heldout": speed.heldout, "block": speed.block}
    own = (speed.start, speed.targets)
    rehearsals = [
        Rehearsal(own[0], speed.step + speed.per_flop * f, own[1], 1024, None, 0.0, speed.look_at(f), **passes)
        for f in FLOPS
    ]
    fitted = Speed.fitted(FLOPS, rehearsals, speed.workers)
    for flops in (1e7, 2e8):
        looks = speed.looks_seconds(flops, 1024)
        assert fitted.looks_seconds(flops, 1024) == pytest.approx(looks, abs=1e-9)
        assert fitted.seconds(flops, 1024) == pytest.approx(speed.start + speed.step + speed.per_flop * flops + looks)


def test_short_trainings_pay_for_fewer_looks_than_long_ones_and_former_plans_have_them_in_their_start() -> None:
    speed = Speed(1.0, 0.1, 0.0, 0.0, 1024, 1, look=4.0, look_per_flop=1e-8, heldout=400, block=128)
    short, long = (speed.seconds(1e8, tokens) - 1.0 - tokens / 10_240 for tokens in (10_240, 10_240_000))
    assert (short, long) == pytest.approx((5.0 * (400 + 3 * 32) / 400, 5.0 * (2 * 400 + 2 * 32) / 400))
    assert replace(speed, heldout=0).seconds(1e8, 10_240) == pytest.approx(2.0)


@given(speeds, st.floats(1.0, 600.0), st.floats(0.0, 600.0))
def test_a_plan_fits_into_its_minutes_or_says_how_many_it_needs(speed: Speed, minutes: float, spent: float) -> None:
    try:
        plan = Plan.made(minutes, spent, speed, FLOPS)
    except InputError as error:
        enough = float(str(error).rpartition("minutes = ")[2].split(" ")[0])
        assert enough > minutes
        assert Plan.made(enough, spent, speed, FLOPS).trials >= FEWEST
        return
    assert plan.trials >= FEWEST
    each = speed.trial_seconds(plan.flops, plan.flash_tokens)
    took = speed.first_seconds(plan.flash_tokens) + plan.trials * each / speed.workers
    assert took <= trials_seconds(minutes, spent) * (1 + 1e-9)
    assert plan.flash_tokens in [rung(n) for n in range(LOWEST, 40)]
    if plan.flash_tokens > rung(LOWEST):
        assert plan.trials >= usual_trials(minutes)
    assert Plan.from_json(plan.to_json()) == plan
    assert f"{plan.flash_tokens:,} tokens" in plan.said(minutes, spent) or spent >= 0.95 * 60 * minutes


@given(speeds, st.floats(1e6, 1e9))
def test_measurements_of_all_that_are_under_way_stand_in_for_each_trial(speed: Speed, flops: float) -> None:
    alone = replace(speed, pause=0.0)
    assert speed.trial_seconds(flops, 1e5) == pytest.approx(
        alone.trial_seconds(flops, 1e5) + speed.workers * speed.pause
    )
    pausing, going = (Plan.made(600.0, 0.0, one, FLOPS, FLASH_TOKENS) for one in (speed, alone))
    assert pausing.trials <= going.trials


def test_a_live_teacher_is_part_of_every_trial_and_one_whose_targets_are_kept_of_the_first() -> None:
    kept = Speed(1.0, 0.1, 0.0, 0.3, 1024, 1)
    live = replace(kept, most_cached=100_000)
    for speed, tokens, asks in ((kept, 102_400, False), (live, 102_400, True), (live, 100_000, False)):
        assert speed.live(tokens) == asks
        steps = tokens / 1024
        assert speed.trial_seconds(1e8, tokens) == pytest.approx(1.0 + steps * (0.4 if asks else 0.1))
        assert speed.first_seconds(tokens) == pytest.approx(0.0 if asks else 0.3 * steps)
    added = ("most_cached", "scoring", "look", "look_per_flop", "heldout", "block")
    former = {name: value for name, value in asdict(kept).items() if name not in added}
    assert Speed(**former) == kept


@given(speeds, st.floats(1.0, 20.0))
def test_a_slower_machine_plans_no_longer_flash(speed: Speed, factor: float) -> None:
    fast, slow = (Plan.made(600.0, 0.0, one, FLOPS) for one in (speed, speed.slower(factor)))
    assert slow.flash_tokens <= fast.flash_tokens


def test_the_length_that_the_user_gives_is_kept() -> None:
    speed = Speed(1.0, 0.1, 0.0, 0.1, 1024, 2)
    assert Plan.made(10.0, 60.0, speed, FLOPS, flash_tokens=12_345).flash_tokens == 12_345


@given(speeds, st.lists(st.floats(0.2, 5.0), min_size=1, max_size=12))
def test_trials_end_in_time_however_the_machine_changes(speed: Speed, factors: list[float]) -> None:
    """One after another, each as much slower than planned as it happens: what runs over is one trial at most."""
    plan = Plan.made(1000.0, 0.0, speed, FLOPS)
    each, clock = speed.trial_seconds(plan.flops, plan.flash_tokens), Clock()
    until = 0.5 * each * len(factors)
    allowance, ended = Time(plan, clock, until), 0
    while ended < len(factors) and allowance.total(ended, 0) > ended:
        took = each * factors[ended]
        assert clock.seconds + 0.8 * each * allowance.slowness <= until * (1 + 1e-9)
        clock.seconds += took
        allowance.landed(plan.flops, took)
        ended += 1
    assert ended == len(factors) or allowance.total(ended, 0) == ended
    assert clock.seconds <= until + each * max(factors)


def test_trials_under_way_count_among_those_that_fit() -> None:
    plan = Plan.made(60.0, 0.0, Speed(0.0, 0.1, 0.0, 0.0, 1024, 2), FLOPS)
    allowance = Time(plan, Clock(), 10 * plan.speed.seconds(plan.flops, plan.flash_tokens))
    assert allowance.total(3, 0) == 3 + 20
    assert allowance.total(3, 2) == 5 + 19
