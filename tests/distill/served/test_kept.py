"""Artefacts beside a kept student: made once, made again where they are not what was written."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from distilsearch.distill.heldout.heldout import teacher_held_out
from distilsearch.distill.served.artefact import MANIFEST, SERVED, read_artefacts, write_artefacts
from distilsearch.distill.served.kept import loss_of, served
from distilsearch.distill.teachers.teacher import Teacher
from distilsearch.distill.texts.data import Text, load_text


class Served(NamedTuple):
    """Of a serving what counts here."""

    runtime: str = "onnxruntime"
    dtype: str = "float32"
    threads: int | None = None


FLOAT, SMALL = (Served(runtime="onnxruntime", dtype=dtype) for dtype in ("float32", "int8"))


@pytest.fixture
def student(model: Teacher, exported: tuple[Path, list[str]], tmp_path: Path) -> Path:
    """A kept student, whose artefacts have been made."""
    shutil.copytree(exported[0], tmp_path / SERVED)
    return Path(shutil.copytree(model.folder, tmp_path / "student"))


@pytest.fixture
def blocks(model: Teacher, text_file: Path) -> Text:
    return load_text([str(text_file)], model, 32)


def test_the_loss_is_that_of_the_file(student: Path, teacher: Teacher, model: Teacher, blocks: Text) -> None:
    against_itself = loss_of(student, FLOAT, model, blocks)
    assert abs(against_itself) < 1e-6
    assert 1e-4 < loss_of(student, SMALL, model, blocks) < 0.3
    assert loss_of(student, FLOAT, teacher, blocks) > 0.01
    assert teacher_held_out(model, blocks).loss == pytest.approx(against_itself, abs=1e-6)


def test_what_is_there_is_not_made_again(student: Path, model: Teacher, blocks: Text) -> None:
    before = (student.with_name(SERVED) / MANIFEST).stat().st_mtime_ns
    ways = [("onnxruntime", "float32"), ("openvino", "int8")]
    assert [one.name for one in served(student, ways, model, blocks)] == ["onnxruntime-float32", "openvino-int8"]
    assert (student.with_name(SERVED) / MANIFEST).stat().st_mtime_ns == before


def test_damaged_ones_and_those_of_other_weights_are_made_again(student: Path, model: Teacher, blocks: Text) -> None:
    place = student.with_name(SERVED)
    there = read_artefacts(place)
    (place / "onnx/model_qint8.onnx").write_bytes(b"damaged")
    stale = replace(there["onnxruntime-float32"], source="0" * 64)
    write_artefacts(place, [*there.values(), stale][1:])
    (made,) = served(student, [("onnxruntime", "float32")], model, blocks)
    assert made.source == model.weights_sha256
    assert set(read_artefacts(place)) == {"onnxruntime-float32", "openvino-float32", "openvino-int8"}
    for artefact in read_artefacts(place).values():
        artefact.check()
