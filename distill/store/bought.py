"""What training bought a student: losses and scores that it began with, beside those it came to.

The loss on its own text falls while it learns that text by heart, so it is held beside a text that nobody trains on
(the probe) and beside tasks. Whatever was taken is kept with the trial, and taken once.
"""

from collections.abc import Mapping

from ..course import Course
from ..evaluate import Evaluation, Heldout
from ..quality import Bought, some_blocks
from ..texts.probe import Probe
from ..untrained import before_training
from .archive import Archive
from .trial import STUDENT, UNTRAINED, Trial

TITLE = "What training bought"  # of the section on a card
TEXT, PROBE = "held-out loss", "loss on the probe"
SPEARMAN = "spearman"


def bought(
    archive: Archive, trial: Trial, course: Course, probe: Probe, pairs: Mapping[str, Evaluation]
) -> dict[str, Bought]:
    """By name: the held-out loss, the loss on the probe where there is one, Spearman of each evaluation on pairs."""
    where = some_blocks(trial.untrained_blocks, len(course.text.heldout))
    gains = {TEXT: Bought(course.text.sha256, trial.untrained_loss, trial.loss, where=where)}
    if probe.text is not None:
        gains[f"{PROBE}, {probe.name}"] = _of(archive, trial, course, Heldout(course.teacher, probe.text), "loss")
    for name, evaluation in pairs.items():
        gains[f"{name}, Spearman"] = _of(archive, trial, course, evaluation, SPEARMAN)
    return gains


def section(gains: Mapping[str, Bought], probe: Probe) -> dict[str, Mapping[str, str]]:
    """The section of a card; it says why there is no probe, and that nothing was bought."""
    rows = {name: gain.words for name, gain in gains.items()}
    rows |= {"probe": f"none: {probe.why}"} if probe.text is None else {}
    rows |= {"in all": NOTHING} if nothing(gains) else {}
    return {TITLE: rows}


NOTHING = "training bought nothing: by none of these is the student better than before its first step"


def nothing(gains: Mapping[str, Bought]) -> bool:
    """Whether a student is better by none of its figures, of those whose beginning is known."""
    known = [gain.gain for gain in gains.values() if gain.gain is not None]
    return bool(known) and max(known) <= 0


def _of(archive: Archive, trial: Trial, course: Course, evaluation: Evaluation, value: str) -> Bought:
    """A value of an evaluation before training, and after it."""
    before, after = (
        archive.evaluated(trial, evaluation.name, evaluation.heldout, of, score).values[value]
        for of, score in ((UNTRAINED, before_training(course, trial, evaluation)), (STUDENT, evaluation))
    )
    return Bought(evaluation.heldout, before, after, rising=value == SPEARMAN)
