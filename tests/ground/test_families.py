"""The contract of every family, and what BERT alone promises."""

import numpy as np
import pytest
import torch

from distilsearch import Serving
from distilsearch.errors import InputError
from distilsearch.families import FAMILIES, TeacherFacts, family
from distilsearch.families.bert import inherited_layers
from distilsearch.lowering import flops, operators, parameter_count, tabulate

SMALL = {"layers": [1, 2], "width": [32, 64], "heads": [2, 4], "ffn": [48, 64], "vocabulary": [97], "positions": [40]}
TEACHER = TeacherFacts("t", "bert", layers=4, width=64, heads=4, ffn=128, vocabulary=97, positions=40, types=2)


@pytest.fixture(params=sorted(FAMILIES))
def kind(request):
    return family(request.param)


@pytest.fixture(params=["embedding", "mlm"])
def students(request, kind):
    space = kind.space(SMALL | {"head": [request.param]})
    return space.decode(space.sample(4, np.random.default_rng(0)))


def test_parameters_are_counted_as_the_model_has_them(kind, students) -> None:
    for student in students:
        assert parameter_count(student) == sum(p.numel() for p in kind.build(student).parameters())


def test_what_is_served_has_the_right_shape(kind, students) -> None:
    ids = torch.randint(0, 97, (3, 16), generator=torch.Generator().manual_seed(0))
    for student in students:
        with torch.no_grad():
            served = kind.serve(kind.build(student), student, ids, torch.ones_like(ids))
        if student["head"] == "embedding":
            assert served.shape == (3, student["width"])
            torch.testing.assert_close(served.norm(dim=-1), torch.ones(3))
        else:
            assert served.shape == (3, 16, 97)


def test_tables_over_codes_equal_sums_over_operators(kind) -> None:
    space, serving = kind.space(), Serving(batch=3, sequence=20)
    codes = space.sample(50, np.random.default_rng(1))
    table = tabulate(space, serving, lambda ops: np.array([[o.flops, o.parameters] for o in ops], dtype=float))
    for row, architecture in zip(table(codes), space.decode(codes), strict=True):
        assert row[0] == flops(architecture, serving)
        assert row[1] == parameter_count(architecture)


def test_the_teacher_is_an_architecture_of_its_family(kind) -> None:
    architecture = kind.architecture(TEACHER)
    facts = kind.facts(kind.config(architecture), "t", "embedding")
    assert facts == TEACHER
    assert operators(architecture, Serving())


def test_a_student_of_the_teachers_own_shape_inherits_everything(kind) -> None:
    architecture = kind.architecture(TEACHER)
    torch.manual_seed(0)
    teacher, student = kind.build(architecture), kind.build(architecture)
    kind.inherit(student, teacher, architecture)
    for mine, theirs in zip(student.parameters(), teacher.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_space_with_a_teacher_takes_its_constants_and_its_limits(kind) -> None:
    space = kind.space({"layers": [1, 2, 4], "width": [32, 64], "heads": [2]}, TEACHER)
    sample = space.decode(space.sample(20, np.random.default_rng(0)))
    assert {a["vocabulary"] for a in sample} == {97}
    assert max(a["ffn"] for a in sample) <= TEACHER.ffn
    with pytest.raises(InputError, match="more than the teacher's 4"):
        kind.space({"layers": [2, 5]}, TEACHER)
    with pytest.raises(InputError, match="the teacher's own"):
        kind.space({"vocabulary": [50]}, TEACHER)


def test_inheritance_is_no_gene_of_a_student_as_deep_as_its_teacher(kind) -> None:
    space = kind.space(SMALL | {"layers": [4], "vocabulary": [97]}, TEACHER)
    assert len({a["inherit"] for a in space.decode(space.grid(10_000))}) == 1


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"layer": [1]}, "did you mean 'layers'"),
        ({"layers": []}, "no choices"),
        ({"width": [100], "heads": [7]}, "heads must divide width"),
        ({"inherit": ["evenly"]}, "did you mean 'even'"),
        ({"layers": [0]}, "positive whole number"),
        ({"width": ["wide"]}, "positive whole number"),
    ],
)
def test_senseless_choices_are_refused(choices, message) -> None:
    with pytest.raises(InputError, match=message):
        family("bert").space(choices)


def test_bert_does_not_decode() -> None:
    with pytest.raises(InputError, match="bert models encode"):
        family("bert").sites(Serving(phase="decode"))


def test_layers_are_inherited_in_order() -> None:
    assert inherited_layers("even", 4, 12) == [0, 4, 7, 11]
    assert inherited_layers("first", 2, 6) == [0, 1]
    assert inherited_layers("last", 2, 6) == [4, 5]


def test_an_unknown_family_names_the_known() -> None:
    with pytest.raises(InputError, match="did you mean 'bert'"):
        family("brt")
