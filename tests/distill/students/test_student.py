"""A saved student is stock: transformers and sentence-transformers load it, with the same outputs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoModelForMaskedLM

from distilsearch.distill.evaluate.embedding import encode, sts_spearman
from distilsearch.distill.students.student import Student, build_student
from distilsearch.distill.teachers.teacher import Teacher, load_teacher
from distilsearch.distill.texts.data import Text, load_text
from distilsearch.errors import InputError, TrialError

SENTENCES = ["aaa bbc cde", "fee", "abc abd abe bcd bce dde fed fad", "cab"]


def _student(teacher: Teacher, text: Text, architecture: Any) -> Student:
    model, _ = build_student(teacher, architecture, text)
    return Student(architecture, model, teacher, 0.5, ((1, 0.5),), 1.0, 1)


def test_transformers_and_sentence_transformers_load_it(
    teacher: Teacher, text: Text, make_architecture: Any, tmp_path: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    student = _student(teacher, text, make_architecture(teacher))
    path = student.save(tmp_path / "student")
    ours = encode(student, SENTENCES)
    theirs = SentenceTransformer(str(path), device="cpu").encode(SENTENCES)
    np.testing.assert_allclose(theirs, ours.numpy(), atol=1e-5)
    stock = AutoModel.from_pretrained(str(path)).eval()
    ids = torch.from_numpy(text.heldout[:2].astype(np.int64))
    with torch.no_grad():
        expected = student.model(input_ids=ids).last_hidden_state
        torch.testing.assert_close(stock(input_ids=ids).last_hidden_state, expected)


def test_a_saved_student_can_teach(teacher: Teacher, text: Text, make_architecture: Any, tmp_path: Path) -> None:
    path = _student(teacher, text, make_architecture(teacher)).save(tmp_path / "student")
    again = load_teacher(str(path))
    assert (again.kind, again.facts.width, again.facts.layers) == ("embedding", 32, 2)


def test_saving_replaces_the_older_student_and_leaves_what_was_added(
    teacher: Teacher, text: Text, make_architecture: Any, tmp_path: Path
) -> None:
    _student(teacher, text, make_architecture(teacher)).save(tmp_path / "student")
    (tmp_path / "student" / "onnx").mkdir()
    (tmp_path / "student" / "onnx" / "model.onnx").write_text("converted")
    (tmp_path / "student" / "config.json").write_text("{}")
    _student(teacher, text, make_architecture(teacher)).save(tmp_path / "student")
    assert (tmp_path / "student" / "onnx" / "model.onnx").read_text() == "converted"
    assert load_teacher(str(tmp_path / "student")).facts.layers == 2
    assert [path.name for path in tmp_path.iterdir()] == ["student"]


def test_masked_lm_students_load(mlm_teacher: Teacher, text_file: Path, make_architecture: Any, tmp_path: Path) -> None:
    text = load_text([str(text_file)], mlm_teacher, block=32)
    student = _student(mlm_teacher, text, make_architecture(mlm_teacher))
    stock = AutoModelForMaskedLM.from_pretrained(str(student.save(tmp_path / "s"))).eval()
    ids = torch.from_numpy(text.heldout[:2].astype(np.int64))
    with torch.no_grad():
        torch.testing.assert_close(stock(input_ids=ids).logits, student.model(input_ids=ids).logits)


@pytest.mark.parametrize(
    ("genes", "message"),
    [
        ({"positions": 48}, "positions of 48 is not the teacher's 64"),
        ({"types": 1}, "types of 1 is not the teacher's 2"),
        ({"positions": 16, "inherit": "none"}, "blocks of 32 tokens do not fit a student of 16"),
    ],
)
def test_a_student_whose_tables_do_not_fit_is_refused(
    genes: dict[str, Any], message: str, teacher: Teacher, text: Text, make_architecture: Any
) -> None:
    with pytest.raises(TrialError, match=message):
        build_student(teacher, make_architecture(teacher, **genes), text)


def test_sentence_similarity_of_a_csv(teacher: Teacher, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.csv"
    pairs.write_text('aaa bbb,aaa bbb,5\n"aaa ccc",aaa bbb,3\nfee fed,aaa bbb,0\n')
    assert -1 <= sts_spearman(teacher, pairs) <= 1
    pairs.write_text("aaa,bbb\n")
    with pytest.raises(InputError, match=r"line 1 has 2 cells; expected three"):
        sts_spearman(teacher, pairs)
