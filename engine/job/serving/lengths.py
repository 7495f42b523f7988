"""The lengths of requests that a run's targets serve: counted once, and kept by the run's folder from then on."""

from distilsearch.distill.teachers.teacher import Teacher
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
    target = []
    for section in run.target:
        if _open(section):
            lengths = counted(run, section, teacher)
            progress(f"requests of {section.lengths_from}: {lengths.words}, of {lengths.requests:,}", 0, 0)
            section = section.model_copy(update={"request_lengths": str(lengths)})
        target.append(section)
    return run.model_copy(update={"target": tuple(target)})


def counted(run: Run, section: TargetSection, teacher: Teacher) -> RequestLengths:
    """The lengths of the requests that a target of a run is to serve, summed up as they are served together."""
    place = section.lengths_from or OF_TEXT
    of_text = place == OF_TEXT
    requests = requests_of(run.text, run.text_column) if of_text else requests_in(place, run.text_column)
    lengths = lengths_of(requests, teacher)
    try:
        return request_lengths(lengths, section.conditions.batch)
    except InputError as error:
        raise InputError(f"{'the text' if of_text else place} as requests: {error}") from None


def _open(section: TargetSection) -> bool:
    return section.lengths_from is not None and section.request_lengths is None
