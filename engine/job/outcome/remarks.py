"""What a reader of latencies must know first: how disturbed they are, and where what was measured breaks a limit."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from distilsearch.arrays import FloatArray
from distilsearch.progress import Progress

from ...objectives import nondominated
from ...report.doubts import AGREED, ms_of
from ...report.readings import Reading
from ...report.schema import Latency, Member, ResultFile
from ...report.words import counted
from .choice import pick

if TYPE_CHECKING:
    from distilsearch.distill.store.trial import Trial
    from distilsearch.families import TeacherFacts

    from ..ledger import Ledger
    from ..runfile.config import Run

DISTURBED = 1.1  # slowness of the sentinel that a reader is told of


def latency_warnings(objective: str, teacher: Latency, students: Sequence[Latency]) -> Iterator[str]:
    """Where the latencies of teacher and front, measured side by side, are not to be trusted."""
    if teacher.slowness is not None and teacher.slowness > DISTURBED:
        yield (
            f"while {objective} of teacher and front was measured side by side, this machine ran"
            f" {teacher.slowness:.2f} times slower than when quiet (by the sentinel); predictions are of the quiet"
            " machine, and speedups may be far off: run `distilsearch measure` when it is quiet"
        )
    repeats = [latency.repeated for latency in (teacher, *students) if latency.repeated is not None]
    apart = [factor - 1 for factor in repeats if factor > AGREED]
    if apart:
        yield (
            f"{objective} of {len(apart)} of {counted(len(repeats), 'model')}, measured side by side again, differed by"
            f" more than {AGREED - 1:.0%}{_most(max(apart))} between the two closest sessions; their digits are left"
            " out: run `distilsearch measure` when the machine is quiet"
        )
    if teacher.measured and teacher.lower and teacher.upper and not teacher.lower <= teacher.measured <= teacher.upper:
        yield (
            f"the teacher was measured at {teacher.measured:.3g} ms and predicted at {teacher.lower:.3g} to"
            f" {teacher.upper:.3g} ms: other work may have disturbed the machine, and speedups with it; run"
            " `distilsearch measure` when it is quiet"
        )


def _most(apart: float) -> str:
    """By how much at most, in brackets; "" where that is next to what sessions may differ by."""
    texts = (f"{apart:.0%}", f"{apart:.1%}")
    return next((f" (up to {text})" for text in texts if float(text[:-1]) > 100 * (AGREED - 1) + 0.01), "")


def all_latency_warnings(result: ResultFile) -> list[str]:
    """`latency_warnings` of a whole result, so that those of an older measurement can be told from the others."""
    return [
        warning
        for name, teacher in result.teacher.latencies.items()
        for warning in latency_warnings(name, teacher, [m.latencies[name] for m in result.front if name in m.latencies])
    ]


def kept_choice(result: ResultFile, choose: str, loss_at_most: float | None) -> tuple[str | None, str]:
    """Who is chosen once latencies have been measured anew, and what is to be said of it.

    The chosen member stays unless it breaks a limit; then the rule chooses among the members that keep them: of those,
    among those with a score on the proxy task, where there are such.
    """
    reading = Reading(result)
    knee, limit = reading.knee, _broken(reading, reading.knee) if reading.knee else ""
    if knee is None or not limit:
        return result.knee, ""
    keeping = [member for member in reading.front if not _broken(reading, member)]
    if not keeping:
        return result.knee, f"{knee.key} was chosen and breaks its limit, and so does all of the front: {limit}"
    keeping = [member for member in keeping if member.key in reading.merits] or keeping
    values = np.array([_point(reading, member) for member in keeping])
    front = np.flatnonzero(nondominated(values))
    best = keeping[front[pick(values[front], choose, loss_at_most)]]
    longer = "" if reading.finished(best) else "; it was not trained further: see `distilsearch distill`"
    return best.key, f"{knee.key} was chosen and breaks its limit ({limit}); {best.key} is chosen instead{longer}"


def _broken(reading: Reading, member: Member) -> str:
    """How a member breaks a limit on latency; "" where it breaks none."""
    for name in reading.latencies:
        limit, ms = reading.limit_ms(name), ms_of(reading.latency(member, name))
        if limit is not None and ms is not None and ms > limit:
            return f"{name} is {ms:.3g} ms, at most {limit:.3g} were allowed"
    return ""


def _point(reading: Reading, member: Member) -> FloatArray:
    """Objectives (M,) of a member, after equal training; a score on the proxy task stands for its loss."""
    latencies = (ms_of(reading.latency(member, name)) for name in reading.latencies)
    merit = reading.merits.get(member.key)
    quality = reading.equal_loss(member) if merit is None else -merit
    return np.array([quality, *(np.inf if ms is None else ms for ms in latencies)])


def remarks_on(run: "Run", teacher: "TeacherFacts", finals: Iterable[str]) -> list[str]:
    """What a reader must know of what was asked for: choices that a teacher is too small for, and `taken_over`."""
    return [*run.too_large(teacher), *taken_over(run, finals)]


TRAINED = "trained"  # in a ledger: that the run has trained somebody, in whichever call


def note_trained(ledger: "Ledger", known: Mapping[str, "Trial"], finals: Mapping[str, "Trial"], say: Progress) -> None:
    """Note whether a call has trained anybody, by its trials and by who was finished; say so where it has not.

    Args:
        known: the longer trainings that were there before the finish, by the key of the student; `finals`: those after.
    """
    entries = ledger.entries()
    own = [entry for entry in entries if entry.lease.get("holder") == ledger.holder]
    tried = any(entry.state == "failed" or entry.facts.get("source") == "trained" for entry in own)
    longer = any(key not in known or trial.tokens > known[key].tokens for key, trial in finals.items())
    if tried or longer:
        ledger.note(TRAINED, True)
    elif complete := [entry for entry in entries if entry.state == "complete"]:
        others = sum(entry.facts.get("source") == "trained" for entry in complete)
        whose = (
            f"{others} were trained by calls before it or by others at work on the run" if others else "all were known"
        )
        say(f"nothing was trained by this call: of its {len(complete)} students {whose}", 0, 0)


def all_known(ledger: "Ledger") -> list[str]:
    """That a run which has students has trained none of them, in any call."""
    complete = [entry for entry in ledger.entries() if entry.state == "complete"]
    if not complete or ledger.noted(TRAINED) or any(entry.facts.get("source") == "trained" for entry in complete):
        return []
    return ["nothing was trained for this run: all its students were known, from other runs or imported"]


def taken_over(run: "Run", finals: Iterable[str]) -> list[str]:
    """That students are handed back as others have finished them, where the run itself finishes nobody.

    Args:
        finals: the keys of the students of which a longer training is there.
    """
    if run.train.finish != "none" or not (keys := sorted(finals)):
        return []
    return [
        f'finish = "none": this run trains nobody further, and these are handed back as others have finished them, so'
        f" that they are not compared at equal length: {', '.join(keys)}"
    ]
