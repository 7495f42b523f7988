"""Where a longer training begins: it says what it goes on from, or why from nothing."""

from dataclasses import replace

from distilsearch.distill.course import Course
from distilsearch.distill.recipes import default_recipe
from distilsearch.distill.store.beginnings import anew
from distilsearch.distill.store.trial import TRUNK

RECIPE = replace(default_recipe("embedding"), batch_tokens=256, warmup_tokens=256)


def test_it_is_said_what_a_training_goes_on_from_or_why_it_starts_anew(
    teacher, text, archive, make_architecture
) -> None:
    student, said = make_architecture(teacher), list[str]()
    course = Course(teacher, text, RECIPE, 2_048, 0, "float32")
    longer = course.training.at(8_192)
    assert anew(archive, longer, student) == ""
    (short,) = archive.distil(teacher, text, [student], RECIPE, course.training)
    assert anew(archive, longer, student) == ""
    seeded = replace(longer, seed=1, recipe="another")
    why = f"{student.key} is trained from its start: its training on 2,048 tokens"
    assert anew(archive, seeded, student) == f"{why} had another recipe and another seed"
    trunk = short.folder / TRUNK
    archive.distil(teacher, text, [student], RECIPE, longer, progress=lambda what, *_: said.append(what))
    goes_on = [words for words in said if "goes on after" in words]
    assert goes_on == [f"{student.key} goes on after 1,024 of 8,192 tokens, from {trunk}"]
    assert anew(archive, course.training.at(4_096), student) == f"{why} left nothing to go on from"


def test_nothing_is_said_of_a_student_that_is_there(teacher, text, archive, make_architecture) -> None:
    course = Course(teacher, text, RECIPE, 1_024, 0, "float32")
    archive.distil(teacher, text, [make_architecture(teacher)], RECIPE, course.training)
    assert anew(archive, course.training, make_architecture(teacher)) == ""
    assert "another seed" in anew(archive, replace(course.training, seed=1, tokens=2_048), make_architecture(teacher))
