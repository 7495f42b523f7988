"""What a job needs arrives as it was, or is refused by name; what is half sent does not count."""

import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilsearch.distill.store.depot import Depot, teacher_files
from distilsearch.distill.store.shelf import checked, sha256_of
from distilsearch.distill.targets.cache import outputs_key
from distilsearch.distill.teachers.teacher import Teacher, load_teacher
from distilsearch.distill.texts.data import Text
from distilsearch.errors import InputError, RunError, TeacherError, TextError, TrialError

KEY = "ab" * 32


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A folder that several homes share."""
    return f"file://{tmp_path / 'shared'}"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """Call it to become another machine: a home and a working directory of its own."""

    def move() -> Path:
        home = tmp_path / f"home-{len(list(tmp_path.glob('home-*')))}"
        home.mkdir()
        monkeypatch.setenv("DISTILSEARCH_HOME", str(home))
        monkeypatch.chdir(home)
        return home

    return move


def damage(path: Path) -> None:
    """Change one byte of a file."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def weights(folder: Path) -> Path:
    """The biggest file below a folder."""
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def make_trial(folder: Path, content: str = "weights", **note: Any) -> Path:
    """A finished trial of two files."""
    (folder / "student").mkdir(parents=True)
    (folder / "student" / "config.json").write_text("{}")
    (folder / "student" / "model.safetensors").write_text(content * 1000)
    files = {f"student/{name}": sha256_of(folder / "student" / name) for name in ("config.json", "model.safetensors")}
    (folder / "trial.json").write_text(json.dumps({"schema": 1, "key": KEY, "files": files} | note))
    return folder


@pytest.mark.parametrize("shared", [False, True])
def test_teacher_and_text_arrive_as_they_were(
    teacher: Teacher, text: Text, url: str, shared: bool, elsewhere: Callable[[], Path]
) -> None:
    here = Depot(url if shared else "")
    keys = here.put_teacher(teacher), here.put_text(text)
    assert keys == (outputs_key(teacher), text.sha256)
    if shared:
        elsewhere()
    there = Depot(here.url)
    other, blocks = there.teacher(keys[0]), there.text(keys[1])
    for name in ("kind", "pooling", "weights_sha256", "tokenizer_sha256", "parameters"):
        assert getattr(other, name) == getattr(teacher, name)
    assert outputs_key(other) == outputs_key(teacher)
    assert Path(other.name).name == Path(teacher.name).name == Path(other.facts.name).name
    np.testing.assert_array_equal(blocks.train, text.train)
    np.testing.assert_array_equal(blocks.heldout, text.heldout)


def test_no_local_path_and_no_needless_file_is_sent(teacher: Teacher, url: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(teacher.folder, tmp_path / "secret" / "mine"))
    for name in ("pytorch_model.bin", "notes.txt", "trainer_state.json"):
        (folder / name).write_text("not for others")
    Depot(url).put_teacher(load_teacher(str(folder)))
    sent = [path.read_bytes() for path in (tmp_path / "shared").rglob("*") if path.is_file()]
    assert not any(b"secret" in content or b"not for others" in content for content in sent)
    assert {"config.json", "model.safetensors", "tokenizer.json", "1_Pooling/config.json"} <= set(teacher_files(folder))


def test_a_second_fetch_asks_the_network_for_no_weights(
    teacher: Teacher, text: Text, url: str, tmp_path: Path, elsewhere: Callable[[], Path]
) -> None:
    keys = Depot(url).put_teacher(teacher), Depot(url).put_text(text)
    elsewhere()
    first = Depot(url).teacher(keys[0])
    Depot(url).text(keys[1])
    shutil.rmtree(tmp_path / "shared" / "teachers" / keys[0] / "files")
    shutil.rmtree(tmp_path / "shared" / "texts")
    assert Depot(url).teacher(keys[0]).folder == first.folder
    assert Depot(url).text(keys[1]).sha256 == keys[1]


def test_what_was_damaged_here_is_fetched_again(
    teacher: Teacher, text: Text, url: str, elsewhere: Callable[[], Path]
) -> None:
    keys = Depot(url).put_teacher(teacher), Depot(url).put_text(text)
    home = elsewhere()
    damage(weights(Depot(url).teacher(keys[0]).folder))
    Depot(url).text(keys[1])
    damage(weights(home / "depot" / "texts"))
    assert outputs_key(Depot(url).teacher(keys[0])) == keys[0]
    assert Depot(url).text(keys[1]).sha256 == keys[1]


