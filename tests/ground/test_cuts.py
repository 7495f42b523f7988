"""Which layers a student starts from: rules, subsets, and their spellings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilsearch.architecture import Architecture
from distilsearch.errors import InputError
from distilsearch.families import FAMILIES, TeacherFacts, family
from distilsearch.families.cuts import RULES, inherited_layers, spellings, spelt, subset_text, within

FACTS = TeacherFacts("t", "bert", layers=6, width=64, heads=4, ffn=128, vocabulary=97, positions=40, types=2)
SMALL = {"width": [32], "heads": [2], "ffn": [64]}


def _student(inherit, layers=3, **genes):
    return Architecture("bert", {"layers": layers, "inherit": inherit, **genes})


def test_the_canonical_spelling_is_the_subset() -> None:
    assert spelt(_student("even"), FACTS) == _student("0,3,5")
    assert spelt(_student("0,3,5"), FACTS) == _student("0,3,5")
    assert spelt(_student("none"), FACTS) == _student("none")
    assert spelt(Architecture("mobilebert", {"layers": 3, "inherit": "even"}), FACTS)["inherit"] == "even"


def test_one_layer_is_the_last_by_two_rules() -> None:
    assert [one["inherit"] for one in spellings(_student("last", 1), FACTS)] == ["5", "even", "last"]


@given(st.sampled_from(RULES), st.integers(1, 12), st.integers(0, 12))
def test_every_spelling_starts_from_the_same_layers(rule, layers, more) -> None:
    facts = TeacherFacts("t", "bert", layers + more, 64, 4, 128, 97, 40, 2)
    same = spellings(_student(rule, layers), facts)
    assert _student(rule, layers) in same
    assert len({tuple(inherited_layers(str(one["inherit"]), layers, facts.layers)) for one in same}) == 1
    assert {spelt(one, facts) for one in same} == {same[0]}


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_a_space_with_a_subset_spells_out_its_rules(name) -> None:
    facts = TeacherFacts("t", name, 6, 64, 4, 128, 97, 40, 2, kv_heads=2, head_size=16, bottleneck=32, stacks=2)
    space = family(name).space({"layers": [1, 2, 6], "inherit": ["even", "0,4"]}, facts)
    column = space.parameters[space.column("inherit")]
    assert column.choices == ("5", "0,5", "0,4", "0,1,2,3,4,5")
    assert not column.ordered
    students = space.decode(space.grid(10_000_000)[:: max(1, int(space.size) // 200)])
    assert {str(one["inherit"]).count(",") + 1 for one in students} <= {1, 2, 6}
    assert all(str(one["inherit"]).count(",") + 1 == one["layers"] for one in students)


def test_a_subset_alone_leaves_other_depths_out() -> None:
    space = family("bert").space({**SMALL, "layers": [1, 2], "inherit": ["0,5"]}, FACTS)
    assert [one["layers"] for one in space.decode(space.grid(10))] == [2]


def test_random_weights_stay_a_choice_but_not_of_a_student_as_deep_as_its_teacher() -> None:
    space = family("bert").space({**SMALL, "layers": [2, 6], "inherit": ["none", "1,5"]}, FACTS)
    starts = {(one["layers"], one["inherit"]) for one in space.decode(space.grid(10))}
    assert starts == {(2, "none"), (2, "1,5"), (6, "0,1,2,3,4,5")}


def test_without_a_teacher_rules_keep_their_names() -> None:
    space = family("bert").space({**SMALL, "layers": [1, 2], "inherit": ["even", "0,5"]})
    starts = [(one["layers"], one["inherit"]) for one in space.decode(space.grid(10))]
    assert starts == [(1, "even"), (2, "even"), (2, "0,5")]


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"inherit": ["5,3"]}, "do not rise"),
        ({"inherit": ["0,6"]}, "names layer 6, and the teacher's 6 layers are 0 to 5"),
        ({"inherit": ["0, 5"]}, "unknown value of inherit"),
        ({"layers": [3], "inherit": ["0,5"]}, "names as many of the teacher's layers as the student has"),
    ],
)
def test_senseless_subsets_are_refused(choices, message) -> None:
    with pytest.raises(InputError, match=message):
        family("bert").space({**SMALL, **choices}, FACTS)


def test_students_of_another_family_start_from_no_layers() -> None:
    with pytest.raises(InputError, match="from none of its layers"):
        family("mobilebert").space({"layers": [2], "inherit": ["0,5"]}, FACTS)


def test_a_space_finds_a_student_by_any_spelling() -> None:
    named = family("bert").space({**SMALL, "layers": [1, 2], "inherit": ["even"]}, FACTS)
    spelt_out = family("bert").space({**SMALL, "layers": [1, 2], "inherit": ["even", "0,4"]}, FACTS)
    (one, _), (other, *_) = named.decode(named.grid(2)), spelt_out.decode(spelt_out.grid(9))
    assert one != other
    assert within(spelt_out, one, FACTS) == other
    assert within(named, other, FACTS) == one
    assert within(named, Architecture("bert", {**one.values, "inherit": "0"}), FACTS) is None


def test_subsets_are_text() -> None:
    assert subset_text((0, 3, 5)) == "0,3,5"
    space = family("bert").space({**SMALL, "layers": [1], "inherit": [4]}, FACTS)
    assert space.decode(space.grid(1))[0]["inherit"] == "4"
