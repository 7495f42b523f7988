"""How a run spends its budget: on so many trials and tokens as it says, or on what fits into its minutes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from distilsearch.architecture import Architecture
from distilsearch.distill.store.trial import Trial
from distilsearch.progress import Progress

from ..executors import Executor
from ..ledger import Entry
from ..outcome.finish import finish, less_trained, shared_out, side_by_side
from ..outcome.sessions import always
from ..serving.served import student_of
from ..source import Making
from .budget import (
    HIGHEST,
    LOADING,
    LOWEST,
    RESERVE,
    RUNG,
    Allowance,
    Plan,
    Speed,
    Time,
    Trials,
    rung,
    rung_below,
    size,
    trials_seconds,
)
from .phases import PROBE_SHARE, Stopwatch
from .planning import Settled, remember

SAFE = 0.9  # of the time that is left, for a finish: it must end
AGAIN = 2.25  # times as long as the one before a stage is: two rungs, so that it goes on from there
CLOSE = 1 - 1e-4  # rungs are whole tokens
MEASURING = 0.1  # of the run's minutes, that measuring the front may take
NOBODY: Mapping[str, Trial] = MappingProxyType({})
OVER = 0.1  # of the run's minutes, that a finish may take longer before it is stopped


class Budget(Protocol):
    """How many students a run trains, and for how long."""

    @property
    def flash_tokens(self) -> int:
        """The length of a trial."""

    def allowance(self, used: float) -> Allowance:
        """How many trials there may be, where they have taken `used` seconds in earlier calls."""

    def measuring(self) -> Callable[[float], bool]:
        """Whether measuring the front, which begins now, has time for so many seconds more."""

    def finish(
        self,
        entries: Sequence[Entry],
        making: Making,
        executor: Executor,
        handed: int = 0,
        reached: Mapping[str, Trial] = NOBODY,
    ) -> dict[str, Trial]:
        """Train students further; the longest training of each that has ended, by the key of its architecture.

        Args:
            handed: students that are handed back in all, each of which is scored afterwards.
            reached: the longest training that students have had, by the key of the architecture.
        """

    def final_lengths(self) -> Sequence[int]:
        """The lengths that a finish may have, in tokens, the longest first."""

    def settle(self, trials: int, finals: Iterable[Trial]) -> None:
        """The run has ended, with so many trials."""


@dataclass(frozen=True)
class Amount:
    """A number of trials, and the tokens of the finish; 0 tokens are none.

    `known`: it is what an earlier question came to, of which nothing is trained any more.
    """

    flash_tokens: int
    trials: int
    final_tokens: int
    progress: Progress
    known: bool = False

    def allowance(self, used: float) -> Allowance:
        """That number."""
        return Trials(self.trials)

    def measuring(self) -> Callable[[float], bool]:
        """It has."""
        return always

    def finish(
        self,
        entries: Sequence[Entry],
        making: Making,
        executor: Executor,
        handed: int = 0,
        reached: Mapping[str, Trial] = NOBODY,
    ) -> dict[str, Trial]:
        """Those that have been trained for less."""
        if self.known:
            return {}
        shorter = less_trained(entries, self.flash_tokens, self.final_tokens, making)
        return finish(shorter, self.final_tokens, making, executor, self.progress)

    def final_lengths(self) -> Sequence[int]:
        """That of the finish."""
        return [self.final_tokens] if self.final_tokens else []

    def settle(self, trials: int, finals: Iterable[Trial]) -> None:
        """There was nothing to find out."""


@dataclass
class Minutes:
    """Some minutes, profiling among them; a finish is planned by how fast the last trials were.

    Attributes:
        text_tokens: of the text.
        most: tokens that no finish exceeds; 0 is no limit.
        place: where what it came to is remembered.
        probed: whether students that are handed back are scored on a probe.
    """

    minutes: float
    plan: Plan
    watch: Stopwatch
    text_tokens: int
    most: int
    place: Path
    progress: Progress
    probed: bool = False
    _time: Time | None = field(default=None, init=False)
    _closing: float = field(default=0.0, init=False)  # seconds that scoring will take

    @property
    def flash_tokens(self) -> int:
        """Of the plan."""
        return self.plan.flash_tokens

    def allowance(self, used: float) -> Allowance:
        """As many trials as end before the time of all of them is over, or that of the run."""
        left = min(trials_seconds(self.minutes, self.plan.spent) - used, self.left())
        self._time = Time(self.plan, self.watch, self.watch.seconds + left)
        return self._time

    def measuring(self) -> Callable[[float], bool]:
        """As long as it stays within a share of the minutes."""
        until = self.watch.seconds + MEASURING * 60 * self.minutes
        return lambda seconds: self.watch.seconds + seconds <= until

    def left(self) -> float:
        """Seconds before the end, but for what writing the results and scoring students takes."""
        return self.minutes * 60 * (1 - RESERVE / 2) - LOADING - self.watch.seconds - self._closing

    def finish(
        self,
        entries: Sequence[Entry],
        making: Making,
        executor: Executor,
        handed: int = 0,
        reached: Mapping[str, Trial] = NOBODY,
    ) -> dict[str, Trial]:
        """In stages, while time is left."""
        slowness, leeway = self._time.slowness if self._time else 1.0, OVER * 60 * self.minutes
        speed = self.plan.speed.slower(slowness)
        if self.probed and handed:
            self._closing = min(PROBE_SHARE * 60 * self.minutes, handed * speed.scoring / speed.workers)
        anew = self.flash_tokens if making.anew else 0
        stages = Finishing(making, executor, speed, self.progress, self.text_tokens, self.most, self.left, leeway, anew)
        lengths = [self._since(student_of(entry.architecture), reached) for entry in entries]
        finals = stages.run(entries, min(lengths, default=self.flash_tokens))
        self.watch.note()  # where it was asked to end, nobody else does
        return finals

    def _since(self, student: Architecture, reached: Mapping[str, Trial]) -> int:
        trial = reached.get(student.key)
        return max(self.flash_tokens, trial.training.tokens if trial else 0)

    def final_lengths(self) -> Sequence[int]:
        """All rungs above the flash."""
        rungs = [tokens for tokens in map(rung, range(HIGHEST, LOWEST, -1)) if tokens > self.flash_tokens]
        return [self.most, *(tokens for tokens in rungs if tokens < self.most)] if self.most else rungs

    def settle(self, trials: int, finals: Iterable[Trial]) -> None:
        """Remember it, so that the same question costs nothing; but not while nobody is finished."""
        if lengths := [trial.training.tokens for trial in finals]:
            remember(self.place, Settled(self.flash_tokens, trials, max(lengths)))


@dataclass(frozen=True)
class Finishing:
    """Trains students longer, in one stage or two of which the second goes on from the first, while time is left.

    Args:
        text_tokens: of the text: all that the teacher can be asked for.
        most: tokens that no stage exceeds; 0 is no limit.
        left: seconds that are left.
        leeway: seconds that a stage may take longer than that before it is stopped, and saved as far as it is.
        anew: tokens up to which students were trained on a share of the text, from which nothing goes on.
    """

    making: Making
    executor: Executor
    speed: Speed
    progress: Progress
    text_tokens: int
    most: int
    left: Callable[[], float]
    leeway: float
    anew: int = 0

    def run(self, entries: Sequence[Entry], since: int) -> dict[str, Trial]:
        """The longest training of each student, by the key of its architecture, and nothing where no stage ended.

        Args:
            entries: the one that matters most first. Where there is no time for all, the largest of the others go.
            since: tokens that all have been trained for.
        """
        trials: dict[str, Trial] = {}
        entries = self.affordable(entries, since)
        students = {student_of(entry.architecture) for entry in entries}
        slowness, times = 1.0, RUNG
        while students and (stages := self.stages(entries, since, SAFE * self.left() / slowness, times)):
            tokens, before = stages[0], self.left()
            expected = self.seconds(entries, since, tokens)
            ended = finish(entries, tokens, self.making, self.executor, self.progress, before + self.leeway)
            trials |= ended
            if len(ended) < len(students):
                break
            slowness = max(slowness, (before - self.left()) / expected)
            since, times = tokens, AGAIN
        return trials

    def affordable(self, entries: Sequence[Entry], since: int) -> list[Entry]:
        """As many students as there is time to train on at all."""
        kept = list(entries)
        while len(kept) > 1 and not self.stages(kept, since, SAFE * self.left(), RUNG):
            kept.remove(max(kept[1:], key=lambda entry: size(student_of(entry.architecture))))
        return kept

    def stages(self, entries: Sequence[Entry], since: int, seconds: float, times: float) -> list[int]:
        """The lengths that lead farthest in some seconds: of two stages, where the first costs nothing of the end.

        Args:
            times: how many times as long as `since` the first must be.
        """
        alone = self.longest(entries, since, seconds)
        best = [alone] if alone >= times * since * CLOSE else []
        first = rung_below(times * since + 2)
        while best and (spent := self.seconds(entries, since, first)) <= seconds / 2:
            second = self.longest(entries, first, seconds - spent)
            farther = second > best[-1] or (second == best[-1] and len(best) == 1)  # the shorter a first one, the surer
            if farther and second >= AGAIN * first * CLOSE:
                best = [first, second]
            first = rung_below(first * RUNG + 2)
        return best

    def longest(self, entries: Sequence[Entry], since: int, seconds: float) -> int:
        """The longest rung to which all students can be trained in some seconds; 0 where there is none."""
        tokens = rung_below(since)
        while self.seconds(entries, since, longer := rung_below(tokens * RUNG + 2)) <= seconds:
            if self.most and longer >= self.most:
                return self.most
            tokens = longer
        return tokens if tokens > since else 0

    def seconds(self, entries: Sequence[Entry], since: int, tokens: int) -> float:
        """What it takes to train students on, side by side on all workers.

        A live teacher is asked once for each group that one worker trains side by side; for targets that are kept,
        once in all.
        """
        since = since if since > self.anew else 0
        new, speed = tokens - self.making.recipe.shared(since, tokens), self.speed
        unseen = max(0, min(tokens, self.text_tokens) - since)
        live, kept = (new, 0) if speed.live(tokens) else (0, unseen)  # tokens that the teacher is asked about
        students = list(dict.fromkeys(student_of(entry.architecture) for entry in entries))
        parts = shared_out(students, speed.workers, size)
        own = (
            sum(speed.seconds(size(one), new) for one in part)
            + len(side_by_side(part, self.making)) * speed.teacher_seconds(live)
            for part in parts
        )
        return max(own) + speed.teacher_seconds(kept)
