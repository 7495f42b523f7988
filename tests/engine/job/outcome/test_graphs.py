"""A front as files of runtimes: in its students' folders, made once; what cannot be is named."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from distilsearch.distill.evaluate.scores import trial_in
from distilsearch.distill.served.artefact import MANIFEST, artefact_of
from distilsearch.distill.store.trial import TRUNK, Trial, hashes, read_trial
from distilsearch.distill.teachers.teacher import Teacher, load_teacher
from distilsearch.distill.texts.data import Text, load_text
from distilsearch.engine.job.outcome.graphs import _ways, exported
from distilsearch.engine.job.outcome.result import Result
from distilsearch.engine.job.runfile.config import Run
from distilsearch.engine.job.runfile.sections import ExportSection
from distilsearch.engine.report.files import read_result
from distilsearch.engine.report.report import render
from distilsearch.engine.report.schema import ResultFile
from distilsearch.errors import InputError, Interrupted
from distilsearch.progress import silent

OLD = Path(__file__).parents[3] / "old" / "0.1.0"
SECTION = ExportSection(runtime="onnxruntime")


@dataclass(frozen=True)
class Known:
    """An archive of one trial."""

    trial: Trial

    def find(self, key: str) -> Trial | None:
        return self.trial if key == self.trial.key else None

    def intact(self, trial: Trial) -> bool:
        return True

    def trials(self) -> list[Trial]:
        return [self.trial]


@pytest.fixture
def archive(tmp_path: Path) -> Known:
    (kept, *_) = sorted((OLD / "trials").iterdir())
    trial = read_trial(Path(shutil.copytree(kept, tmp_path / "trials" / kept.name)))
    return Known(replace(trial, files=hashes(trial.student, trial.folder / TRUNK)))


@pytest.fixture
def result(tmp_path: Path, archive: Known) -> Result:
    """A finished run of two members, of which only the first one's trial is here."""
    run = Path(shutil.copytree(OLD / "run", tmp_path / "run"))
    file = read_result(run)
    first, second = file.front[0], file.front[0].model_copy(update={"key": "0123456789ab"})
    members = []
    for member, trial in ((first, archive.trial.key), (second, "f" * 64)):
        place = run / "students" / member.key
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(archive.trial.student, place)
        members.append(member.model_copy(update={"student": f"students/{member.key}", "trial": trial}))
    return Result(run, file.model_copy(update={"front": tuple(members)}))


@pytest.fixture
def teacher() -> Teacher:
    return load_teacher(str(OLD / "teacher"))


@pytest.fixture
def text(teacher: Teacher) -> Text:
    return load_text([str(OLD / "text" / "words.txt")], teacher)


def test_a_front_is_exported_once_into_the_folders_of_its_students(
    result: Result, archive: Known, teacher: Teacher, text: Text
) -> None:
    made = exported(result, SECTION, archive, teacher, text, silent)
    first, second = made.front
    (entry,) = first.artefacts
    student = made.folder / str(first.student)
    assert (entry.file, entry.runtime, entry.dtype) == (
        f"{first.student}/served/onnx/model.onnx", "onnxruntime", "float32"
    )  # fmt: skip
    assert entry.difference is not None
    assert artefact_of(student / "served", "onnxruntime", "float32").bytes == entry.bytes
    assert second.artefacts == ()
    assert made.file.warnings[-1].startswith("0123456789ab was not exported: its trial is not in the shared home")
    assert trial_in(student, archive) == archive.trial
    assert ResultFile.from_json(made.file.to_json()) == made.file
    assert "Served files" in render(made.file)
    assert "Served files" not in render(result.file)

    kept = archive.trial.folder / "served" / MANIFEST
    before = kept.stat().st_mtime_ns
    (student / "served" / "notes.txt").write_text("mine")
    assert exported(result, SECTION, archive, teacher, text, silent).front == made.front
    assert kept.stat().st_mtime_ns == before
    assert (student / "served" / "notes.txt").read_text() == "mine"


def test_whoever_is_asked_to_end_begins_no_further_file(
    result: Result, archive: Known, teacher: Teacher, text: Text
) -> None:
    ways = ExportSection(runtime="onnxruntime", dtype=["float32", "int8"])
    asked: list[str] = []

    def between() -> None:
        asked.append("here")
        if len(asked) == 2:
            raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        exported(result, ways, archive, teacher, text, silent, between)
    assert [path.name for path in archive.trial.folder.glob("served/*")] == []
    assert not (result.folder / str(result.front[0].student) / "served").exists()


def test_a_folder_of_the_user_s_is_left_and_named(result: Result, archive: Known, teacher: Teacher, text: Text) -> None:
    place = result.folder / str(result.front[0].student) / "served"
    place.mkdir()
    (place / "thesis.tex").write_text("years of work")
    made = exported(result, SECTION, archive, teacher, text, silent)
    assert [path.name for path in place.iterdir()] == ["thesis.tex"]
    assert made.front[0].artefacts == ()
    assert "holds no export of distilsearch" in made.file.warnings[-2]
    assert not (archive.trial.folder / "served").exists()


def test_a_run_file_names_what_it_exports() -> None:
    given = {"teacher": "quickstart", "text": "python-docs"}
    assert Run.parse(given).export.ways == ()
    asked = Run.parse(given | {"export": {"runtime": "openvino", "dtype": ["float32", "int8"]}}).export
    assert asked.ways == (("openvino", "float32"), ("openvino", "int8"))
    with pytest.raises(InputError, match="serves float32 or int8 here; got 'int4'"):
        Run.parse(given | {"export": {"runtime": "openvino", "dtype": "int4"}})
    with pytest.raises(InputError, match="unknown runtime to export to 'tensorrt'"):
        Run.parse(given | {"export": {"runtime": "tensorrt"}})


def test_tensorrt_is_served_by_the_file_of_onnxruntime(result: Result) -> None:
    (target, *_) = result.file.targets
    served = target.model_copy(update={"serving": {**target.serving, "runtime": "tensorrt"}})
    own = Result(result.folder, result.file.model_copy(update={"targets": (served,)}))
    assert _ways(own, own.front[0], ExportSection()) == (("onnxruntime", "float32"),)
