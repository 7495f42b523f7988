"""Folders that are no checkpoints are named for what they are, with the one step that makes a teacher of them."""

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from distilsearch.distill.teachers.checkpoint import weight_files
from distilsearch.distill.teachers.teacher import load_teacher
from distilsearch.errors import TeacherError
from distilsearch.testing.teachers import write_teacher

FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "modules.json")
VALUES = st.sampled_from([None, -1, 0, 1, 1.5, 10**12, "", "none", True, [], [1], {}, {"a": 1}])


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_teacher(tmp_path_factory.mktemp("original"))


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A good checkpoint, to be spoilt."""
    return shutil.copytree(original, tmp_path / "t")


def only(folder: Path, name: str, config: bool = True) -> str:
    """The folder with a file of that name in place of its weights."""
    (folder / "model.safetensors").unlink()
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"content")
    if not config:
        (folder / "config.json").unlink()
        (folder / "modules.json").unlink()
    return str(folder)


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"peft_type": "LORA", "base_model_name_or_path": "meta/llama", "task_type": "CAUSAL_LM"}, "'meta/llama'"),
        ({"peft_type": "IA3", "base_model_name_or_path": "a/b"}, r"'a/b'.*AutoPeftModel\.from_pretrained"),
        ({"config": {"architecture": "seq_bn"}, "model_name": "bert-base-uncased"}, "'bert-base-uncased'"),
        ([], "another model"),
    ],
)
def test_an_adapter_is_to_be_merged(content: Any, says: str, beside: bool, folder: Path) -> None:
    place = str(folder) if beside else only(folder, "adapter_model.safetensors", config=False)
    (folder / "adapter_config.json").write_text(json.dumps(content))
    with pytest.raises(TeacherError, match=f"holds an adapter of {says}.*merge_and_unload"):
        load_teacher(place)


@pytest.mark.parametrize("config", [True, False])
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("model-Q4_K_M.gguf", "GGUF file.*name the transformers model that it was converted from"),
        ("model.onnx", "exported ONNX graph.*name the transformers model that it was exported from"),
        ("openvino_model.xml", "exported OpenVINO graph"),
        ("tf_model.h5", "TensorFlow weights.*a copy of the model that has safetensors"),
        ("flax_model.msgpack", "Flax weights"),
    ],
)
def test_other_formats_are_named(name: str, says: str, config: bool, folder: Path) -> None:
    with pytest.raises(TeacherError, match=says):
        load_teacher(only(folder, name, config))


def test_a_graph_in_a_folder_of_its_own_is_named(folder: Path) -> None:
    with pytest.raises(TeacherError, match="an exported ONNX graph and no model"):
        load_teacher(only(folder, "onnx/model_quantized.onnx"))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "consolidated.00.pth"])
def test_pickled_weights_are_to_be_written_anew_in_two_lines(name: str, folder: Path) -> None:
    with pytest.raises(TeacherError, match=rf"only {name}, which may hide code.*import BertModel; BertModel\.from_pre"):
        load_teacher(only(folder, name))


def test_the_two_lines_do_what_they_say(folder: Path) -> None:
    weights = load_file(str(folder / "model.safetensors"))
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(TeacherError) as refusal:
        load_teacher(str(folder))
    exec(str(refusal.value).partition("trust the files: ")[2].replace("; ", "\n"))
    again = load_teacher(str(folder)).model().state_dict()
    assert all(torch.equal(again[name], value) for name, value in weights.items())


@pytest.mark.parametrize("name", ["model.fp16.safetensors", "consolidated.safetensors"])
def test_weights_of_another_name_are_named(name: str, folder: Path) -> None:
    with pytest.raises(TeacherError, match=f"no model.safetensors but {name}"):
        load_teacher(only(folder, name))


def test_a_snapshot_of_the_hub_without_safetensors_says_what_was_not_fetched(folder: Path) -> None:
    snapshot = folder.parent / "models--owner--name" / "snapshots" / "0123"
    shutil.copytree(folder, snapshot)
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(
        TeacherError, match=r"the hub has no model\.safetensors of it .*`hf download`.*import BertModel"
    ):
        load_teacher(str(snapshot))


def test_a_folder_of_the_old_layout_is_to_be_written_anew(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "old"
    place.mkdir()
    folder.rename(place / "0_Transformer")
    shutil.move(place / "0_Transformer" / "modules.json", place)
    with pytest.raises(TeacherError, match=r"in 0_Transformer/; .*SentenceTransformer\('.*old'\)\.save\('new'\)"):
        load_teacher(str(place))


@pytest.mark.parametrize("within", ["checkpoint-500", "snapshots/0123abc", "a/b/c"])
def test_the_folder_above_a_model_names_it(within: str, folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "above"
    shutil.copytree(folder, place / within)
    with pytest.raises(TeacherError, match=f"models lie within: {within}; name one of these"):
        load_teacher(str(place))


def test_a_part_of_a_sentence_model_names_the_whole(folder: Path) -> None:
    with pytest.raises(TeacherError, match=rf"1_Pooling is one part of a sentence-transformers model; name {folder}$"):
        load_teacher(str(folder / "1_Pooling"))


def test_empty_and_strange_folders_say_what_they_hold(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(TeacherError, match=r"it is empty \(no config\.json\)"):
        load_teacher(str(tmp_path / "empty"))
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "todo.txt").write_text("")
    with pytest.raises(TeacherError, match=r"no config\.json; it holds todo\.txt; name the folder of"):
        load_teacher(str(tmp_path / "notes"))
    (tmp_path / "notes" / "model_index.json").write_text("{}")
    with pytest.raises(TeacherError, match="as diffusers writes it"):
        load_teacher(str(tmp_path / "notes"))
    with pytest.raises(TeacherError, match="a teacher is the folder of a transformers model"):
        load_teacher(str(folder / "model.safetensors"))
    (tmp_path / "m.gguf").write_bytes(b"")
    with pytest.raises(TeacherError, match="is a GGUF file"):
        load_teacher(str(tmp_path / "m.gguf"))


def test_of_one_file_and_an_index_the_one_that_is_loaded_counts(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "absent.safetensors"}}')
    assert weight_files(folder) == (folder / "model.safetensors",)
    (folder / "model.safetensors").unlink()
    for content in ('{"weight_map": {"a": "absent.safetensors"}}', '{"weight_map": []}', "[]", "{}"):
        (folder / "model.safetensors.index.json").write_text(content)
        with pytest.raises(TeacherError, match="lacks the weight files its index names"):
            load_teacher(str(folder))


def damaged(data: st.DataObject, path: Path) -> None:
    """Some bytes of a file, or one value of its JSON, are others."""
    if path.suffix != ".json" or data.draw(st.booleans()):
        content = bytearray(path.read_bytes())
        at = data.draw(st.integers(0, min(len(content) - 1, 3_000)))
        content[at : at + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=8))
        path.write_bytes(bytes(content))
        return
    content = place = json.loads(path.read_text())
    while True:
        key = data.draw(st.sampled_from(sorted(place)) if isinstance(place, dict) else st.integers(0, len(place) - 1))
        if not (isinstance(place[key], dict | list) and place[key]) or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(VALUES)
    path.write_text(json.dumps(content))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_teacher_is_read_or_refused_and_raises_nothing_else(
    data: st.DataObject, original: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "t"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(original, folder)
    damaged(data, folder / data.draw(st.sampled_from((*FILES, "model.safetensors"))))
    before = sorted(folder.rglob("*"))
    with contextlib.suppress(TeacherError):
        load_teacher(str(folder))
    assert sorted(folder.rglob("*")) == before
