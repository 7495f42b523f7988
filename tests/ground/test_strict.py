"""Files of strangers, read strictly: plain files and plain JSON alone, and no name or link that leads elsewhere."""

import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilsearch import strict
from distilsearch.distill.teachers.checkpoint import model_folder, weight_files
from distilsearch.distill.teachers.refusals import read_checkpoint
from distilsearch.distill.teachers.weights import read_header
from distilsearch.errors import RunError, TableError, TeacherError
from distilsearch.places import own_run
from distilsearch.profiling import LatencyTable
from distilsearch.profiling.tables.store import all_tables
from distilsearch.profiling.tables.transfer import pull

OLD = Path(__file__).parents[1] / "old" / "0.1.0"
WEIGHTS = "model.safetensors"
words = st.text(st.characters(codec="utf-8"))
numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
plain = st.recursive(
    st.none() | st.booleans() | numbers | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD / "teacher", tmp_path / "teacher"))


@given(plain)
def test_plain_json_is_what_it_was(value: object) -> None:
    assert strict.parsed(json.dumps(value)) == value


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff", "UTF-8"),
        (b"{", "not JSON"),
        (b"[NaN]", "NaN"),
        (b"[-Infinity]", "Infinity"),
        (b"[1e999]", "larger than any number"),
        (b"[" + b"9" * 5000 + b"]", "64 bits"),
        (b'["\\ud800"]', "half a character"),
        (b"[" * 100_000, "depth"),
    ],
)
def test_what_other_readers_would_not_take_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        strict.parsed(content)


def test_links_pipes_folders_and_giants_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "pipe")
    assert strict.read_bytes(tmp_path / "file") == b"12345"
    for name, said in (("link", "symbolic link"), ("pipe", "no file"), (".", "no file")):
        with pytest.raises(ValueError, match=said):
            strict.read_bytes(tmp_path / name)
    with pytest.raises(ValueError, match="at most 4"):
        strict.read_bytes(tmp_path / "file", most=4)
    with pytest.raises(FileNotFoundError):
        strict.read_bytes(tmp_path / "none")


def test_an_index_that_leads_out_of_the_folder_is_not_followed(teacher: Path) -> None:
    (teacher / WEIGHTS).rename(teacher.parent / "outside.safetensors")
    (teacher / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"embeddings.word_embeddings.weight": "../outside.safetensors"}})
    )
    with pytest.raises(TeacherError, match="no plain name below"):
        weight_files(teacher)


def test_a_list_of_modules_that_leads_out_of_the_folder_is_not_followed(teacher: Path) -> None:
    modules = json.loads((teacher / "modules.json").read_text())
    modules[1]["path"] = "../1_Pooling"
    (teacher / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(TeacherError, match="no plain name below"):
        read_checkpoint(teacher)


def test_links_of_a_teacher_stay_in_its_folder_or_in_its_hub_caches_blobs(teacher: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "hub" / "models--x" / "snapshots" / "abc"
    blobs = tmp_path / "hub" / "models--x" / "blobs"
    snapshot.parent.mkdir(parents=True)
    shutil.copytree(teacher, snapshot)
    blobs.mkdir()
    (snapshot / WEIGHTS).rename(blobs / "0123")
    (snapshot / WEIGHTS).symlink_to("../../blobs/0123")
    assert model_folder(snapshot) == snapshot
    (tmp_path / "root").symlink_to(snapshot)
    assert model_folder(tmp_path / "root") == tmp_path / "root"
    (teacher / "logs").symlink_to(tmp_path)  # of a trainer: nobody reads it
    assert model_folder(teacher) == teacher
    (tmp_path / "private.txt").write_text("a key")
    (teacher / "vocab.txt").unlink(missing_ok=True)
    (teacher / "vocab.txt").symlink_to(tmp_path / "private.txt")
    with pytest.raises(TeacherError, match="outside of the model's folder"):
        model_folder(teacher)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda content: content[:-1], "cut off"),
        (lambda content: content + b"\0", "cut off"),
        (lambda content: b"", "header would have"),
        (lambda content: b"\xff" * 8 + content[8:], "header would have"),
        (lambda content: content.replace(b'"F32"', b'"F64"', 1), "does not fit"),
        (lambda content: content.replace(b'"dtype"', b'"dtypo"', 1), "no type"),
    ],
)
def test_weights_that_are_not_what_their_header_says_are_named(tmp_path: Path, change: object, said: str) -> None:
    content = (OLD / "teacher" / WEIGHTS).read_bytes()
    (tmp_path / WEIGHTS).write_bytes(content)
    assert read_header(tmp_path / WEIGHTS)
    (tmp_path / WEIGHTS).write_bytes(change(content))  # type: ignore[operator]
    with pytest.raises(ValueError, match=said):
        read_header(tmp_path / WEIGHTS)


def test_links_in_a_store_are_refused_and_a_store_may_be_one(tmp_path: Path) -> None:
    store = Path(shutil.copytree(OLD / "tables", tmp_path / "store"))
    (tmp_path / "linked").symlink_to(store)
    (folder,) = all_tables(tmp_path / "linked")
    (table,) = pull(str(store), tmp_path / "pulled")
    assert LatencyTable.read(folder).meta.device == table.meta.device
    (store / "0123456789ab").symlink_to(folder.parent)
    with pytest.raises(TableError, match="symbolic link"):
        all_tables(store)
    with pytest.raises(RunError, match="symbolic link"):
        pull(str(tmp_path / "pulled"), store)


@pytest.mark.parametrize(
    "name", ["journal.log", "trainer.log", "students", "students/.0123.new", ".lock", "result.json"]
)
def test_a_run_is_not_written_through_a_link(tmp_path: Path, name: str) -> None:
    run = Path(shutil.copytree(OLD / "run", tmp_path / "run"))
    own_run(run, finished=True)
    shutil.rmtree(run / name, ignore_errors=True)
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(tmp_path)
    with pytest.raises(RunError, match="symbolic link"):
        own_run(run, finished=True)
