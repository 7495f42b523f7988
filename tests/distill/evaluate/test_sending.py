"""What an evaluation is held against crosses by content: pointed at here, sent and checked elsewhere."""

from pathlib import Path

import pytest

from distilsearch.distill.evaluate.sending import data_of, put_data
from distilsearch.errors import DistilSearchError, InputError
from distilsearch.testing.glue_folders import write_task


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = write_task(tmp_path / "mine" / "RTE", "RTE")
    (folder / "notes.docx").write_text("none of its tables")
    return folder


def test_of_this_machine_a_pointer_is_left(folder: Path) -> None:
    key = put_data("", folder)
    assert data_of("", key) == folder
    assert put_data("", folder / "dev.tsv") != key
    (folder / "dev.tsv").write_text("other")
    with pytest.raises(InputError, match="has been changed since the run was started"):
        data_of("", key)
    with pytest.raises(InputError, match="this machine has no sound data"):
        data_of("", "0" * 64)


def test_what_workers_fetch_is_what_was_sent_under_its_name(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = str(tmp_path / "depot")
    keys = [put_data(url, folder), put_data(url, folder / "train.tsv")]
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path / "worker"))
    there, file = (data_of(url, key) for key in keys)
    assert there.name == "RTE"
    assert sorted(path.name for path in there.iterdir()) == ["dev.tsv", "train.tsv"]
    assert file.read_bytes() == (folder / "train.tsv").read_bytes()
    assert [data_of(url, key) for key in keys] == [there, file]
    assert there.is_relative_to(tmp_path / "worker")


def test_what_was_damaged_on_the_way_is_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = str(tmp_path / "depot")
    key = put_data(url, folder)
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path / "worker"))
    sent = max((tmp_path / "depot" / "data" / key / "files").iterdir(), key=lambda path: path.stat().st_size)
    sent.write_bytes(sent.read_bytes() + b"more")
    with pytest.raises(DistilSearchError, match="sha256"):
        data_of(url, key)
    with pytest.raises(InputError, match="it is not there"):
        data_of(url, "0" * 64)
