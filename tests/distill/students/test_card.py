"""A student's card names its teacher's licence and the published model it comes from, and guesses neither."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import metadata_load

from distilsearch.distill.students.card import read_identity, read_teacher
from distilsearch.distill.students.student import Student, build_student
from distilsearch.distill.teachers.teacher import Teacher, load_teacher
from distilsearch.distill.texts.data import Text

OTHER = "license: other\nlicense_name: ours\nlicense_link: https://example.org/licence\n"
HEADS: dict[str, tuple[str | None, str, dict[str, Any]]] = {  # the teacher's card, its name, the student's head
    "a licence": ("---\nlicense: mit\n---\n# Teacher\n", "", {"license": "mit"}),
    "a licence of its own": (
        f"---\n{OTHER}---\n",
        "",
        {"license": "other", "license_name": "ours", "license_link": "https://example.org/licence"},
    ),
    "a local model made of another": ("---\nbase_model: google/bert\n---\n", "", {"base_model": "google/bert"}),
    "made of several": ("---\nbase_model:\n- a/b\n- c/d\n---\n", "", {"base_model": ["a/b", "c/d"]}),
    "a model of the hub": (
        "---\nlicense: mit\nbase_model: google/bert\n---\n",
        "owner/model",
        {"license": "mit", "base_model": "owner/model"},
    ),
    "the quickstart": (None, "quickstart", {"base_model": "sentence-transformers/all-MiniLM-L6-v2"}),
    "no card": (None, "", {}),
    "a card without a head": ("# Teacher\n", "", {}),
    "a head that is no YAML": ("---\nlicense: [mit\n---\n", "", {}),
    "a head that is a list": ("---\n- mit\n---\n", "", {}),
    "a licence that is no text": ("---\nlicense: 2024-01-01\n---\n", "", {}),
    "a card that is no text": ("\udcff", "", {}),
}  # fmt: skip


@pytest.mark.parametrize("case", HEADS)
def test_what_the_head_of_a_card_says(
    case: str, text: Text, make_teacher: Any, make_architecture: Any, tmp_path: Path
) -> None:
    card, name, expected = HEADS[case]
    folder = make_teacher(tmp_path / "teacher")
    if card is not None:
        (folder / "README.md").write_bytes(card.encode(errors="surrogateescape"))
    teacher: Teacher = load_teacher(str(folder))
    teacher = replace(teacher, name=name or teacher.name)
    architecture = make_architecture(teacher)
    model, _ = build_student(teacher, architecture, text)
    about = {"recipe": {"name": "x"}, "text": "t", "seed": 0, "precision": "float32"}
    student = Student(architecture, model, teacher, 0.5, ((1, 0.5),), 1.0, 1, about)
    saved = student.save(tmp_path / "student")
    head = metadata_load(saved / "README.md")
    assert head == {"library_name": "sentence-transformers", "pipeline_tag": "sentence-similarity", **expected}
    named = "all-MiniLM-L6-v2" if name == "quickstart" else Path(teacher.name).name
    assert f"\n# A student of {named}: {architecture.key}\n" in (saved / "README.md").read_text()
    assert read_teacher(saved) == named
    assert read_identity(saved) is not None


def test_a_card_of_0_1_0_names_its_teacher(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\n---\n\n# A student of my: model\n")
    assert read_teacher(tmp_path) == "my: model"
