"""A teacher run layer by layer, against students that are cut from it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from distilsearch.distill.cuts.judging import shown
from distilsearch.distill.cuts.peeled import Peeled
from distilsearch.distill.heldout.heldout import heldout_loss
from distilsearch.distill.students.student import build_student
from distilsearch.distill.teachers.teacher import load_teacher
from distilsearch.distill.texts.data import load_text
from distilsearch.errors import TeacherError
from distilsearch.families import family
from distilsearch.families.cuts import GENE, subset_text

SUBSETS = [(0,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]


@pytest.mark.parametrize("kind", ["embedding", "mlm", "causal"])
def test_the_loss_of_a_subset_is_that_of_the_student_which_is_cut_so(
    kind: str, make_teacher, tmp_path: Path, text_file: Path
) -> None:
    teacher = load_teacher(str(make_teacher(tmp_path / "teacher", kind)))
    text = load_text([str(text_file)], teacher, block=32, heldout_fraction=0.15)
    losses = Peeled(teacher, text).losses(SUBSETS)
    own = family(teacher.facts.family).architecture(teacher.facts)
    for subset in SUBSETS:
        student = type(own)(own.family, {**own.values, "layers": len(subset), GENE: subset_text(subset)})
        model, basis = build_student(teacher, student, text)
        alone = heldout_loss(teacher, text, model, student, ending=teacher.ending.cut(basis))
        assert losses[subset] == pytest.approx(alone, abs=2e-5)
    assert min(losses, key=lambda one: losses[one]) == (0, 1, 2) or kind != "embedding"


def test_the_teacher_is_as_it_was(teacher, text) -> None:
    before = [name for name, _ in teacher.model("cpu").named_parameters()]
    ids = torch.from_numpy(text.heldout[:2].astype("int64"))
    with torch.no_grad():
        states = teacher.model("cpu")(ids).last_hidden_state
        Peeled(teacher, text).losses([(1,)])
        torch.testing.assert_close(teacher.model("cpu")(ids).last_hidden_state, states, rtol=0, atol=0)
    assert [name for name, _ in teacher.model("cpu").named_parameters()] == before


def test_a_teacher_whose_layers_are_not_in_one_list_cannot_be_judged(teacher, text) -> None:
    strange = replace(teacher, facts=replace(teacher.facts, layers=5))
    with pytest.raises(TeacherError, match="not in one list"):
        Peeled(strange, text)


def test_cuts_are_judged_on_blocks_that_are_trained_on(text) -> None:
    some = shown(text, 8)
    assert len(some.heldout) == 8
    assert {tuple(block) for block in some.heldout} <= {tuple(block) for block in text.train}
    assert some.sha256 != text.sha256
