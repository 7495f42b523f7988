"""Text is read, packed and split the same way every time; bad text is refused with the reason."""

import ast
import json
from pathlib import Path

import numpy as np
import pytest

from distilsearch.distill.data import Text, framing, load_text, pieces
from distilsearch.distill.sources import documents, python_docs
from distilsearch.distill.teacher import Teacher
from distilsearch.errors import TextError


def test_blocks_are_framed_and_cover_the_text(teacher: Teacher, text: Text) -> None:
    assert text.block == 32
    blocks = np.concatenate([text.heldout, text.train])
    assert len(blocks) == 6000 // 30
    assert len(text.heldout) == 40
    assert (blocks[:, 0] == teacher.tokenizer.cls_token_id).all()
    assert (blocks[:, -1] == teacher.tokenizer.sep_token_id).all()


def test_packing_is_the_same_from_cache_and_anew(
    teacher: Teacher, text_file: Path, text: Text, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    again = load_text([str(text_file)], teacher, block=32, heldout_fraction=0.2)
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path))
    anew = load_text([str(text_file)], teacher, block=32, heldout_fraction=0.2)
    for other in (again, anew):
        assert other.sha256 == text.sha256
        np.testing.assert_array_equal(other.train, text.train)


def test_a_damaged_cache_is_made_again(
    teacher: Teacher, text_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path))
    first = load_text([str(text_file)], teacher, block=32)
    cache = next(tmp_path.rglob("text-*.safetensors"))
    content = bytearray(cache.read_bytes())
    content[-1] ^= 1
    cache.write_bytes(bytes(content))
    assert load_text([str(text_file)], teacher, block=32).sha256 == first.sha256


def test_pieces_cut_blocks_into_framed_parts(teacher: Teacher, text: Text) -> None:
    cut = pieces(text.train, 16, framing(teacher))
    assert cut.shape == (len(text.train) * 2, 16)
    np.testing.assert_array_equal(cut[0, 1:-1], text.train[0, 1:15])
    np.testing.assert_array_equal(cut[1, 1:-1], text.train[0, 15:29])
    assert (cut[:, 0] == teacher.tokenizer.cls_token_id).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"a\0b", "binary"),
        (b"\xff\xfe\xfa", "UTF-8"),
        (b"aaa bbb", "too few"),
    ],
)
def test_bad_files_are_refused(teacher: Teacher, tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    with pytest.raises(TextError, match=message):
        load_text([str(path)], teacher, block=32)


def test_missing_files_and_empty_folders_are_refused(teacher: Teacher, tmp_path: Path) -> None:
    for source, message in [(str(tmp_path / "no*.txt"), "no file matches"), (str(tmp_path), "holds no")]:
        with pytest.raises(TextError, match=message):
            load_text([source], teacher, block=32)
    with pytest.raises(TextError, match="no text was named"):
        load_text([], teacher, block=32)
    with pytest.raises(TextError, match="16 to 64"):
        load_text(["python-docs"], teacher, block=128)


def test_folders_globs_and_json_lines(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("second")
    (tmp_path / "a.md").write_text("first")
    (tmp_path / "c.jsonl").write_text(json.dumps({"text": "third"}) + "\n\n" + json.dumps("fourth") + "\n")
    (tmp_path / "d.png").write_bytes(b"\0")
    assert list(documents([str(tmp_path)])) == ["first", "second", "third", "fourth"]
    assert list(documents([str(tmp_path / "*.txt")])) == ["second"]
    (tmp_path / "e.jsonl").write_text('{"words": 1}\n')
    with pytest.raises(TextError, match="line 1"):
        list(documents([str(tmp_path / "e.jsonl")]))


def test_the_python_documentation_is_english_and_its_order_fixed() -> None:
    first = list(python_docs())
    assert sum(map(len, first)) > 1_000_000
    assert any("dictionary" in part for part in first)
    assert any(str(ast.get_docstring(ast.parse(Path(ast.__file__).read_bytes())))[:60] in part for part in first)
