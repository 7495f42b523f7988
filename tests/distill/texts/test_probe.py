"""The probe: which text it is, that none of it is learnt, and when there is none."""

from pathlib import Path

import pytest

from distilsearch.distill.teachers.teacher import Teacher, load_teacher
from distilsearch.distill.texts.data import Text, load_text
from distilsearch.distill.texts.probe import BLOCKS, ENGLISH, ENOUGH, default_probe, english, load_probe
from distilsearch.distill.texts.sources import PACKAGE_DOCS, PYTHON_DOCS, package_docs
from distilsearch.errors import TextError
from distilsearch.testing.teachers import write_teacher, write_text


@pytest.fixture
def other(tmp_path: Path) -> Path:
    return write_text(tmp_path / "others.txt", seed=7)


def test_a_probe_that_is_named_has_blocks_of_the_texts_size_and_none_that_is_learnt(teacher, text, other) -> None:
    probe = load_probe([str(other)], [], teacher, text)
    assert probe.text is not None
    assert probe.text.heldout.shape == (BLOCKS, text.block)
    assert not len(probe.text.train)
    assert not {row.tobytes() for row in probe.text.heldout} & {row.tobytes() for row in text.train}
    assert (probe.name, probe.why) == ("others.txt", "")
    again = load_probe([str(other)], [], teacher, text).text
    assert again is not None
    assert again.sha256 == probe.text.sha256


def test_a_file_that_is_learnt_is_no_probe(teacher: Teacher, text: Text, text_file: Path) -> None:
    with pytest.raises(TextError, match="which students learn"):
        load_probe([str(text_file.parent)], [str(text_file)], teacher, text)


def test_a_copy_of_what_is_learnt_is_no_probe(teacher: Teacher, text_file: Path, tmp_path: Path) -> None:
    whole = load_text([str(text_file)], teacher, block=32, heldout_fraction=0.01)
    copy = tmp_path / "copy.txt"
    copy.write_bytes(text_file.read_bytes())
    with pytest.raises(TextError, match="that the text does not have"):
        load_probe([str(copy)], [str(text_file)], teacher, whole)


def test_a_text_that_is_not_english_has_no_probe_by_default_and_that_is_said(teacher, text, text_file) -> None:
    said: list[str] = []
    probe = load_probe(("auto",), [str(text_file)], teacher, text, progress=lambda what, *_: said.append(what))
    assert probe.text is None
    assert "not English" in probe.why
    assert said == [f"there is no probe of what training buys beyond the text ({probe.why})"]
    assert load_probe(("none",), [str(text_file)], teacher, text).why == "none was asked for"


def test_english_is_told_by_the_words_that_it_needs(tmp_path: Path) -> None:
    german = ["schrift", "zeile", "lesen", "alle", "manche", "einige", "keine", "jeder"]
    folder = write_teacher(tmp_path / "teacher", words=[*german, *sorted(ENGLISH)])
    teacher = load_teacher(str(folder))
    for words, share in ((german, 0.0), ([*german, "the", "of"], ENOUGH)):
        text = load_text([str(write_text(tmp_path / "text.txt", words))], teacher, block=32)
        assert english(teacher, text) >= share
        assert bool(english(teacher, text)) is bool(share)


def test_documentation_that_is_at_hand_is_of_python_or_of_packages() -> None:
    assert default_probe(["novel.txt"]) == (PYTHON_DOCS,)
    assert default_probe(["novel.txt", PYTHON_DOCS]) == (PACKAGE_DOCS,)
    first = next(package_docs())
    assert isinstance(first, str)
    assert first
