"""One identity of a training: keys of all values that matter, those of 0.1.0 among them, and none of another."""

import json
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilsearch.architecture import Architecture
from distilsearch.distill.course import Course
from distilsearch.distill.job import Training
from distilsearch.distill.recipes import EMBEDDING
from distilsearch.distill.teachers.teacher import Teacher
from distilsearch.distill.texts.data import Text
from distilsearch.errors import InputError, RunError

OLD = Path(__file__).parents[1] / "old" / "0.1.0" / "trials"
MEMBER = Architecture("bert", {"layers": 1})
TRAINING = Training("t", "w", "x", "r", 100, 0, "float32")
WORDS = st.text(max_size=4)
TRAININGS = st.builds(Training, WORDS, WORDS, WORDS, WORDS, st.integers(1, 9), st.integers(0, 3), WORDS)


@given(TRAININGS, TRAININGS)
def test_equal_trainings_have_equal_keys_and_others_others(one: Training, other: Training) -> None:
    assert (one.key(MEMBER) == other.key(MEMBER)) == (one == other)
    assert (one.way(MEMBER) == other.way(MEMBER)) == (one == other.at(one.tokens))
    assert Training.from_json(json.loads(json.dumps(one.to_json()))) == one


@pytest.mark.parametrize("field", [field.name for field in fields(Training)])
def test_every_field_changes_the_key_and_all_but_tokens_the_way(field: str) -> None:
    value: Any = getattr(TRAINING, field)
    other = replace(TRAINING, **{field: value + 1 if isinstance(value, int) else f"{value}2"})
    assert other.key(MEMBER) != TRAINING.key(MEMBER)
    assert (other.way(MEMBER) == TRAINING.way(MEMBER)) == (field == "tokens")
    assert TRAINING.key(Architecture("bert", {"layers": 2})) != TRAINING.key(MEMBER)


@pytest.mark.parametrize("path", sorted(OLD.glob("*/trial.json")), ids=lambda path: path.parent.name[:8])
def test_keys_are_those_that_0_1_0_gave(path: Path) -> None:
    data = json.loads(path.read_text())
    assert Training.from_json(data["context"]).key(Architecture.from_json(data["architecture"])) == data["key"]


def test_a_field_of_a_newer_version_is_refused_by_name() -> None:
    with pytest.raises(RunError, match="a training with optimizer was written by a newer version"):
        Training.from_json(asdict(TRAINING) | {"optimizer": "muon"})


def test_a_course_is_named_by_what_was_resolved(teacher: Teacher, text: Text) -> None:
    course = Course.resolved(teacher, text, EMBEDDING, 1_000, 3, "auto", "cpu")
    assert course.training.precision in ("float32", "bf16")
    assert course.training == Training.of(teacher, text, EMBEDDING, 1_000, 3, course.precision)
    assert course.steps * course.step_tokens == pytest.approx(1_000, abs=course.step_tokens / 2)
    with pytest.raises(InputError, match="at least one token"):
        Course.resolved(teacher, text, EMBEDDING, 0, 3, "auto", "cpu")
