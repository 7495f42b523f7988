"""Text that repeats itself is refused with numbers, and what is held out is in no training block."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilsearch.distill.teachers.teacher import Teacher
from distilsearch.distill.texts import distinct
from distilsearch.distill.texts.data import Text, load_text, mix, pack
from distilsearch.errors import TextError
from distilsearch.testing.teachers import WORDS

CONTENT = 30  # tokens of a block of 32 between its frame


def ids(count: int, seed: int = 0) -> npt.NDArray[np.int32]:
    return np.random.default_rng(seed).integers(10, 100, count).astype(np.int32)


def rows(text: Text) -> tuple[set[bytes], set[bytes]]:
    return {row.tobytes() for row in text.heldout}, {row.tobytes() for row in text.train}


def sentence(length: int) -> str:
    return " ".join(WORDS[i] for i in range(length)) + "\n"


@pytest.mark.parametrize("length", [1, 2, 7, 9, 30, 77])
def test_one_repeated_sentence_is_refused(teacher: Teacher, tmp_path: Path, length: int) -> None:
    path = tmp_path / "a.txt"
    path.write_text(sentence(length) * 700)
    with pytest.raises(
        TextError, match=rf"repeats itself: of its {length * 700:,} tokens only {length} begin.*120 must"
    ):
        load_text([str(path)], teacher, block=32)


def test_rows_that_all_say_the_same_are_refused(teacher: Teacher, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text\n" + sentence(12) * 500)
    with pytest.raises(TextError, match=r"repeats itself: .* only 12 begin"):
        load_text([str(path)], teacher, block=32)


def test_a_few_paragraphs_over_and_over_are_refused(teacher: Teacher) -> None:
    """Enough windows differ, but whole blocks do not."""
    with pytest.raises(TextError, match="it has 300 blocks of 32, of which 6 differ, too few to hold out 4"):
        pack(np.tile(ids(6 * CONTENT), 50), teacher, 32, 0.2)


def test_few_blocks_are_refused_with_numbers(teacher: Teacher, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(" ".join(WORDS))
    with pytest.raises(TextError, match=r"150 tokens, which make 5 blocks of 32: too few to hold out 4 .* 240 tokens"):
        load_text([str(path)], teacher, block=32)
    with pytest.raises(TextError, match=r"make 100 blocks of 32: too few to hold out 98 .* 6,000 tokens are needed"):
        pack(ids(100 * CONTENT), teacher, 32, 0.98)
    pack(ids(200 * CONTENT), teacher, 32, 0.98)


def test_what_is_held_out_is_never_trained_on(teacher: Teacher) -> None:
    text = pack(np.tile(ids(50 * CONTENT), 4), teacher, 32, 0.1)
    heldout, train = rows(text)
    assert not heldout & train
    assert len(heldout) == len(text.heldout) >= 15
    assert len(heldout) + len(train) == 50
    dropped = 200 - 20 - len(text.train)
    assert text.notes == (f"{dropped} blocks that equal one of those held out are not trained on",)


def test_texts_without_repeats_keep_their_content_hash(teacher: Teacher, text_file: Path) -> None:
    """The hash is that of version 0.1.0, under which trials are kept."""
    text = load_text([str(text_file)], teacher, block=32, heldout_fraction=0.2)
    assert text.sha256 == "18c5eae2150d713a2b479cc1db07b18036f325ce90ee5532173e082ad4479aa2"
    assert text.notes == ()


def test_repeats_within_training_alone_change_nothing(teacher: Teacher) -> None:
    plain = ids(100 * CONTENT)
    order = np.random.default_rng(0).permutation(100)
    again = plain.reshape(100, CONTENT).copy()
    again[order[60]] = again[order[50]]
    text = pack(again.ravel(), teacher, 32, 0.2)
    assert (len(text.heldout), len(text.train), text.notes) == (20, 80, ())


def test_sources_that_overlap_are_kept_apart(teacher: Teacher) -> None:
    first, second = pack(ids(3_000), teacher, 32, 0.2), pack(np.roll(ids(3_000), 10 * CONTENT), teacher, 32, 0.2)
    assert rows(first)[0] & rows(second)[1]
    mixed = mix([first, second], 2.0)
    heldout, train = rows(mixed)
    assert not heldout & train
    assert len(heldout) == len(mixed.heldout)
    assert "not trained on" in mixed.notes[0]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.integers(0, 11))
def test_separating_agrees_with_sets(words: list[int], split: int) -> None:
    blocks = np.array([[word, 1, 2] for word in words], np.int32)
    heldout, train = distinct.separated(blocks[:split], blocks[split:])
    chosen = list(dict.fromkeys(words[:split]))
    assert heldout[:, 0].tolist() == chosen
    assert train[:, 0].tolist() == [word for word in words[split:] if word not in chosen]
    assert distinct.different(blocks) == len(set(words))


def test_a_text_that_varies_late_is_read_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distinct, "PART", 64)
    distinct.check_varied(np.concatenate([np.zeros(500, np.int32), ids(300)]), 250)
    with pytest.raises(TextError, match="only 1 begin"):
        distinct.check_varied(np.zeros(500, np.int32), 2)
    with pytest.raises(TextError, match="only 0 begin"):
        distinct.check_varied(np.zeros(3, np.int32), 1)
