"""Where sentences begin and end in blocks of tokens, and blocks cut there into shorter sequences.

Notation
    m          blocks, or pieces of them
    w          tokens of one without its frame
"""

import functools

import numpy as np
import numpy.typing as npt

from ..teachers.teacher import Teacher
from .data import BlockArray, add_frame

ENDS, CLOSERS = frozenset(".!?…。！？"), frozenset("\"'”’»)]」』")
SPACE = "▁Ġ#"  # what tokenizers write for the space before a word, or for there being none

Words = npt.NDArray[np.integer]
Frame = tuple[list[int], list[int]]


def sentence_pieces(teacher: Teacher, blocks: BlockArray, length: int, frame: Frame) -> BlockArray:
    """Cut blocks into framed sequences of `length` that begin with a sentence where one begins near by.

    As many as `pieces` cuts, (m, block) -> (m * (block // length), length), each moved by less than half of its
    length to the nearest beginning of a sentence; where there is none, as in code, it stays.
    """
    before, after = len(frame[0]), len(frame[1])
    count, content = blocks.shape[1] // length, length - before - after
    inner = blocks[:, before : blocks.shape[1] - after]
    places = np.arange(count) * content
    begins = beginnings(teacher, inner)[:, : inner.shape[1] - content + 1]
    first = np.stack([_moved(places, np.flatnonzero(row), content) for row in begins])
    rows = np.arange(len(inner))[:, None, None]
    return add_frame(inner[rows, first[:, :, None] + np.arange(content)].reshape(-1, content), frame)


def beginnings(teacher: Teacher, inner: Words) -> npt.NDArray[np.bool_]:
    """Which words (m, w) begin a sentence: those after the last one of another."""
    begins = np.zeros(inner.shape, bool)
    begins[:, 1:] = _last(teacher, inner)[:, :-1]
    return begins


def whole_sentences(teacher: Teacher, inner: Words) -> npt.NDArray[np.int64]:
    """How many words of each piece (m, w) stand before the last end of a sentence in it: (m,), w where none ends.

    A piece may be cut between the end and what closes there, a quote or a bracket; it ends at its last word then.
    """
    last, width = _last(teacher, inner), inner.shape[1]
    kept: npt.NDArray[np.int64] = np.where(last.any(axis=1), width - last[:, ::-1].argmax(axis=1), width)
    return kept


def _last(teacher: Teacher, inner: Words) -> npt.NDArray[np.bool_]:
    """Which words (m, w) are the last of a sentence: its mark, or of the quotes and brackets that close there the last.

    What stands after the last column is not known: a sentence that is over there counts as ended there.
    """
    ends, closers = sentence_marks(teacher)
    end, closer = np.isin(inner, ends), np.isin(inner, closers)
    over = end.copy()
    for place in range(1, inner.shape[1]):
        over[:, place] |= closer[:, place] & over[:, place - 1]
    over[:, :-1] &= ~over[:, 1:]
    return over


@functools.lru_cache(maxsize=4)  # by the identity of the teacher; the vocabulary has tens of thousands of words
def sentence_marks(teacher: Teacher) -> tuple[Words, Words]:
    """The ids of tokens that end a sentence, as ".", "?" and "。" do, and of those that close a quote or a bracket."""
    tokens = [(token.lstrip(SPACE), i) for token, i in teacher.tokenizer.get_vocab().items()]
    ends, closers = ([i for token, i in tokens if token and marks.issuperset(token)] for marks in (ENDS, CLOSERS))
    return np.asarray(ends, np.int64), np.asarray(closers, np.int64)


def _moved(places: Words, begins: Words, content: int) -> Words:
    """Each place, or the beginning that is nearest to it, by less than half of the content."""
    if not len(begins):
        return places
    nearest = begins[np.abs(begins - places[:, None]).argmin(axis=1)]
    return np.where(2 * np.abs(nearest - places) < content, nearest, places)
