"""Time as the budget of a run: from how fast students train here to how many trials, of how many tokens each.

Lengths of training come from one ladder, whose rungs are `RUNG` apart: what one run has trained, the next one of
nearly as much time finds. A plan says what is expected; how many trials there really are is decided after every one of
them, by the time that is left and by how long the last ones took.
"""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, Protocol, Self

import numpy as np

from distilsearch.architecture import Architecture
from distilsearch.arrays import FloatArray
from distilsearch.distill import FLASH_TOKENS
from distilsearch.distill.heldout.sparing import looked
from distilsearch.distill.rehearsal import Rehearsal
from distilsearch.distill.steps.runs import EVALUATIONS
from distilsearch.errors import InputError
from distilsearch.lowering import flops
from distilsearch.operators import Serving

RUNG = 1.5
LOWEST = -5  # the rung of the shortest flash: below it, held-out losses order students no better than their sizes do
HIGHEST = 25  # no training is longer
LOADING = 10.0  # seconds that go before the clock of a run starts, with libraries to be loaded
RESERVE = 0.05  # share of the minutes for measuring the front and writing what came out
TRIALS_SHARE = 0.6  # of the time after profiling; what is left finishes students
USUAL_TRIALS, USUAL_MINUTES = 18, 10.0  # a flash is as long as leaves so many trials; with the root of the minutes more
FEWEST = 4  # trials that a plan must have room for
LAST = 4  # trials whose time says how fast the machine is now
CLOSE = 0.8  # a trial is begun when so much of its time is left


def rung(number: int) -> int:
    """A length of training, in tokens; that of the usual flash is rung 0."""
    return round(FLASH_TOKENS * RUNG**number)


def rung_below(tokens: float) -> int:
    """The longest rung of at most so many tokens."""
    number = math.floor(math.log(max(tokens, 1) / FLASH_TOKENS, RUNG)) + 1  # rounding may put it on either side
    while rung(number) > tokens:
        number -= 1
    return rung(number)


@lru_cache(maxsize=4096)
def size(architecture: Architecture) -> float:
    """What a `Speed` counts: floating-point operations of a forward pass over 128 tokens."""
    return float(flops(architecture, Serving()))


