"""A share of the text: its first batches and no others, what the teacher said of them counting for the whole text."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilsearch.distill.course import Course
from distilsearch.distill.job import Training
from distilsearch.distill.recipes import EMBEDDING, View
from distilsearch.distill.store.archive import Archive
from distilsearch.distill.store.trial import Trial
from distilsearch.distill.targets import targets as module
from distilsearch.distill.targets.targets import Targets, learnt_blocks
from distilsearch.distill.teachers.teacher import Teacher
from distilsearch.distill.texts.data import Text
from distilsearch.errors import InputError

RECIPE = replace(EMBEDDING, batch_tokens=256, views=(View(),), warmup_tokens=512)
BLOCK = 32


def of_blocks(count: int) -> Text:
    blocks = np.arange(count * BLOCK, dtype=np.int32).reshape(count, BLOCK)
    return Text(blocks, blocks[:1], "of so many blocks")


def course(teacher: Teacher, text: Text, tokens: int, share: float = 1.0) -> Course:
    return Course(teacher, text, RECIPE, tokens, 0, "float32", share)


@given(st.integers(1, 500), st.integers(1, 500))
def test_a_share_holds_as_many_blocks_as_it_says(part: int, more: int) -> None:
    total = part + more
    assert learnt_blocks(of_blocks(total), part / total) == part


@pytest.mark.parametrize("share", [0.0, -1.0, 1.1, float("nan")])
def test_what_is_no_share_is_refused(share: float) -> None:
    with pytest.raises(InputError, match="above 0 and at 1 at most"):
        learnt_blocks(of_blocks(9), share)


def test_a_share_without_a_block_is_refused_with_the_one_that_would_do() -> None:
    with pytest.raises(InputError, match=r"0\.05 of the text's 9 training blocks of 32 .* at least share = 0\.1112"):
        learnt_blocks(of_blocks(9), 0.05)
    assert learnt_blocks(of_blocks(9), 0.1112) == 1


def test_epochs_of_a_share_meet_its_batches_alone(teacher: Teacher, text: Text) -> None:
    targets = Targets(teacher, text, RECIPE, "float32", share=0.25)
    met = [{int(targets.order(epoch)[place]) for place in range(targets.batches)} for epoch in range(3)]
    assert met == [set(range(targets.batches))] * 3
    assert 1 < targets.batches <= len(text.train) * 0.25 / targets.rows


def test_what_the_teacher_said_of_a_share_counts_for_all(
    teacher: Teacher, text: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, asked, ask = Targets(teacher, text, RECIPE, "float32", share=0.25), [], module.ask_teacher
    monkeypatch.setattr(module, "ask_teacher", lambda *a: (asked.append(1), ask(*a))[1])
    for step in range(2 * part.batches):
        part.batch(step)
    whole = Targets(teacher, text, RECIPE, "float32")
    for step in range(whole.batches):
        whole.batch(step)
    assert len(asked) == whole.batches


def test_a_share_below_a_batch_is_a_smaller_batch(teacher: Teacher, text: Text) -> None:
    short = course(teacher, text, 4_096, 2.5 / len(text.train))
    assert (short.step_tokens, short.steps) == (2 * text.block, 64)


def test_the_share_is_part_of_a_training_unless_it_is_the_whole_text(teacher: Teacher, text: Text) -> None:
    whole, part = course(teacher, text, 1_000).training, course(teacher, text, 1_000, 0.5).training
    assert "share" not in whole.to_json()
    assert part.to_json()["share"] == 0.5
    assert (part.whole, Training.from_json(part.to_json())) == (whole, part)


def test_a_training_on_the_whole_text_goes_on_from_none_on_a_share(
    teacher: Teacher, text: Text, archive: Archive, make_architecture: Any
) -> None:
    student = make_architecture(teacher)

    def trained(tokens: int, share: float) -> Trial:
        training = course(teacher, text, tokens, share).training
        (trial,) = archive.distil(teacher, text, [student], RECIPE, training)
        assert isinstance(trial, Trial)
        return trial

    part = trained(4_096, 0.5)
    assert "| share of the text | 0.5 |" in (part.student / "README.md").read_text()
    assert archive.trunks(course(teacher, text, 8_192).training, student) == []
    assert archive.trunks(course(teacher, text, 8_192, 0.5).training, student) == [part.folder / "trunk.safetensors"]
    whole = trained(8_192, 1.0)
    assert whole.key != part.key
    assert (part.folder / "trunk.safetensors").exists()  # nobody has passed it
