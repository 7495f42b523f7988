"""A text as requests: what a server would be sent of it, one at a time, and how many tokens each has.

Of tables, JSON and datasets a request is a row. Plain text and documentation are written in paragraphs, parted by blank
lines; where hardly a line is blank, a line is a request. In a file that a user names for its requests it is a line (of
tables and JSON a row). Blank ones are none. A request has the tokens that the teacher's tokenizer gives it, with those
that it puts around every text and with the prompt, up to as many as the model reads.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from distilsearch.errors import TextError
from distilsearch.progress import Progress, silent

from ..teachers.frame import prompt_ids
from ..teachers.teacher import Teacher
from .readers import TEXT
from .sources import documents

MOST_READ = 1_000_000  # requests of a source: what has no end gives its first ones
MOST_COUNTED = 50_000  # of which the lengths are counted, drawn at random
FEW_BLANK = 0.05  # share of blank lines below which they part nothing
BATCH = 1_000
TOLD = 10_000  # requests between two words on how far it has come


def requests_of(sources: Sequence[str], column: str = TEXT) -> Iterator[str]:
    """The requests in a run's text, source by source."""
    for source in sources:
        yield from islice(_said(documents([source], column, cut=paragraphs)), MOST_READ)


def requests_in(file: str, column: str = TEXT) -> Iterator[str]:
    """The requests in a file of them; a `TextError` where there is no such file."""
    if not Path(file).is_file():
        raise TextError(f'there is no file {file!r} of requests, one a line; name one, or say lengths = "text"')
    return islice(_said(documents([file], column, cut=str.splitlines)), MOST_READ)


def lengths_of(requests: Iterable[str], teacher: Teacher, progress: Progress = silent) -> list[int]:
    """The lengths (n,) in tokens of requests, or of as many as are counted, drawn from all of them."""
    told = drawn(_watched(requests, progress))
    before, after = teacher.frame
    around, longest = len(before) + len(prompt_ids(teacher)) + len(after), longest_of(teacher)
    lengths: list[int] = []
    for start in range(0, len(told), BATCH):
        encoded = teacher.reader.encode_batch_fast(told[start : start + BATCH], add_special_tokens=False)
        lengths += [max(1, min(longest, len(one.ids) + around)) for one in encoded]
        if len(told) > TOLD:
            progress("counting the tokens of requests", len(lengths), len(told))
    return lengths


def _watched(requests: Iterable[str], progress: Progress) -> Iterator[str]:
    """Requests as they come, with a word on how many where there are many: a dataset streams them for minutes."""
    place = 0
    for place, request in enumerate(requests, 1):
        if place % TOLD == 0:
            progress("reading requests", place, max(MOST_READ, place + 1))
        yield request
    if place >= TOLD:
        progress("reading requests", place, place)


def drawn(requests: Iterable[str], most: int = MOST_COUNTED) -> list[str]:
    """All of a few requests, or `most` of many, each as likely as any other: always the same ones.

    No more are held at a time (Vitter's algorithm R, 1985): a million rows of a dataset are gigabytes.
    """
    held, rng = list[str](), np.random.default_rng(0)
    for place, request in enumerate(requests):
        if place < most:
            held.append(request)
        elif (other := int((place + 1) * rng.random())) < most:
            held[other] = request
    return held


def longest_of(teacher: Teacher) -> int:
    """The most tokens of a text that are read as it is served."""
    return min(teacher.longest, teacher.surroundings.length)


def paragraphs(text: str) -> list[str]:
    """The paragraphs of a text, or its lines where hardly one is blank.

    >>> paragraphs("One\\ntwo.\\n\\nThree."), paragraphs("one\\ntwo\\nthree")
    (['One\\ntwo.', 'Three.'], ['one', 'two', 'three'])
    """
    lines = text.strip().splitlines()
    blank = sum(not line.strip() for line in lines)
    if blank <= FEW_BLANK * len(lines):
        return lines
    pieces: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            pieces[-1].append(line)
        elif pieces[-1]:
            pieces.append([])
    return ["\n".join(piece) for piece in pieces if piece]


def _said(texts: Iterable[str]) -> Iterator[str]:
    return (text for text in texts if text.strip())
