"""Held-out losses on the way cost at most a tenth of a training beside its end, and stand beside that end."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilsearch.distill.course import Course
from distilsearch.distill.heldout.heldout import held_out, heldout_loss
from distilsearch.distill.heldout.sparing import FEW, LEAST, MUCH, PASSES, SHARE, enough, looked, looks, remark, share
from distilsearch.distill.recipes import default_recipe
from distilsearch.distill.steps.runs import EVALUATIONS
from distilsearch.distill.store.archive import Archive
from distilsearch.distill.store.bought import TEXT, bought
from distilsearch.distill.store.trial import Trial, read_trial
from distilsearch.distill.students.card import card
from distilsearch.distill.students.student import build_student
from distilsearch.distill.teachers.teacher import Teacher, load_teacher
from distilsearch.distill.texts.data import Text, load_text
from distilsearch.distill.texts.probe import Probe
from distilsearch.distill.training import distill_student, start
from distilsearch.families import family
from distilsearch.testing.teachers import write_text

RECIPE = replace(default_recipe("embedding"), batch_tokens=256, warmup_tokens=256)
BETWEEN = len(EVALUATIONS) - 1
Make = Callable[..., Any]


@pytest.fixture(scope="module")
def long_text(teacher: Teacher, tmp_path_factory: pytest.TempPathFactory) -> Text:
    """200 blocks of 32, of which 80 are held out."""
    file = write_text(tmp_path_factory.mktemp("long") / "words.txt")
    return load_text([str(file)], teacher, block=32, heldout_fraction=0.4)


@given(tokens=st.integers(1, 10**8), heldout=st.integers(4, 2_000), block=st.integers(16, 512))
def test_looks_fit_into_a_tenth_or_are_few(tokens: int, heldout: int, block: int) -> None:
    plan = looks(tokens, heldout, block, BETWEEN)
    sizes = [heldout if n is None else n for n in (plan.start, *[plan.between] * BETWEEN)]
    assert all(0 < n <= heldout for n in sizes)
    again = {n for n in sizes if n < heldout}  # at the end, of the kinds of teacher whose blocks are asked anew
    cost = (heldout + sum(sizes) + sum(again)) * block
    if heldout > FEW:
        assert cost <= max(SHARE * PASSES * tokens, (heldout + (BETWEEN + 2) * FEW) * block)


@given(tokens=st.integers(1, 10**7), more=st.integers(0, 10**7), heldout=st.integers(4, 2_000))
def test_a_longer_training_looks_at_as_many_on_the_way_and_no_fewer_at_its_start(tokens, more, heldout) -> None:
    short, long = looks(tokens, heldout, 128, BETWEEN), looks(tokens + more, heldout, 128, BETWEEN)
    assert short.between == long.between
    assert (long.start or heldout) >= (short.start or heldout)


@pytest.mark.parametrize(
    ("tokens", "most"), [(1_024, 80 + 4 * FEW), (20_000, 80 + 4 * FEW), (100_000, 80 + 80 + 3 * FEW)]
)
def test_the_tokens_that_a_students_losses_are_taken_on_are_counted(
    teacher: Teacher, long_text: Text, make_architecture: Make, tokens: int, most: int
) -> None:
    assert len(long_text.heldout) == 80
    run = start(teacher, make_architecture(teacher), long_text, RECIPE, tokens, precision="float32")
    measured: list[int] = []

    def count(model: Any, args: Any, kwargs: Any) -> None:
        if not model.training:
            measured.append(kwargs["input_ids"].numel())

    run.model.register_forward_pre_hook(count, with_kwargs=True)
    run.begin()
    for step in (*sorted(run.evaluations - {run.steps}), run.steps):
        run.step = step
        run._look()
    assert sum(measured) <= most * long_text.block
    assert sum(measured) < 4 * 80 * long_text.block  # which every training cost before
    if tokens == 100_000:
        assert sum(measured) <= SHARE * PASSES * tokens


def test_the_beginning_stands_beside_the_end_by_what_its_blocks_differ_there(
    teacher: Teacher, long_text: Text, make_architecture: Make
) -> None:
    architecture = make_architecture(teacher)
    student = distill_student(teacher, architecture, long_text, RECIPE, 2_048, precision="float32")
    model, basis = build_student(teacher, architecture, long_text)
    first = held_out(teacher, long_text, model, architecture, ending=teacher.ending.cut(basis), most=FEW).loss
    end = held_out(teacher, long_text, student.model, architecture, ending=student.cut, also=(FEW,))
    assert student.loss == end.loss == pytest.approx(heldout_loss(teacher, long_text, student.model, architecture))
    assert end.first[FEW] == held_out(teacher, long_text, student.model, architecture, most=FEW).loss
    assert student.curve[0] == (0, pytest.approx(first + end.loss - end.first[FEW]))
    assert [tokens for tokens, _ in student.curve] == [0, 512, 1_024, 2_048]
    assert student.blocks == dict.fromkeys((0, 512, 1_024), FEW)
    rows = card(student).partition("## Curve")[2].splitlines()
    assert f"| 0 tokens | {student.curve[0][1]:.4f}; on 32 of 80 held-out blocks |" in rows
    assert f"| 2,048 tokens | {student.loss:.4f} |" in rows


def test_a_trial_says_on_how_many_blocks_it_began(
    teacher: Teacher, long_text: Text, make_architecture: Make, tmp_path: Path
) -> None:
    archive, student = Archive(tmp_path / "trials"), make_architecture(teacher)

    def trained(tokens: int) -> Trial:
        course = Course.resolved(teacher, long_text, RECIPE, tokens, 0, "float32", "cpu")
        (trial,) = archive.distil(teacher, long_text, [student], RECIPE, course.training)
        return read_trial(trial.folder)

    short, longer = trained(2_048), trained(32_768)
    assert (short.untrained_blocks, longer.untrained_blocks) == (FEW, None)
    course = Course.resolved(teacher, long_text, RECIPE, 2_048, 0, "float32", "cpu")
    words = bought(archive, short, course, Probe(None, why="none was asked for"), {})[TEXT].words
    assert words.endswith(" before training, on 32 of 80 held-out blocks)")


def test_a_longer_training_that_goes_on_has_the_curve_of_one_that_does_not(
    teacher: Teacher, long_text: Text, make_architecture: Make, tmp_path: Path
) -> None:
    architecture, asked = make_architecture(teacher), {"precision": "float32"}
    distill_student(teacher, architecture, long_text, RECIPE, 8_192, folder=tmp_path, **asked)
    assert looks(8_192, 80, 32, BETWEEN).start == FEW
    assert looks(32_768, 80, 32, BETWEEN).start is None
    on = distill_student(teacher, architecture, long_text, RECIPE, 32_768, folder=tmp_path, **asked)
    alone = distill_student(teacher, architecture, long_text, RECIPE, 32_768, **asked)
    assert on.curve == alone.curve


@pytest.mark.parametrize("kind", ["mlm", "causal"])
def test_other_kinds_of_teacher_are_asked_of_the_first_blocks_anew(
    kind: str, text_file: Path, make_teacher: Make, make_architecture: Make, tmp_path: Path
) -> None:
    teacher = load_teacher(str(make_teacher(tmp_path / kind, kind)))
    text = load_text([str(text_file)], teacher, block=32, heldout_fraction=0.2)
    model, own = teacher.model(), family(teacher.facts.family).architecture(teacher.facts)
    held = held_out(teacher, text, model, own, also=(8,))
    assert held.first[8] == held_out(teacher, text, model, own, most=8).loss
    assert held.first[8] != held.loss


@given(tokens=st.integers(1, 10**8), heldout=st.integers(33, 2_000), block=st.integers(16, 512))
def test_looks_keep_their_share_where_held_out_blocks_are_few_enough(tokens: int, heldout: int, block: int) -> None:
    fewer = min(heldout, enough(tokens, block, BETWEEN))
    if fewer > FEW:
        assert share(tokens, fewer, block, BETWEEN) <= SHARE / (1 + SHARE) * (1 + 1e-9)
    assert share(tokens, heldout, block, BETWEEN) >= share(4 * tokens, heldout, block, BETWEEN) * (1 - 1e-9)
    words = remark(tokens, heldout, block, BETWEEN)
    assert bool(words) == (share(tokens, heldout, block, BETWEEN) > MUCH and heldout > max(LEAST, fewer))


def test_whoever_measures_more_than_they_train_is_told_what_to_say_instead() -> None:
    words = remark(160_000, 2_000, 128, BETWEEN)
    assert words.startswith("measuring a student on 2,000 held-out blocks takes about 36% of a training of 160,000 tok")
    assert words.endswith("with text_heldout = 279 it would take 9%")
    assert remark(160_000, 570, 128, BETWEEN) == remark(0, 2_000, 128, BETWEEN) == ""


def test_short_trainings_pass_over_fewer_blocks_than_long_ones() -> None:
    assert looked(10**9, FEW, 128, BETWEEN) == (1 + len(EVALUATIONS)) * FEW
    assert looked(10**9, 10 * FEW, 128, BETWEEN) == (2 * 10 + BETWEEN) * FEW
    assert looked(1, 10 * FEW, 128, BETWEEN) == (10 + 1 + BETWEEN) * FEW