@dataclass(frozen=True)
class Speed:
    """How fast one worker trains students while all are at work, in seconds.

    Attributes:
        start: of a training, beside its steps and looks.
        step, per_flop: of a step: the former for any student, the latter for each floating-point operation of its
            forward pass (of 128 tokens).
        targets: what the teacher takes for a batch whose targets are not kept.
        step_tokens: tokens of a step.
        workers: trainings at once.
        pause: what measuring a student takes, during which nobody trains.
        most_cached: tokens of the longest training whose targets are kept for all others; longer ones ask a live
            teacher. None: there are no such.
        scoring: of a student on the probe, before its training and after it.
        look, look_per_flop: of a pass over all held-out blocks, as `step` and `per_flop`; in plans from before they
            were told apart, looks are part of `start`.
        heldout, block: held-out blocks, and tokens of one: how many of them a training looks at depends on its length.
    """

    start: float
    step: float
    per_flop: float
    targets: float
    step_tokens: int
    workers: int
    pause: float = 0.0
    most_cached: int | None = None
    scoring: float = 0.0
    look: float = 0.0
    look_per_flop: float = 0.0
    heldout: int = 0
    block: int = 0

    @classmethod
    def fitted(cls, flops: Sequence[float], rehearsals: Sequence[Rehearsal], workers: int, pause: float = 0.0) -> Self:
        """The line through what was rehearsed: `flops` (n,) of the students, each rehearsed once or more."""
        sizes = np.asarray(flops, dtype=np.float64)
        step, per_flop = _line(sizes, np.array([one.step for one in rehearsals]))
        look, look_per_flop = _line(sizes, np.array([one.look for one in rehearsals]))
        names = ("start", "targets", "scoring")
        start, targets, scoring = (float(np.mean([getattr(one, name) for one in rehearsals])) for name in names)
        one = rehearsals[0]
        own = (start, step, per_flop, targets, one.step_tokens, workers, pause, one.most_cached, scoring)
        return cls(*own, look, look_per_flop, one.heldout, one.block)

    def seconds(self, flops: float, tokens: float) -> float:
        """Of one training, but for what the teacher takes."""
        steps = tokens / self.step_tokens * (self.step + self.per_flop * flops)
        return self.start + steps + self.looks_seconds(flops, tokens)

    def looks_seconds(self, flops: float, tokens: float) -> float:
        """Of the held-out losses that a training of so many tokens takes, from before its first step to its end."""
        if not self.heldout:
            return 0.0
        passes = looked(int(tokens), self.heldout, self.block, len(EVALUATIONS) - 1) / self.heldout
        return passes * self.look_at(flops)

    def look_at(self, flops: float) -> float:
        """Of one pass over all held-out blocks."""
        return self.look + self.look_per_flop * flops

    def trial_seconds(self, flops: float, tokens: float) -> float:
        """Of one trial, on the wall: its training, and the measurements of all that are under way with it."""
        alone = self.teacher_seconds(tokens) if self.live(tokens) else 0.0
        return self.seconds(flops, tokens) + alone + self.workers * self.pause

    def live(self, tokens: float) -> bool:
        """Whether trainings of so many tokens ask a live teacher, because their targets would not fit in the cache."""
        return self.most_cached is not None and tokens > self.most_cached

    def teacher_seconds(self, tokens: float) -> float:
        """Of the teacher, for text whose targets are not kept."""
        return tokens / self.step_tokens * self.targets

    def first_seconds(self, tokens: float) -> float:
        """Of the teacher, for the first trial of so many tokens: all later ones find what it said."""
        return 0.0 if self.live(tokens) else self.teacher_seconds(tokens)

    def slower(self, factor: float) -> Self:
        """The same on a machine that takes so many times as long."""
        names = ("start", "step", "per_flop", "targets", "pause", "scoring", "look", "look_per_flop")
        return replace(self, **{name: getattr(self, name) * factor for name in names})


def _line(sizes: FloatArray, seconds: FloatArray) -> tuple[float, float]:
    """Level and slope of the line through seconds (n,) of students of some sizes (n,); neither is below 0."""
    centred = sizes - sizes.mean()
    slope = max(0.0, float(centred @ seconds) / max(float(centred @ centred), 1e-300))
    return max(0.0, float(seconds.mean() - slope * sizes.mean())), slope


