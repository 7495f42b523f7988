"""Which students a run hands out: those whose files in the shared trials are what was written when they were trained.

What is not is trained anew, once, and named; what cannot be trained is named and not handed out. A copy that an earlier
call left in the run's own folder stays where it is the student itself.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from distilsearch.architecture import Architecture
from distilsearch.distill.job import Training
from distilsearch.distill.store.archive import Archive
from distilsearch.distill.store.handing import lies_there
from distilsearch.distill.store.trial import Trial, mismatched
from distilsearch.errors import Interrupted, TrialError

from ..ledger import Entry
from ..serving.served import student_of
from .choice import pair_key

Train = Callable[[Architecture, Training], Trial | TrialError]
Ways = Callable[[Architecture], Sequence[Training]]


@dataclass
class Handed:
    """Trials by the key of the pair, what is to be said of others, and those whose copy in the run is no student."""

    trials: dict[str, Trial] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    withheld: set[str] = field(default_factory=set)


def handed_out(
    entries: Iterable[Entry],
    archive: Archive,
    copies: Path,
    ways: Ways,
    train: Train,
) -> Handed:
    """The sound trials of entries.

    Args:
        copies: the folder of students in the run's own.
        ways: all trainings that a student may have had in this run.
        train: trains a student so.
    """
    handed, again = Handed(), dict[str, Trial | TrialError]()  # by the key of the trial
    for entry in entries:
        key, wanted = pair_key(entry), str(entry.facts["trial"])
        trial = archive.find(wanted)
        files = mismatched(trial) if trial is not None else []
        if trial is not None and not files:
            handed.trials[key] = trial
            continue
        if (trial is None and (copies / key).is_dir()) or (trial is not None and lies_there(trial, copies / key)):
            continue
        why = f"not what was written ({', '.join(files)})" if files else "gone or cannot be read"
        if wanted not in again:
            again[wanted] = _again(student_of(entry.architecture), wanted, ways, train)
        _note(handed, key, f"the files of the student {key} in {archive.path(wanted)} are {why}", again[wanted], entry)
    return handed


def _again(student: Architecture, key: str, ways: Ways, train: Train) -> Trial | TrialError:
    """The trial of a key, trained anew."""
    training = next((one for one in ways(student) if one.key(student) == key), None)
    if training is None:
        return TrialError("it was not trained in this run's own way, so this run cannot train it again")
    try:
        return train(student, training)
    except Interrupted:
        return TrialError("this run's time is over; called again, it trains it anew")
    except TrialError as error:
        return error


def _note(handed: Handed, key: str, what: str, answer: Trial | TrialError, entry: Entry) -> None:
    """Take a student that was trained anew, or say why there is none."""
    if isinstance(answer, TrialError):
        handed.withheld.add(key)
        handed.remarks.append(f"{what}, and it is not handed out: {answer}")
        return
    handed.trials[key] = answer
    other = f"; its loss is {answer.loss:.4g} now" if answer.loss != entry.values[0] else ""
    handed.remarks.append(f"{what}: it was trained anew{other}")


def without(students: Mapping[str, str], withheld: set[str]) -> dict[str, str]:
    """Exported folders by key, but for those that are no students."""
    return {key: place for key, place in students.items() if key not in withheld}
