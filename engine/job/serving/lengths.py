"""The lengths of requests that a run's targets serve: counted once, and kept by the run's folder from then on."""

from collections.abc import Iterable

from distilsearch.distill.teachers.teacher import Teacher, load_teacher
from distilsearch.distill.texts.requests import lengths_of, requests_in, requests_of
from distilsearch.errors import InputError
from distilsearch.length_nodes import request_lengths
from distilsearch.progress import Progress, silent
from distilsearch.request_lengths import RequestLengths

from ..runfile.config import Run
from ..runfile.sections import TargetSection
from ..runfile.serving import OF_TEXT


def with_lengths(run: Run, teacher: Teacher, progress: Progress = silent) -> Run:
    """The run with the lengths of its requests known, where a target serves many; as it is where none does.

    Raises:
        TextError: the requests cannot be read.
        InputError: there are too few of them.
    """
    if not any(_open(section) for section in run.target):
        return run
    target, known = [], dict[tuple[str, int], RequestLengths]()
    for section in run.target:
        if _open(section):
            batch, place = section.conditions.batch, str(section.lengths_from)
            if (place, batch) not in known:
                lengths = known[place, batch] = counted(run, place, teacher, batch, progress)
                together = f"{batch} at a time, padded to" if batch > 1 else "of"
                progress(f"{lengths.requests:,} requests in {_named(place)}, {together} {lengths.words}", 0, 0)
            section = section.model_copy(update={"request_lengths": str(known[place, batch])})
        target.append(section)
    return run.model_copy(update={"target": tuple(target)})


def counted(run: Run, place: str, teacher: Teacher, batch: int, progress: Progress = silent) -> RequestLengths:
    """The lengths of requests in a run's text or in a file of them, summed up as they are served, `batch` at a time.

    Args:
        place: "text", or the name of the file.
    """
    own = requests_of(run.text, run.text_column) if place == OF_TEXT else requests_in(place, run.text_column)
    return summed_up(own, teacher, batch, _named(place), progress)


def counted_for(run: Run, place: str, batch: int, progress: Progress = silent) -> RequestLengths:
    """The same by a run file alone: its teacher is opened, and nothing else is checked."""
    return counted(run, place, load_teacher(run.teacher).shown(run.prompt), batch, progress)


def counted_in(file: str, teacher: Teacher, batch: int, progress: Progress = silent) -> RequestLengths:
    """The same of a file that somebody names for a model."""
    return summed_up(requests_in(file), teacher, batch, file, progress)


def summed_up(
    requests: Iterable[str], teacher: Teacher, batch: int, name: str, progress: Progress = silent
) -> RequestLengths:
    """The lengths of requests; an `InputError` where there are too few says whose, by `name`."""
    lengths = lengths_of(requests, teacher, progress)
    try:
        return request_lengths(lengths, batch)
    except InputError as error:
        raise InputError(f"{name} as requests: {error}") from None


def _open(section: TargetSection) -> bool:
    return section.lengths_from is not None and section.request_lengths is None


def _named(place: str) -> str:
    return "the text" if place == OF_TEXT else place
