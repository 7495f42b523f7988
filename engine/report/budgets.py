"""What there is at a multiple of the teacher's speed, and where the front has holes.

Notation
    speed      teacher latency / student latency on the leading machine, like with like (see `Reading.speedup`)
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, TypeVar

from .readings import Reading, Speedup, kind_words
from .schema import Answer as AnswerEntry
from .schema import Member, ResultFile
from .words import count, score, served_words

SPEEDS = (2.0, 3.0, 5.0, 7.0, 10.0)  # what people ask for: multiples of the teacher's speed
MEASURED = "measured"
WINDOW = (2.0, 15.0)  # the speeds between which a front should have no hole


T = TypeVar("T")


@dataclass(frozen=True)
class Fast(Generic[T]):
    """A student that is as fast as was asked for, known as whatever a caller knows it by.

    Attributes:
        merit: its score on a proxy task, more is better; None where it has none.
        measured: whether it was measured to be so fast, rather than predicted.
    """

    student: T
    loss: float
    merit: float | None
    measured: bool


def surest(fast: Sequence[Fast[T]]) -> tuple[T, T]:
    """The one rule of who is the best at a speed, of those that reach it, fastest first; and who is by predictions too.

    Of those with a score on a proxy task, where some have one, the best score; else the least loss. Who was measured
    comes before whom predictions alone make so fast. Of equals the fastest.
    """
    able = [one for one in fast if one.merit is not None] or fast
    measured = [one for one in able if one.measured] or able
    return _best(measured), _best(able)


def _best(fast: Sequence[Fast[T]]) -> T:
    return min(fast, key=lambda one: one.loss if one.merit is None else -one.merit).student


@dataclass(frozen=True)
class Answer:
    """The best of the students that are at least `speed` times as fast as the teacher; None where nobody is.

    Who was measured so fast, if on a disturbed machine, comes before whom predictions alone make so: `foretold` is one
    of those that would be better.
    """

    speed: float
    member: Member | None
    foretold: Member | None = None


def answers(reading: Reading, speeds: Iterable[float] = SPEEDS) -> list[Answer]:
    """For each speed the member of the front with the least loss that reaches it; nothing where no speed is known.

    Where some of those that reach it have a score on a proxy task, the one with the best score.
    """
    ratios = [(speedup, member) for member in reading.front if (speedup := reading.speedup(member))]
    if not ratios:
        return []
    fast = {speed: [pair for pair in ratios if pair[0].ratio >= speed] for speed in speeds}
    return [_answer(speed, pairs, reading.merits) for speed, pairs in fast.items()]


def _answer(speed: float, pairs: Sequence[tuple[Speedup, Member]], merits: Mapping[str, float]) -> Answer:
    fast = [
        Fast(m, m.loss, merits.get(m.key), speedup.kind == MEASURED or (speedup.instead or 0.0) >= speed)
        for speedup, m in pairs
    ]
    if not fast:
        return Answer(speed, None)
    chosen, best = surest(fast)
    return Answer(speed, chosen, None if chosen is best else best)


def with_answers(result: ResultFile) -> ResultFile:
    """The result with what it comes to at each multiple of the teacher's speed, and whether that is measured."""
    reading = Reading(result)
    return result.model_copy(update={"answers": tuple(_entry(reading, one) for one in answers(reading))})


def _entry(reading: Reading, answer: Answer) -> AnswerEntry:
    speedup = reading.speedup(answer.member) if answer.member else None
    if answer.member is None or speedup is None:
        return AnswerEntry(speed=answer.speed)
    foretold = answer.foretold.key if answer.foretold else None
    ratio = speedup.ratio if math.isfinite(speedup.ratio) else None
    about = {"ratio": ratio, "kind": speedup.kind, "foretold": foretold}
    return AnswerEntry(speed=answer.speed, key=answer.member.key, **about)


def answer_words(reading: Reading, answer: Answer) -> str:
    """One answer in words, such as "at 3x: 3.4x as fast, agreement 0.912, trained on 800 k tokens: 6aca7ff67233"."""
    start, member = f"at {answer.speed:g}x", answer.member
    speedup = reading.speedup(member) if member else None
    if member is None or speedup is None:
        return f"{start}: no student of this run is {answer.speed:g}x as fast as the teacher"
    trained = f"trained on {count(member.tokens)} tokens" if member.tokens else "imported, not trained here"
    served = f" ({served_words(member.served)})" if member.served else ""
    quality = f"{reading.quality_name} {score(reading.quality(member.loss))}"
    quality += f", {score(merit)} on the proxy task" if (merit := reading.merits.get(member.key)) is not None else ""
    kind = f" ({kind_words(speedup)})" if mixed(reading) or speedup.kind != MEASURED else ""
    more = f"; {words}" if (words := foretold_words(reading, answer)) else ""
    return f"{start}: {speedup.words}x as fast{kind}, {quality}, {trained}: {member.key}{served}{more}"


def foretold_words(reading: Reading, answer: Answer) -> str:
    """Who would be better by predictions alone; "" of none."""
    if (member := answer.foretold) is None or (speedup := reading.speedup(member)) is None:
        return ""
    quality = f"{reading.quality_name} {score(reading.quality(member.loss))}"
    return f"not measured as fast, {member.key} is {speedup.kind} to be {speedup.words}x, {quality}"


def mixed(reading: Reading) -> bool:
    """Whether some speeds of the front are measured and others are not."""
    return len({speedup.kind for member in reading.front if (speedup := reading.speedup(member))}) > 1


def widest_gap(speeds: Iterable[float], window: tuple[float, float] = WINDOW) -> float:
    """The largest ratio of neighbouring latencies of a front between two speeds, whose ends count as neighbours.

    1 is a front without a hole, 7.5 one that has no student at all between 2x and 15x.

    Args:
        speeds: of the front's students, as multiples of the teacher's.
        window: the slowest and the fastest speed that is looked at.
    """
    slow, fast = window
    inside = sorted(speed for speed in speeds if slow < speed < fast)
    return max(b / a for a, b in pairwise([slow, *inside, fast]))


def front_gap(reading: Reading) -> float | None:
    """`widest_gap` of a result's front; None where no speed is known."""
    speeds = [speedup.ratio for member in reading.front if (speedup := reading.speedup(member))]
    return widest_gap(speeds) if speeds else None