def test_what_was_damaged_there_is_refused_by_url_and_key(
    teacher: Teacher, text: Text, url: str, tmp_path: Path, elsewhere: Callable[[], Path]
) -> None:
    keys = Depot(url).put_teacher(teacher), Depot(url).put_text(text)
    damage(weights(tmp_path / "shared" / "teachers"))
    damage(weights(tmp_path / "shared" / "texts"))
    home = elsewhere()
    with pytest.raises(TeacherError, match=f"{url} has no sound teacher {keys[0]}: .*sha256"):
        Depot(url).teacher(keys[0])
    with pytest.raises(TextError, match=f"{url} has no sound text {keys[1]}: .*sha256"):
        Depot(url).text(keys[1])
    assert not list(home.rglob("*.part"))
    assert not list((home / "depot" / "teachers").glob("*/config.json"))


def test_another_teacher_under_the_key_is_refused(
    teacher: Teacher, mlm_teacher: Teacher, url: str, tmp_path: Path, elsewhere: Callable[[], Path]
) -> None:
    keys = Depot(url).put_teacher(teacher), Depot(url).put_teacher(mlm_teacher)
    shutil.rmtree(tmp_path / "shared" / "teachers" / keys[0])
    (tmp_path / "shared" / "teachers" / keys[1]).rename(tmp_path / "shared" / "teachers" / keys[0])
    elsewhere()
    with pytest.raises(TeacherError, match="another one"):
        Depot(url).teacher(keys[0])


@pytest.mark.parametrize("name", ["../config.json", "/tmp/x.json", "a/../../x.json", ".hidden.json", "", "weights.bin"])
def test_names_that_lead_elsewhere_are_refused(
    teacher: Teacher, url: str, tmp_path: Path, name: str, elsewhere: Callable[[], Path]
) -> None:
    key = Depot(url).put_teacher(teacher)
    path = tmp_path / "shared" / "teachers" / key / "note.json"
    note = json.loads(path.read_text())
    path.write_text(json.dumps(note | {"files": note["files"] | {name: "0" * 64}}))
    home = elsewhere()
    with pytest.raises(TeacherError, match=r"no plain name|no teacher needs"):
        Depot(url).teacher(key)
    assert not [
        path for path in home.rglob("*") if path.is_file() and path.suffix != ".lock" and path.name != "home.json"
    ]


@given(st.text("ab./\\ ~-", max_size=8))
def test_a_name_that_passes_stays_in_its_folder(name: str) -> None:
    try:
        checked({name: "0" * 64}, TrialError)
    except TrialError:
        return
    assert Path(os.path.normpath(f"/folder/{name}")).is_relative_to("/folder")
    assert os.path.normpath(f"/folder/{name}") != "/folder"


def test_what_is_absent_is_named(url: str, tmp_path: Path) -> None:
    for depot in (Depot(url), Depot()):
        with pytest.raises(TeacherError, match=KEY):
            depot.teacher(KEY)
        with pytest.raises(TextError, match=KEY):
            depot.text(KEY)
        assert not depot.pull_trial(KEY, tmp_path / "trial")
    assert not (tmp_path / "trial").exists()
    with pytest.raises(InputError, match="sha256 of a teacher"):
        Depot(url).teacher("../../etc")
    with pytest.raises(InputError, match="cannot open the depot 'nosuch://x'"):
        Depot("nosuch://x")


def test_a_depot_that_cannot_be_written_is_named(teacher: Teacher, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match=f"cannot write into the depot {tmp_path}/file"):
        Depot(str(tmp_path / "file")).put_teacher(teacher)


def test_a_pointer_to_a_teacher_that_changed_is_refused(teacher: Teacher, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(teacher.folder, tmp_path / "mine"))
    key = Depot().put_teacher(load_teacher(str(folder)))
    damage(folder / "model.safetensors")
    with pytest.raises(TeacherError, match=f"{key}: the model in .* is another one"):
        Depot().teacher(key)
    shutil.rmtree(folder)
    with pytest.raises(TeacherError, match=f"{key}: .*mine"):
        Depot().teacher(key)


def test_a_relative_folder_means_the_same_in_every_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Depot("shared").url == str(tmp_path / "shared")
    assert Depot("").url == ""


def test_trials_there_and_back(url: str, tmp_path: Path) -> None:
    folder = make_trial(tmp_path / "trial")
    Depot(url).push_trial(KEY, folder)
    Depot(url).push_trial(KEY, folder)
    assert Depot(url).pull_trial(KEY, tmp_path / "other")
    for path in (path for path in folder.rglob("*") if path.is_file()):
        other = tmp_path / "other" / path.relative_to(folder)
        assert sha256_of(other) == sha256_of(path) or json.loads(other.read_text()) == json.loads(path.read_text())


