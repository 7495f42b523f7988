"""Text is read, packed and split the same way every time; bad text is refused with the reason."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from distilsearch.distill.material import Material
from distilsearch.distill.recipes import EMBEDDING
from distilsearch.distill.teachers.teacher import Teacher, load_teacher
from distilsearch.distill.texts.data import Text, framing, load_text, mix, pack, pieces
from distilsearch.distill.training import distill_student
from distilsearch.errors import TextError


def drawn(words: str, count: int, seed: int = 0) -> str:
    """As many words at random."""
    return " ".join(np.random.default_rng(seed).choice(words.split(), count))


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
        (b"\xfa\xff", "UTF-8"),
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


def test_a_temperature_evens_out_the_sources(teacher: Teacher, tmp_path: Path) -> None:
    large, small = tmp_path / "large.txt", tmp_path / "small.txt"
    large.write_text(drawn("aaa bbb ccc", 6_000))
    small.write_text(drawn("fee fed", 600))
    sources = [str(large), str(small)]
    mark = teacher.tokenizer.convert_tokens_to_ids("fee")

    def share(temperature: float) -> float:
        text = load_text(sources, teacher, block=32, temperature=temperature)
        return float((text.train == mark).any(axis=1).mean())

    plain, even, evener = share(1.0), share(3.0), share(1e9)
    assert plain == pytest.approx(0.09, abs=0.03)
    assert plain < even < evener
    assert evener == pytest.approx(0.5, abs=0.02)
    text = load_text(sources, teacher, block=32, temperature=3.0)
    assert text.sha256 == load_text(sources, teacher, block=32, temperature=3.0).sha256
    with pytest.raises(TextError, match="at least 1"):
        load_text(sources, teacher, block=32, temperature=0.5)


def test_a_folder_is_one_source_and_its_files_are_several(teacher: Teacher, tmp_path: Path) -> None:
    (tmp_path / "large.txt").write_text(drawn("aaa bbb ccc", 6_000))
    (tmp_path / "small.txt").write_text(drawn("fee fed", 600))
    mark = teacher.tokenizer.convert_tokens_to_ids("fee")

    def share(*sources: Path) -> float:
        text = load_text([str(path) for path in sources], teacher, block=32, temperature=1e9)
        return float((text.train == mark).any(axis=1).mean())

    assert share(tmp_path) == pytest.approx(0.09, abs=0.03)
    assert share(tmp_path / "large.txt", tmp_path / "small.txt") == pytest.approx(0.5, abs=0.02)


def test_mixing_keeps_the_number_of_blocks(teacher: Teacher, text: Text) -> None:
    other = pack(np.random.default_rng(0).integers(10, 100, 6_000).astype(np.int32), teacher, 32, 0.2)
    mixed = mix([text, other], 2.0)
    assert len(mixed.train) == 2 * len(text.train)
    assert len(mixed.heldout) == 2 * len(text.heldout)
    assert mixed.notes == ()


def test_held_out_blocks_are_bounded(teacher: Teacher, text: Text) -> None:
    words = np.random.default_rng(0).integers(10, 100, 5_000 * 30).astype(np.int32)
    large = pack(words, teacher, 32, 0.5)
    assert (len(large.heldout), len(large.train)) == (2_000, 3_000)
    assert len(pack(words, teacher, 32, 0.3).heldout) == 1_500
    mixed = mix([large, large, text], 2.0)
    assert len(mixed.heldout) <= 2_000
    np.testing.assert_array_equal(mixed.heldout[:900], large.heldout[:900])


def test_fewer_held_out_blocks_leave_what_is_learnt_as_it_is(teacher: Teacher, text: Text, text_file: Path) -> None:
    def read(**options: Any) -> Text:
        return load_text([str(text_file)], teacher, block=32, heldout_fraction=0.2, **options)

    few = read(most_heldout=10)
    np.testing.assert_array_equal(few.train, text.train)
    assert len(few.heldout) == 10
    assert {row.tobytes() for row in few.heldout} <= {row.tobytes() for row in text.heldout}
    assert few.sha256 not in (text.sha256, read(most_heldout=11).sha256)
    assert read(most_heldout=len(text.heldout)).sha256 == text.sha256  # known by what it always was
    with pytest.raises(TextError, match="at least 4 held-out blocks, got 3"):
        read(most_heldout=3)


def test_streams_are_read_as_far_as_asked(teacher: Teacher, text_file: Path) -> None:
    text = load_text([str(text_file)], teacher, block=32, most_tokens=1_500)
    assert len(text.train) + len(text.heldout) == 1_500 // 30


def test_of_each_source_as_much_is_read(teacher: Teacher, tmp_path: Path) -> None:
    first, second = tmp_path / "first.txt", tmp_path / "second.txt"
    first.write_text(drawn("aaa bbb", 4_000))
    second.write_text(drawn("fee fed", 4_000))
    empty = tmp_path / "empty.txt"
    empty.touch()
    text = load_text([str(first), str(empty), str(second)], teacher, block=32, most_tokens=1_500)
    assert len(text.train) + len(text.heldout) == 2 * 1_500 // 30
    mark = teacher.tokenizer.convert_tokens_to_ids("fee")
    assert (text.train == mark).any(axis=1).mean() == pytest.approx(0.5, abs=0.05)


def test_datasets_stream(teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = datasets.Dataset.from_dict(
        {"text": [drawn("aaa bbb ccc", 120, seed) for seed in range(40)]}
    ).to_iterable_dataset()
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **o: rows)
    assert load_text(["owner/name"], teacher, block=32).tokens > 1_000
    other = datasets.Dataset.from_dict({"words": ["a"]}).to_iterable_dataset()
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **o: other)
    with pytest.raises(TextError, match="no column 'text'"):
        load_text(["owner/name"], teacher, block=32)


def test_text_of_another_script_is_refused(teacher: Teacher, tmp_path: Path) -> None:
    path = tmp_path / "other.txt"
    path.write_text("членов ассамблеи " * 2000)
    with pytest.raises(TextError, match="unknown to the tokenizer"):
        load_text([str(path)], teacher, block=32)


def test_the_block_follows_the_teacher_and_can_be_set(
    teacher: Teacher, text_file: Path, tmp_path: Path, make_teacher: Any
) -> None:
    sources = [str(text_file)]
    long, short = (load_teacher(str(make_teacher(tmp_path / str(n), max_position_embeddings=n))) for n in (512, 24))
    assert [load_text(sources, one).block for one in (long, teacher, short)] == [128, 64, 24]
    assert load_text(sources, long, 48).block == 48
    assert load_text(sources, teacher).sha256 == load_text(sources, teacher, 64).sha256
    assert load_text(sources, teacher, 32).sha256 != load_text(sources, teacher).sha256  # by it trainings are keyed
    for block in (15, 25, 128):
        with pytest.raises(TextError, match=f"16 to 24 tokens .*, got {block}: choose another text_block"):
            load_text(sources, short, block)


def test_students_of_a_teacher_of_few_positions_are_trained_by_the_usual_recipe(
    text_file: Path, tmp_path: Path, make_teacher: Any, make_architecture: Any
) -> None:
    short = load_teacher(str(make_teacher(tmp_path / "t", max_position_embeddings=24)))
    recipe = replace(EMBEDDING, batch_tokens=256)
    text = Material(str(short.folder), [str(text_file)]).opened()[1]
    student = distill_student(short, make_architecture(short), text, recipe, 2_000, precision="float32")
    assert 0 < student.loss < 2
