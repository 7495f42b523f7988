"""Students that were trained when layers were named by rules are found by the layers, and the reverse."""

from dataclasses import replace

import pytest

from distilsearch.distill.course import Course
from distilsearch.distill.recipes import EMBEDDING
from distilsearch.distill.store import distilled as module
from distilsearch.distill.store.respelt import known
from distilsearch.distill.store.trial import TRUNK
from distilsearch.distill.training import distill_student
from distilsearch.families import family

TINY = replace(EMBEDDING, batch_tokens=256, warmup_tokens=1_000)


@pytest.fixture
def distil(teacher, text, archive):
    def run(students, tokens=2_000, **conditions):
        course = Course(teacher, text, TINY, tokens, 0, "float32")
        return archive.distil(teacher, text, students, TINY, course.training, **conditions)

    return run


def test_a_student_is_found_by_each_of_its_spellings(distil, archive, make_architecture, teacher, monkeypatch) -> None:
    (named,) = distil([make_architecture(teacher)])
    monkeypatch.setattr(module, "train", None)
    spelt = make_architecture(teacher, inherit="0,2")
    (again,) = distil([spelt])
    assert again.architecture == spelt
    assert again.key == again.training.key(spelt) != named.key
    assert (again.loss, again.curve, again.facts) == (named.loss, named.curve, named.facts)
    assert archive.intact(again)
    assert archive.find(named.key) == named  # whoever knows it by the rule still does
    (last,) = distil([make_architecture(teacher, inherit="even")])
    assert last == named


def test_a_longer_training_goes_on_from_a_trunk_of_another_spelling(distil, make_architecture, teacher, text) -> None:
    distil([make_architecture(teacher)], 4_000)
    steps: list[float] = []
    spelt = make_architecture(teacher, inherit="0,2")
    (long,) = distil([spelt], 12_000, progress=lambda what, done, total: steps.append(done) if total else None)
    assert 0 < steps[0] < 4_000
    assert long.curve == distill_student(teacher, spelt, text, TINY, 12_000, precision="float32").curve
    assert (long.folder / TRUNK).exists()


def test_a_space_is_told_what_is_known_as_it_spells_it(distil, archive, make_architecture, teacher, text) -> None:
    students = [make_architecture(teacher, layers=n) for n in (1, 2)]
    distil([*students, make_architecture(teacher, inherit="0,2")])
    genes = {"layers": [1, 2], "width": [32], "heads": [2], "ffn": [64], "inherit": ["even", "0,1"]}
    space = family("bert").space(genes, teacher.facts)
    training = Course(teacher, text, TINY, 2_000, 0, "float32").training
    found = list(known(archive, [training], space, teacher.facts))
    assert {trial.architecture["inherit"] for trial in found} == {"2", "0,2"}
    assert len(found) == 2
