"""Choices that are more than the teacher's: left out with a note where others remain, else refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilsearch.errors import InputError
from distilsearch.families import TeacherFacts, family
from distilsearch.families.shared import too_large

FACTS = TeacherFacts("t", "bert", layers=6, width=64, heads=4, ffn=128, vocabulary=97, positions=40, types=2)


@given(st.sets(st.integers(1, 12), min_size=1), st.sets(st.sampled_from([16, 32, 64, 128, 256]), min_size=1))
def test_a_space_with_choices_that_are_too_large_is_the_one_without(layers: set[int], ffn: set[int]) -> None:
    given = {"layers": sorted(layers), "ffn": sorted(ffn), "width": [32], "heads": [1]}
    fitting = {"layers": [n for n in given["layers"] if n <= 6], "ffn": [n for n in given["ffn"] if n <= 128]}
    if not all(fitting.values()):
        with pytest.raises(InputError, match="is more than the teacher's"):
            family("bert").space(given, FACTS)
        return
    space, plain = family("bert").space(given, FACTS), family("bert").space(given | fitting, FACTS)
    assert space.parameters == plain.parameters
    said = too_large(given, space, FACTS)
    assert len(said) == sum(len(given[gene]) - len(fitting[gene]) for gene in fitting)
    assert too_large(given | fitting, plain, FACTS) == []


def test_the_note_says_which_choice_and_why() -> None:
    given = {"layers": [2, 12], "width": [32], "heads": [1], "ffn": [64]}
    (said,) = too_large(given, family("bert").space(given, FACTS), FACTS)
    assert said == "layers = 12 is left out: the teacher has 6, and no student is larger than its teacher"


def test_where_what_is_left_has_no_architecture_the_error_names_what_was_left_out_and_why() -> None:
    given = {"layers": [2], "width": [40, 96], "heads": [3], "ffn": [64, 256]}
    with pytest.raises(InputError, match="no architecture of this space is valid") as caught:
        family("bert").space(given, FACTS)
    for left in ("width = 96 is left out: the teacher has 64", "ffn = 256 is left out: the teacher has 128"):
        assert left in str(caught.value)
    assert "width = 40" in str(caught.value)


def test_students_of_another_family_are_as_large_as_one_likes() -> None:
    other = TeacherFacts("t", "llama", layers=2, width=64, heads=4, ffn=128, vocabulary=97, positions=40, types=2)
    given = {"layers": [2, 12], "width": [32], "heads": [1], "ffn": [64]}
    space = family("bert").space(given, other)
    assert too_large(given, space, other) == []
    assert {parameter.name: parameter.choices for parameter in space.parameters}["layers"] == (2, 12)