def test_trials_of_before_name_their_files_when_they_are_sent(url: str, tmp_path: Path) -> None:
    folder = make_trial(tmp_path / "trial", files={})
    (folder / "trunk.safetensors").write_text("trunk")
    (folder / "checkpoint").mkdir()
    (folder / "checkpoint" / "optimiser.safetensors").write_text("of an interrupted training")
    Depot(url).push_trial(KEY, folder)
    assert Depot(url).pull_trial(KEY, tmp_path / "other")
    files = json.loads((tmp_path / "other" / "trial.json").read_text())["files"]
    assert files == {}, "what an older version wrote arrives as it was"
    assert (tmp_path / "other" / "trunk.safetensors").exists()
    assert not (tmp_path / "other" / "checkpoint").exists()


def test_a_trial_half_sent_is_none(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_off(*_: Any) -> None:
        raise KeyboardInterrupt

    depot = Depot(url)
    folder = make_trial(tmp_path / "trial")
    with monkeypatch.context() as patch:
        patch.setattr("distilsearch.distill.store.shelf.Shelf.write_note", cut_off)
        with pytest.raises(KeyboardInterrupt):
            depot.push_trial(KEY, folder)
    assert not depot.pull_trial(KEY, tmp_path / "other")
    depot.push_trial(KEY, folder)
    assert depot.pull_trial(KEY, tmp_path / "other")


def test_a_trunk_that_gave_way_to_a_longer_one_need_not_be_there(url: str, tmp_path: Path) -> None:
    folder = make_trial(tmp_path / "trial")
    trial = json.loads((folder / "trial.json").read_text())
    trial["files"]["trunk.safetensors"] = "0" * 64
    (folder / "trial.json").write_text(json.dumps(trial))
    Depot(url).push_trial(KEY, folder)
    assert Depot(url).has_trial(KEY)
    assert Depot(url).pull_trial(KEY, tmp_path / "other")


def test_a_damaged_trial_is_refused_and_may_be_tried_again(url: str, tmp_path: Path) -> None:
    Depot(url).push_trial(KEY, make_trial(tmp_path / "trial"))
    damage(weights(tmp_path / "shared"))
    with pytest.raises(TrialError, match=f"no sound trial {KEY}: model.safetensors") as caught:
        Depot(url).pull_trial(KEY, tmp_path / "other")
    assert caught.value.transient
    assert not (tmp_path / "other" / "trial.json").exists()
    note = tmp_path / "shared" / "trials" / KEY / "note.json"
    note.write_text(note.read_text()[:-20])
    with pytest.raises(TrialError, match="no JSON"):
        Depot(url).pull_trial(KEY, tmp_path / "other")


def test_a_trial_that_changed_after_it_was_finished_is_not_sent(url: str, tmp_path: Path) -> None:
    folder = make_trial(tmp_path / "trial")
    damage(folder / "student" / "model.safetensors")
    with pytest.raises(TrialError, match=r"student/model.safetensors in .* changed"):
        Depot(url).push_trial(KEY, folder)
    assert not Depot(url).pull_trial(KEY, tmp_path / "other")


def test_writers_of_one_key_do_not_mix(url: str, tmp_path: Path) -> None:
    """Two trainings of one key differ in what their cards say of the time; each trial that arrives is of one mind."""
    folders = [make_trial(tmp_path / word, word, word=word) for word in ("one", "two")]
    seen = set()
    with ThreadPoolExecutor(2) as threads:
        writers = [threads.submit(lambda f: [Depot(url).push_trial(KEY, f) for _ in range(30)], f) for f in folders]
        while not all(writer.done() for writer in writers):
            shutil.rmtree(tmp_path / "read", ignore_errors=True)
            if Depot(url).pull_trial(KEY, tmp_path / "read"):
                word = json.loads((tmp_path / "read" / "trial.json").read_text())["word"]
                assert (tmp_path / "read" / "student" / "model.safetensors").read_text() == word * 1000
                seen.add(word)
    assert [len(writer.result()) for writer in writers] == [30, 30]
    assert seen
    assert not list((tmp_path / "shared").rglob("*.part"))


def test_many_fetch_one_teacher_at_once(teacher: Teacher, url: str, elsewhere: Callable[[], Path]) -> None:
    key = Depot(url).put_teacher(teacher)
    home = elsewhere()
    with ThreadPoolExecutor(4) as threads:
        fetched = list(threads.map(lambda _: Depot(url).teacher(key), range(4)))
    assert {one.weights_sha256 for one in fetched} == {teacher.weights_sha256}
    assert not list(home.rglob("*.part"))