@dataclass(frozen=True)
class Plan:
    """What a run of some minutes sets out to do.

    Attributes:
        flash_tokens: of every trial; it stays, however long the run is continued.
        trials: how many are expected to fit.
        spent: seconds that had gone when the plan was made: they are nobody's to share.
        flops: of the mean student, as `Speed` counts them.
    """

    flash_tokens: int
    trials: int
    spent: float
    flops: float
    speed: Speed

    @classmethod
    def made(cls, minutes: float, spent: float, speed: Speed, flops: FloatArray, flash_tokens: int = 0) -> Self:
        """The plan for a run that has used `spent` seconds of its minutes so far.

        The flash is the longest rung, up to that of `FLASH_TOKENS` for each ten minutes, that leaves `usual_trials`.

        Args:
            flops: (n,) of students drawn from the space.
            flash_tokens: where the user has fixed it.

        Raises:
            InputError: not even `FEWEST` trials of the shortest flash fit; it says how many minutes are needed.
        """
        mean, seconds = float(flops.mean()), trials_seconds(minutes, spent)

        def fitting(tokens: int) -> int:
            left = seconds - speed.first_seconds(tokens)
            return max(0, int(left * speed.workers / speed.trial_seconds(mean, tokens)))

        least = flash_tokens or rung(LOWEST)
        if fitting(least) < FEWEST:
            needed = speed.first_seconds(least) + FEWEST * speed.trial_seconds(mean, least) / speed.workers
            enough = math.ceil((spent + LOADING + needed / TRIALS_SHARE) / 60 / (1 - RESERVE)) + 1
            raise InputError(
                f"{minutes:g} minutes are too few here: {spent / 60:.1f} have gone into reading, judging and"
                f" profiling, and {FEWEST}"
                f" students of {least:,} tokens take {needed / 60:.1f} more, for which there are {TRIALS_SHARE:.0%} of"
                f" what is left; give at least minutes = {enough} (what was timed is kept)"
            )
        tokens = least
        while not flash_tokens and fitting(longer := rung_below(tokens * RUNG + 2)) >= usual_trials(minutes):
            if longer > FLASH_TOKENS * max(1.0, minutes / USUAL_MINUTES):
                break
            tokens = longer
        return cls(tokens, fitting(tokens), spent, mean, speed)

    def said(self, minutes: float, spent: float) -> str:
        """The plan in words, after `spent` seconds."""
        if spent >= minutes * 60 * (1 - RESERVE):
            return f"{spent / 60:.1f} of {minutes:g} minutes have gone: give more to go on"
        return (
            f"about {self.trials} students of {self.flash_tokens:,} tokens each"
            f" ({trials_seconds(minutes, self.spent) / 60:.1f} minutes), then the best of them for longer: "
            f"{minutes:g} minutes in all, of which {spent / 60:.1f} have gone"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(**dict(data) | {"speed": Speed(**data["speed"])})


def trials_seconds(minutes: float, spent: float) -> float:
    """What all trials together may take, of a run that had used `spent` seconds before the first."""
    return TRIALS_SHARE * max(0.0, minutes * 60 * (1 - RESERVE) - LOADING - spent)


def usual_trials(minutes: float) -> int:
    """How many trials a plan would have, before any of them gets longer."""
    return max(FEWEST, round(USUAL_TRIALS * math.sqrt(minutes / USUAL_MINUTES)))


class Allowance(Protocol):
    """How many trials a run may have."""

    def total(self, ended: int, flying: int) -> int:
        """How many in all, as it stands with some ended and some under way: another one is begun below that."""

    def landed(self, flops: float, seconds: float) -> None:
        """A training took so many seconds."""


class Trials:
    """A number of trials."""

    def __init__(self, trials: int) -> None:
        self.trials = trials

    def total(self, ended: int, flying: int) -> int:
        """That number."""
        return self.trials

    def landed(self, flops: float, seconds: float) -> None:
        """Nothing depends on it."""


class Clock(Protocol):
    """Tells the time of a run."""

    @property
    def seconds(self) -> float:
        """That it has taken so far."""

    def note(self) -> None:
        """Let later calls know."""


class Time:
    """As many trials as end before a moment, by the plan's speed and the last trials'.

    Args:
        until: seconds of the clock.
    """

    def __init__(self, plan: Plan, clock: Clock, until: float) -> None:
        self._plan, self._clock, self.until = plan, clock, until
        self._last: deque[tuple[float, float]] = deque(maxlen=LAST)
        self._landed = 0

    @property
    def slowness(self) -> float:
        """How many times longer than by the plan the last trials took; the plan itself counts as one of them."""
        planned = self._plan.speed.trial_seconds(self._plan.flops, self._plan.flash_tokens)
        expected, took = (planned + sum(column) for column in zip((0.0, 0.0), *self._last, strict=True))
        return float(took / expected)

    def total(self, ended: int, flying: int) -> int:
        """As many more as end in time."""
        plan = self._plan
        left = self.until - self._clock.seconds
        each = plan.speed.trial_seconds(plan.flops, plan.flash_tokens) * self.slowness
        begun = ended + flying
        if left < CLOSE * each:
            return begun
        return begun + max(1, int(left * plan.speed.workers / each - flying / 2))

    def landed(self, flops: float, seconds: float) -> None:
        """Remember how long it took; the first ones have waited for the teacher too."""
        speed, tokens = self._plan.speed, self._plan.flash_tokens
        self._landed += 1
        teacher = speed.first_seconds(tokens) if self._landed <= speed.workers else 0.0
        self._last.append((speed.trial_seconds(flops, tokens) + teacher, seconds))
        self._clock.note()
