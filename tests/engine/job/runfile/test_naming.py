"""An architecture that is named by genes has the key that a run gives it, however its layers are spelt."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilsearch.distill.teachers.teacher import load_teacher
from distilsearch.engine.job.runfile.config import Run
from distilsearch.engine.job.runfile.naming import Naming
from distilsearch.errors import InputError
from distilsearch.families import family
from distilsearch.space import SearchSpace
from distilsearch.testing.teachers import write_teacher

GENES = {"layers": [1, 2, 3], "width": [32, 64], "heads": [2], "ffn": [64]}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_teacher(tmp_path_factory.mktemp("teacher"), num_hidden_layers=4)


def run_of(teacher: str | Path, **space: object) -> Run:
    return Run.parse({"name": "mine", "teacher": str(teacher), "text": ["x"], "trials": 3, "space": GENES | space})


@pytest.mark.parametrize("space", [{}, {"inherit": ["last"]}, {"inherit": ["0,1", "even", "3"]}, {"cuts": 0}])
def test_every_member_of_a_search_has_its_key_when_it_is_named_by_its_genes(teacher: Path, space: dict) -> None:
    run = run_of(teacher, **space)
    facts = load_teacher(str(teacher)).facts
    students, naming = run.students(facts), Naming.of(run)
    members = students.decode(students.grid(1000))
    assert members
    for member in members:
        named = {gene: member[gene] for gene in ("layers", "width", "inherit")}  # the others the run fixes
        assert naming.one(named).key == member.key
    assert naming.remarks(members) == []


def test_a_rule_and_the_layers_that_it_names_are_one_student(teacher: Path) -> None:
    naming = Naming.of(run_of(teacher))
    shape = {"layers": 2, "width": 32}
    assert naming.one(shape | {"inherit": "even"}) == naming.one(shape | {"inherit": "0,3"}) == naming.one(shape)
    assert naming.one(shape | {"inherit": "last"})["inherit"] == "2,3"


def test_a_file_of_architectures_is_read_so_too(teacher: Path, tmp_path: Path) -> None:
    naming = Naming.of(run_of(teacher))
    (tmp_path / "some.csv").write_text("layers,width,inherit\n2,32,even\n3,64,\n")
    assert naming.those_in(tmp_path / "some.csv") == [
        naming.one({"layers": 2, "width": 32, "inherit": "even"}),
        naming.one({"layers": 3, "width": 64}),
    ]


def test_where_no_teacher_is_known_the_key_is_said_to_be_another(tmp_path: Path) -> None:
    shape = {"layers": 2, "width": 384, "heads": 12, "ffn": 768}
    for naming, cure in ((Naming.of(None), "--space"), (Naming.of(run_of("some/hub-model")), "some/hub-model")):
        said = naming.remarks([naming.one(shape)])[0]
        assert "inherit=even by name" in said
        assert cure in said
        assert "by name" not in "".join(naming.remarks([naming.one(shape | {"inherit": "0,5"})]))


def test_what_could_not_be_held_against_a_teacher_that_is_not_here_is_said(teacher: Path) -> None:
    naming = Naming.of(run_of("some/hub-model", vocabulary=[99]))
    said, outside = naming.remarks([naming.one({"layers": 99, "width": 32, "inherit": "none"})])
    assert outside.startswith("this run searches layers 1, 2, 3: it makes no student of layers=99, ")
    assert said.startswith("the teacher some/hub-model is not here: activation=gelu")
    assert "positions=512" in said
    assert "vocabulary" not in said  # which the run file names
    assert "whether sizes are no more than its own was not checked" in said
    assert naming.remarks([]) == []
    there = Naming.of(run_of(teacher))
    assert there.remarks([there.one({"layers": 1, "width": 32})]) == []


def test_a_quickstart_that_is_not_installed_is_a_teacher_that_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distilsearch.distill.teachers.named.QUICKSTART_MODULE", "no_such_package")
    naming = Naming.of(run_of("quickstart", width=[384], heads=[12], ffn=[768]))
    said, more = naming.remarks([naming.one({"layers": 2})])
    assert more.startswith("the teacher quickstart is not here: ")
    assert said.endswith("the teacher quickstart would have to be here")


def test_a_student_may_be_other_than_what_a_run_searches_and_that_is_said(teacher: Path) -> None:
    naming = Naming.of(run_of(teacher))
    large = naming.one({"layers": 12, "width": 768, "heads": 12, "ffn": 3072})
    assert large["layers"] == 12
    (said,) = naming.remarks([large, naming.one({"layers": 1, "width": 96})])
    assert "this run searches width 32, 64, layers 1, 2, 3" in said or "layers 1, 2, 3, width 32, 64" in said
    assert "width=768 and 96" in said
    for start in ("even", "0,2", "1,3", "none"):  # which changes no shape
        assert naming.remarks([naming.one({"layers": 2, "width": 32, "inherit": start})]) == []


@given(st.data())
def test_what_is_suggested_for_a_gene_that_lacks_is_what_the_run_searches(teacher: Path, data: st.DataObject) -> None:
    space = {
        "layers": data.draw(st.lists(st.sampled_from([1, 2, 3, 4]), min_size=2, unique=True)),
        "width": data.draw(st.lists(st.sampled_from([16, 32, 64]), min_size=2, unique=True)),
    }
    naming = Naming.of(run_of(teacher, heads=[1], ffn=[32], **space))
    named = data.draw(st.sampled_from(["layers", "width"]))
    value = data.draw(st.sampled_from(space[named]))
    with pytest.raises(InputError) as caught:
        naming.one({named: value})
    example = re.search(r"such as ([^;]*);", str(caught.value))
    assert example is not None
    genes = {gene: int(text) for gene, _, text in (word.partition("=") for word in example[1].split())}
    assert naming.remarks([naming.one(genes)]) == []


def test_a_value_that_is_impossible_is_answered_by_what_the_run_searches(teacher: Path) -> None:
    with pytest.raises(InputError, match=r"; this run searches heads 2$"):
        Naming.of(run_of(teacher)).one({"layers": 2, "width": 32, "heads": 5})
    (teacher.parent / "some.csv").write_text("layers,width,heads\n2,32,5\n")
    with pytest.raises(InputError, match=r"some.csv, line 2: .*; this run searches heads 2$"):
        Naming.of(run_of(teacher)).those_in(teacher.parent / "some.csv")


def test_genes_that_a_run_searches_but_not_together_are_said(teacher: Path) -> None:
    students = family("bert").space(GENES)
    few = SearchSpace.of([one for one in students.decode(students.grid(99)) if one["layers"] * 32 <= one["width"]])
    naming = replace(Naming.of(run_of(teacher)), students=few)
    (said,) = naming.remarks([naming.one({"layers": 3, "width": 32})])
    assert said.startswith("this run searches ")
    assert "layers=3, width=32, but not together: it makes no student" in said


def test_a_run_that_makes_no_student_says_so_instead_of_giving_keys(teacher: Path) -> None:
    naming = Naming.of(run_of(teacher, layers=[99]))
    _, said, _ = naming.remarks([naming.one({"layers": 2, "width": 32, "heads": 2, "ffn": 64})])
    assert said.startswith("this run makes no student of its teacher (layers=[99] is more than the teacher's 4")
