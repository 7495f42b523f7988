"""Evaluations: opened by name of what they need, and scores that name themselves."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from distilsearch.distill.evaluate import evaluate_model, open_evaluation
from distilsearch.distill.evaluate.embedding import encode, read_pairs
from distilsearch.distill.heldout.heldout import heldout_loss
from distilsearch.distill.teachers.teacher import Teacher
from distilsearch.distill.texts.data import Text
from distilsearch.distill.training import distill_student
from distilsearch.errors import InputError, TrialError


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.csv"
    path.write_text('aaa bbb,aaa bbb,5\n"aaa ccc",aaa bbb,3\nfee fed,aaa bbb,0\nabc aaa,aac aaa,2\n')
    return path


def test_similarity_is_the_rank_correlation_of_cosines(teacher: Teacher, pairs: Path) -> None:
    left, right = ["aaa bbb", "aaa ccc", "fee fed", "abc aaa"], ["aaa bbb", "aaa bbb", "aaa bbb", "aac aaa"]
    a, b = (encode(teacher, side).numpy() for side in (left, right))
    expected = spearmanr(np.sum(a * b, axis=1), [5, 3, 0, 2]).statistic
    assert evaluate_model(str(teacher.folder), pairs) == pytest.approx(expected)
    pairs.write_text("aaa,aaa,1\nbbb,bbb,1\n")
    with pytest.raises(TrialError, match="is not a number"), pytest.warns(Warning, match="constant"):
        evaluate_model(teacher, pairs)


READ = (["aaa, bbb", "fee"], ["aaa", "fed"], [5.0, 0.5])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b'"aaa, bbb",aaa,5\nfee,fed,0.5\n'),
        ("a.csv", b'sentence1,sentence2,score\n"aaa, bbb",aaa,5\nfee,fed,0.5\n'),
        ("a.csv", b'\xef\xbb\xbf"Text A","Text B","similarity_score"\r\n"aaa, bbb", aaa, 5\r\n\r\nfee,fed,.5\r\n'),
        ("a.csv", b'score,split,sentence2,sentence1\n5,test,aaa,"aaa, bbb"\n0.5,test,fed,fee\n'),
        ("a.tsv", b"aaa, bbb\taaa\t5\nfee\tfed\t0.5\n"),
        ("a.csv", '"aaa, bbb",aaa,5\nfee,fed,0.5\n'.encode("utf-16")),
    ],
)
def test_pairs_are_read_with_and_without_a_header(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert read_pairs(tmp_path / name) == READ


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b,Zanzibar\na,b,2\n", "line 1: the score is no number; .* no header but a first line such as sentence1,"),
        ("a,b,1\na,b,\n", "line 2: the score is no number"),
        ("a,b,1\na,b,nan\n", "line 2: the score is no number"),
        ("a,b,1\n\na,b,high\n", "line 3: the score is no number"),
        ("a,b,1\nZanzibar,a,b,1\n", "line 2 has 4 cells; expected three, .*double quotes"),
        ("a;b;1\na;b;2\n", "line 1 has 1 cells; .*parted by semicolons"),
        ("a\tb\t1\n", "parted by tabs.*or call the file .tsv"),
        ("sentence1,sentence2,score\nZanzibar,b\n", "line 2 has 2 cells, fewer than the header names"),
        ("sentence1,sentence2,score\na,b,1\n", "holds 1 pairs; at least two"),
        ("", "is empty"),
        ('a,b,1\n"Zanzibar,b,2\n', "line 2 is never closed"),
        ("%PDF-1.4", "is a PDF"),
    ],
)
def test_pairs_that_are_off_are_named_by_line_and_not_quoted(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        read_pairs(path)
    assert str(path) in str(caught.value)
    assert "Zanzibar" not in str(caught.value)


PAIRS = 'sentence1,sentence2,score\n"aaa, bbb",aaa,5\nfee,fed,0.5\nabc,abd,1\n'


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(0, len(PAIRS) - 1), st.sampled_from('"0-.,;9e\n\tx\0'))
def test_changed_pairs_are_read_or_refused(tmp_path: Path, place: int, sign: str) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text(PAIRS[:place] + sign + PAIRS[place + 1 :])
    try:
        said = f"{path} {len(read_pairs(path))}"
    except InputError as error:
        said = str(error)
    assert str(path) in said


def test_the_heldout_loss_of_a_saved_student_is_that_of_its_training(
    teacher: Teacher, text: Text, make_architecture, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    from distilsearch.distill.recipes import recipe

    architecture = make_architecture(teacher)
    student = distill_student(
        teacher, architecture, text, recipe("embedding", batch_tokens=256), 1_000, precision="float32"
    )
    evaluation = open_evaluation("heldout", teacher=teacher, text=text)
    loss = heldout_loss(teacher, text, student.model, architecture)
    assert evaluation(student.save(tmp_path / "s")) == {"loss": pytest.approx(loss, abs=1e-6)}
    assert evaluation(teacher)["loss"] == pytest.approx(0, abs=1e-6)


def test_what_is_not_given_or_not_known_is_named(teacher: Teacher, pairs: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'similarity'"):
        open_evaluation("similarly", pairs)
    with pytest.raises(InputError, match="name a csv"):
        open_evaluation("similarity", pairs.with_name("absent.csv"))
    with pytest.raises(InputError, match="give both"):
        open_evaluation("heldout", teacher=teacher)


def test_a_student_of_another_vocabulary_is_refused(teacher: Teacher, text: Text, make_teacher, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    other = make_teacher(tmp_path / "other", words=["one", "two"])
    with pytest.raises(InputError, match=r"is no student of .* vocabulary"):
        open_evaluation("heldout", teacher=teacher, text=text)(other)


def test_equal_data_have_equal_keys(teacher: Teacher, text: Text, pairs: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.csv"
    copy.write_bytes(pairs.read_bytes())
    keys = [open_evaluation("similarity", path).heldout for path in (pairs, copy)]
    copy.write_text("aaa,bbb,1\nbbb,ccc,2\n")
    assert keys[0] == keys[1] != open_evaluation("similarity", copy).heldout
    assert open_evaluation("heldout", teacher=teacher, text=text).heldout not in keys
