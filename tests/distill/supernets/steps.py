"""Small super-networks for the tests of this room."""

from dataclasses import replace
from typing import Any

from distilsearch.distill.course import Course
from distilsearch.distill.job import Training
from distilsearch.distill.recipes import EMBEDDING, Recipe, View
from distilsearch.distill.supernets.nest import Nest
from distilsearch.distill.supernets.superlm import SuperTraining, _begin
from distilsearch.distill.teachers.teacher import Teacher
from distilsearch.distill.texts.data import Text
from distilsearch.families import family
from distilsearch.space import SearchSpace

TINY = replace(EMBEDDING, batch_tokens=256, views=(View(), View(16, 0.2)), warmup_tokens=500)
GENES: dict[str, Any] = {
    "layers": [1, 2, 3],
    "width": [32, 48],
    "heads": [1, 2, 3],
    "ffn": [64, 96],
    "inherit": ["even"],
}


def space_of(teacher: Teacher, **genes: Any) -> SearchSpace:
    return family(teacher.facts.family).space(GENES | genes, teacher.facts)


def super_of(
    teacher: Teacher, text: Text, recipe: Recipe, tokens: int, rule: str = "sandwich", seed: int = 0, **genes: Any
) -> tuple[Any, ...]:
    """What `train_superlm` takes before the folder."""
    training = Training.of(teacher, text, recipe, tokens, seed, "float32")
    space = space_of(teacher, **genes)
    return teacher, text, space, recipe, SuperTraining.of(training, space, teacher, rule)


def run_of(teacher: Teacher, text: Text, recipe: Recipe, tokens: int, rule: str = "sandwich") -> Any:
    """The training of a super-network before its first step."""
    job = super_of(teacher, text, recipe, tokens, rule)
    course = Course(teacher, text, recipe, tokens, 0, "float32")
    return _begin(course, Nest.of(job[2], teacher.facts), job[4], "cpu", 1 << 30)
