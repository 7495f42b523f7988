"""Pieces begin and end where sentences do, are stretches of their block, and stay where there are none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from distilsearch.distill.teachers.teacher import Teacher, load_teacher
from distilsearch.distill.texts.data import framing, pieces
from distilsearch.distill.texts.sentences import beginnings, sentence_marks, sentence_pieces, whole_sentences
from distilsearch.testing.teachers import write_teacher

WORDS = ("aaa", "bbb", ".", "?", '"', ")", "(", ",")
BLOCK, LENGTH = 32, 12


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    """A teacher that knows some marks."""
    return load_teacher(str(write_teacher(tmp_path_factory.mktemp("marks"), words=WORDS)))


def ids(teacher: Teacher, text: str) -> list[int]:
    """Of words between spaces."""
    return [int(teacher.tokenizer.convert_tokens_to_ids(word)) for word in text.split()]


def test_marks_are_those_of_the_vocabulary(reader: Teacher) -> None:
    ends, closers = sentence_marks(reader)
    assert set(ends) == set(ids(reader, ". ?"))
    assert set(closers) == set(ids(reader, '" )'))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("aaa bbb . aaa", [3]),
        ("aaa ? bbb . aaa", [2, 4]),
        ('aaa . " ) bbb', [4]),  # after what closes
        ('aaa " bbb , aaa', []),
        ("aaa . . . bbb", [4]),
        ("aaa .", []),
    ],
)
def test_a_sentence_begins_after_the_end_of_another(reader: Teacher, text: str, expected: list[int]) -> None:
    assert np.flatnonzero(beginnings(reader, np.array([ids(reader, text)]))[0]).tolist() == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("aaa bbb . aaa bbb", 3),
        ("aaa . bbb ? aaa", 4),  # the last one counts
        ('aaa . " ) bbb', 4),  # with what closes
        ("aaa . bbb .", 4),
        ("aaa bbb , aaa", 4),  # no end: all of it
        ('" ) aaa', 3),
    ],
)
def test_a_piece_keeps_its_whole_sentences(reader: Teacher, text: str, expected: int) -> None:
    assert whole_sentences(reader, np.array([ids(reader, text)])).tolist() == [expected]


@settings(deadline=None)
@given(words=arrays(np.int64, (3, BLOCK - 2), elements=st.integers(0, len(WORDS) - 1)))
def test_what_is_kept_ends_where_the_next_sentence_would_begin(reader: Teacher, words: np.ndarray) -> None:
    inner = np.array(ids(reader, " ".join(WORDS)))[words]
    another = np.array(ids(reader, "aaa"))
    for row, kept in zip(inner, whole_sentences(reader, inner), strict=True):
        longer = np.concatenate([row, another])[None]
        begins = np.flatnonzero(beginnings(reader, longer)[0])
        assert kept == (begins[-1] if len(begins) else len(row))


@settings(deadline=None)
@given(words=arrays(np.int64, (3, BLOCK - 2), elements=st.integers(0, len(WORDS) - 1)))
def test_pieces_are_stretches_of_their_block_near_their_places(reader: Teacher, words: np.ndarray) -> None:
    names = np.array(ids(reader, " ".join(WORDS)))
    frame = framing(reader)
    inner = names[words].astype(np.int32)
    blocks = np.pad(inner, ((0, 0), (1, 1)))
    cut = sentence_pieces(reader, blocks, LENGTH, frame)
    plain = pieces(blocks, LENGTH, frame)
    assert cut.shape == plain.shape
    begins, content = beginnings(reader, inner), LENGTH - 2
    for row, piece in enumerate(cut):
        block, place = row // (BLOCK // LENGTH), row % (BLOCK // LENGTH) * content
        fitting = [i for i in np.flatnonzero(begins[block]) if i + content <= BLOCK - 2]
        near = [i for i in fitting if 2 * abs(i - place) < content]
        starts = [i for i in near if abs(i - place) == min(abs(j - place) for j in near)] or [place]
        assert any((piece[1:-1] == inner[block, i : i + content]).all() for i in starts)


def test_a_text_without_sentences_is_cut_as_ever(teacher: Teacher) -> None:
    blocks = np.full((2, 32), int(teacher.tokenizer.convert_tokens_to_ids("aaa")), np.int32)
    frame = framing(teacher)
    np.testing.assert_array_equal(sentence_pieces(teacher, blocks, 16, frame), pieces(blocks, 16, frame))
