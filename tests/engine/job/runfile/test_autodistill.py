"""The preset of AutoDistill: its space for teachers of every size, its lengths, and whom it refuses."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilsearch.engine.job.runfile.config import WHOLE_FILE, Run
from distilsearch.engine.job.runfile.presets.autodistill import LARGE, NARROWEST, SPACE, space_of
from distilsearch.errors import InputError
from distilsearch.families import TeacherFacts, family

LEAST = {"teacher": "a folder", "text": ["a text"], "preset": "autodistill"}
BASE = TeacherFacts("base", "bert", 12, 768, 12, 3072, 30522, 512, 2, head="mlm")
BERT_LARGE = replace(BASE, name="large", layers=24, width=1024, heads=16, ffn=4096)


def test_a_teacher_as_large_as_the_papers_has_the_published_values() -> None:
    assert space_of(BERT_LARGE) == {gene: list(choices) for gene, choices in SPACE.items()}
    without = Run.parse(LEAST | {"space": {"layers": [24]}}).space_for().students
    assert without.size == 576


def test_a_smaller_one_has_the_same_shares() -> None:
    run = Run.parse(LEAST).fitted(BASE)
    assert run.space.genes == {
        "layers": (3, 6, 9, 12),
        "width": (96, 192, 288, 384),
        "bottleneck": (48, 72, 96, 120),
        "ffn": (288, 384, 480),
        "heads": (1, 2, 4, 8),
        "stacks": (2, 4, 6),
        "embedding": (96,),
    }
    assert run.fitted(BASE) == run


@given(
    width=st.integers(NARROWEST // 8, 256).map(lambda eighths: 8 * eighths),
    layers=st.integers(1, 48),
    seed=st.integers(0, 9),
)
def test_every_teacher_that_is_wide_enough_has_students_of_stock_shapes(width: int, layers: int, seed: int) -> None:
    teacher = replace(BASE, width=width, layers=layers)
    students = Run.parse(LEAST).fitted(teacher).space_for(teacher).students
    for student in students.decode(students.sample(4, np.random.default_rng(seed))):
        assert student["layers"] <= max(layers, 1)
        assert student["width"] <= min(width, LARGE["width"])
        assert student["bottleneck"] % student["heads"] == 0
        assert student["embedding"] <= student["width"]


def test_a_student_of_the_smallest_teacher_can_be_built_and_read_by_stock_transformers(tmp_path) -> None:
    from transformers import AutoModelForMaskedLM

    tiny = replace(BASE, width=NARROWEST, layers=2, vocabulary=100, positions=32)
    students = Run.parse(LEAST).fitted(tiny).space_for(tiny).students
    student = students.decode(students.grid(10_000)[-1:])[0]
    family("mobilebert").build(student).save_pretrained(str(tmp_path))
    assert AutoModelForMaskedLM.from_pretrained(str(tmp_path)).config.hidden_size == student["width"]


def test_a_mobilebert_teacher_has_students_no_larger_than_itself() -> None:
    facts = replace(BASE, family="mobilebert", layers=24, width=512, heads=4, ffn=512, bottleneck=128, stacks=4)
    facts = replace(facts, embedding=128)
    run = Run.parse(LEAST).fitted(facts)
    assert run.space.genes["bottleneck"] == (64, 96, 128)
    assert "embedding" not in run.space.genes  # the teacher's own
    assert run.space_for(facts).students.size > 100


def test_a_teacher_too_narrow_for_shares_is_refused_unless_the_space_is_given() -> None:
    narrow = replace(BASE, width=48)
    with pytest.raises(InputError, match=r'"autodistill" .* base is 48 wide: of less than 64 .* in \[space\] yourself'):
        Run.parse(LEAST).fitted(narrow)


def test_what_the_file_says_of_the_space_stays() -> None:
    run = Run.parse(LEAST | {"space": {"layers": [2], "width": [64, 128]}}).fitted(BASE)
    assert (run.space.genes["layers"], run.space.genes["width"]) == ((2,), (64, 128))
    assert run.space.genes["bottleneck"] == (48, 72, 96, 120)
    other = Run.parse(LEAST | {"space": {"family": "bert"}})
    assert other.fitted(BASE) == other
    kept = Run.parse(run.model_dump(mode="json"), WHOLE_FILE)
    assert kept.fitted(BERT_LARGE) == kept == run


def test_trials_take_a_twentieth_of_the_regular_schedule() -> None:
    assert Run.parse(LEAST).train.flash_tokens == 100_000
    assert Run.parse(LEAST | {"train": {"final_tokens": 40_000_000}}).train.flash_tokens == 2_000_000
    timed = Run.parse(LEAST | {"minutes": 30}).train
    assert (timed.flash_tokens, timed.final_tokens, timed.finish) == (0, 0, "front")  # a plan says both
    own = Run.parse(LEAST | {"train": {"final_tokens": 40_000_000, "flash_tokens": 5}})
    assert (own.train.flash_tokens, own.train.recipe, own.quality) == (5, "mobilebert", "accuracy")
