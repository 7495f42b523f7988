"""What is exported: the layouts that servers read, run by a runtime alone, and never a changed file."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from distilsearch.distill.evaluate.embedding import encode
from distilsearch.distill.served.artefact import FILES, MANIFEST, artefact_of, read_artefacts, write_artefacts
from distilsearch.distill.served.beside import PHRASES, checked_rows, lines, said, section
from distilsearch.distill.served.export import export, export_checkpoint
from distilsearch.distill.served.making import Making
from distilsearch.distill.teachers.teacher import Teacher, load_teacher
from distilsearch.distill.texts.data import load_text
from distilsearch.errors import InputError, RunError, TextError, TrialError
from distilsearch.testing.teachers import WORDS, dress, write_teacher, write_text

Exported = tuple[Path, list[str]]
ALONE = "import sys\nfor name in ('torch', 'transformers', 'sentence_transformers'): sys.modules[name] = None\n"


def copied(exported: Exported, to: Path) -> Path:
    return Path(shutil.copytree(exported[0], to))


def run_alone(folder: Path, codes: dict[str, list[str]]) -> dict[str, np.ndarray]:
    """What lines of cards compute, in a process that has neither torch nor transformers."""
    parts = [f"{chr(10).join(code)}\nmade[{name!r}] = vectors.tolist()\n" for name, code in codes.items()]
    code = f"{ALONE}made = {{}}\n{''.join(parts)}import json\nprint(json.dumps(made))"
    run = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    return {name: np.array(rows) for name, rows in json.loads(run.stdout).items()}


def test_nothing_asks_for_the_network(exported: Exported) -> None:
    assert exported[1] == []


def test_graphs_lie_where_servers_look_for_them(exported: Exported) -> None:
    folder, _ = exported
    assert {f"{runtime}-{dtype}" for runtime, dtype in FILES} == set(read_artefacts(folder))
    for file in (
        "onnx/model.onnx",
        "onnx/model_qint8.onnx",
        "openvino/openvino_model.xml",
        "openvino/openvino_model.bin",
    ):
        assert (folder / file).is_file()
    for file in ("config.json", "tokenizer.json", "modules.json", "1_Pooling/config.json", "README.md"):
        assert (folder / file).is_file()
    assert not list(folder.rglob("*.safetensors"))
    assert not [path for path in folder.parent.iterdir() if path != folder]  # no temporary folder is left


def test_the_lines_of_the_card_give_the_vectors_of_torch_without_torch(exported: Exported, model: Teacher) -> None:
    folder, _ = exported
    texts = [" ".join(WORDS[:9]), WORDS[3]]
    artefacts = read_artefacts(folder)
    codes = {name: lines(artefact) for name, artefact in artefacts.items()}
    card = (folder / "README.md").read_text()
    assert all(len(code) == 5 and "\n".join(code) in card for code in codes.values())
    asked = {k: [line.replace(json.dumps(list(PHRASES)), json.dumps(texts)) for line in v] for k, v in codes.items()}
    expected = encode(model, texts).numpy()
    for name, vectors in run_alone(folder, asked).items():
        assert np.abs(vectors - expected).max() < (1e-5 if "float32" in name else 0.2), name
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)


def test_what_was_tried_and_lost_is_on_the_card(exported: Exported) -> None:
    small = artefact_of(exported[0], "onnxruntime", "int8")
    assert set(small.checks["tried"]) == {"dynamic", "static"}
    assert small.quantised in small.checks["tried"]
    assert small.checks["lost"] == small.checks["tried"][small.quantised]["lost"] <= 0.5
    card = (exported[0] / "README.md").read_text()
    assert all(f"| {method}, tried |" in card for method in small.checks["tried"])
    assert artefact_of(exported[0], "openvino", "int8").quantised == "static"


def test_int8_is_smaller_and_float32_is_torch_s(exported: Exported) -> None:
    for runtime in ("onnxruntime", "openvino"):
        whole, small = (artefact_of(exported[0], runtime, dtype) for dtype in ("float32", "int8"))
        assert small.bytes < whole.bytes
        assert set(whole.checks["differences"]) == {"last_hidden_state", "sentence_embedding"}
        assert max(whole.checks["differences"].values()) < 1e-4


@pytest.mark.parametrize("file", ["onnx/model.onnx", "openvino/openvino_model.bin"])
def test_a_changed_file_is_never_opened(exported: Exported, tmp_path: Path, file: str) -> None:
    folder = copied(exported, tmp_path / "copy")
    content = bytearray((folder / file).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / file).write_bytes(content)
    with pytest.raises(RunError, match="not what was exported"):
        artefact_of(folder, "onnxruntime" if file.startswith("onnx") else "openvino", "float32")


def test_a_link_in_the_place_of_a_graph_is_not_followed(exported: Exported, tmp_path: Path) -> None:
    folder = copied(exported, tmp_path / "copy")
    (folder / "onnx/model.onnx").rename(tmp_path / "model.onnx")
    (folder / "onnx/model.onnx").symlink_to(tmp_path / "model.onnx")
    with pytest.raises(RunError, match="not what was exported"):
        artefact_of(folder, "onnxruntime", "float32")


def test_a_graph_that_nobody_listed_is_not_taken(exported: Exported, tmp_path: Path) -> None:
    folder = copied(exported, tmp_path / "copy")
    listed = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).unlink()
    with pytest.raises(RunError, match="holds no export"):
        artefact_of(folder, "onnxruntime", "float32")
    listed["artefacts"][0]["files"]["../../model.onnx"] = "0" * 64
    (folder / MANIFEST).write_text(json.dumps(listed))
    with pytest.raises(RunError, match="damaged"):
        read_artefacts(folder)
    (folder / MANIFEST).write_text(json.dumps({"schema": 2, "artefacts": []}))
    with pytest.raises(RunError, match="newer version"):
        read_artefacts(folder)


def test_an_export_with_other_weights_is_not_mixed_in(exported: Exported, tmp_path: Path, text_file: Path) -> None:
    folder = copied(exported, tmp_path / "copy")
    before = sorted(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    other = write_teacher(tmp_path / "other", num_hidden_layers=1, initializer_range=0.1)
    with pytest.raises(RunError, match="another model"):
        export(str(other), folder, [("onnxruntime", "float32")], [str(text_file)])
    assert sorted(path.read_bytes() for path in folder.rglob("*") if path.is_file()) == before


def test_a_lower_casing_model_is_read_by_tokenizers_alone(tmp_path: Path, text_file: Path) -> None:
    from distilsearch.distill.served.beside import write_beside

    files = {"sentence_bert_config.json": {"max_seq_length": 12, "do_lower_case": True}}
    own = load_teacher(str(dress(write_teacher(tmp_path / "own"), ["Pooling"], files, cased=True)))
    write_beside(own, tmp_path)
    code = ["import tokenizers, numpy", 't = tokenizers.Tokenizer.from_file("tokenizer.json")']
    code += [f"vectors = numpy.array([x.ids for x in t.encode_batch([{' '.join(WORDS[:30]).upper()!r}, 'aaa'])])"]
    (ids,) = run_alone(tmp_path, {"ids": code}).values()
    assert ids.shape == (2, 12)
    assert own.tokenizer.unk_token_id not in ids
    assert ids[1, 3:].tolist() == [own.tokenizer.pad_token_id] * 9


def test_int8_that_costs_more_than_it_may_is_not_kept(
    exported: Exported, model: Teacher, text_file: Path, tmp_path: Path
) -> None:
    text, base = load_text([str(text_file)], model, 32), artefact_of(exported[0], "onnxruntime", "float32")
    making = Making(model, tmp_path, text, calibrated=False, most_lost=1e-9)
    with pytest.raises(TrialError, match=r"int8 \(dynamic\) adds 0\.[0-9]+ to the loss .* is allowed; it is not kept"):
        making.int8("onnxruntime", base)


def test_what_fails_leaves_the_folder_as_it_was(
    exported: Exported, model: Teacher, text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, text = copied(exported, tmp_path / "copy"), load_text([str(text_file)], model, 32)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}

    def fails(self: Making, way: tuple[str, str]) -> None:
        (self.folder / "onnx").mkdir()
        raise TrialError("it differs")

    monkeypatch.setattr(Making, "artefact", fails)
    with pytest.raises(TrialError, match="it differs"):
        export_checkpoint(model, folder, [("onnxruntime", "float32")], text)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert list(tmp_path.iterdir()) == [folder]


def test_too_little_text_to_calibrate_on_is_told_before_anything_is_made(model: Teacher, tmp_path: Path) -> None:
    text = load_text([str(write_text(tmp_path / "few.txt", count=3000))], model, 32)
    with pytest.raises(InputError, match="scales of int8 are measured on 4,096 or more"):
        export_checkpoint(model, tmp_path / "out", [("openvino", "int8")], text)
    assert not (tmp_path / "out").exists()


def test_of_a_text_that_is_too_short_it_is_said_what_it_is_for(
    model: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = write_text(tmp_path / "short.txt", count=40)
    said = r"to check and calibrate on has \d+ tokens, and at least .* name more with --text"
    with pytest.raises(TextError, match=said) as refused:
        export(str(model.folder), tmp_path / "out", [("onnxruntime", "float32")], [str(short)])
    assert "train" not in str(refused.value)
    assert "text_block" not in str(refused.value)
    assert "or leave it out" in str(refused.value)
    monkeypatch.setattr("distilsearch.distill.served.asked.version_of", lambda package: "1")
    with pytest.raises(TextError, match=r"name more with --text$"):  # without any it would be refused
        export(str(model.folder), tmp_path / "out", [("openvino", "int8")], [str(short)])


def test_of_too_little_text_for_static_int8_the_dynamic_one_is_made_and_the_card_says_so(
    exported: Exported, model: Teacher, tmp_path: Path
) -> None:
    text = load_text([str(write_text(tmp_path / "few.txt", count=3000))], model, 32)
    made = Making(model, tmp_path, text, calibrated=True).int8(
        "onnxruntime", artefact_of(exported[0], "onnxruntime", "float32")
    )
    assert made.quantised == "dynamic"
    assert checked_rows(made)["static, not tried"] == f"the text holds {text.train.size:,} of 4,096 tokens for it"
    write_artefacts(tmp_path, [made])
    assert read_artefacts(tmp_path)[made.name].checks == made.checks
    assert "not tried" not in " ".join(checked_rows(artefact_of(exported[0], "onnxruntime", "int8")))


def test_what_a_graph_holds_is_told_of_all_its_files(exported: Exported) -> None:
    apart = artefact_of(exported[0], "openvino", "float32")
    assert f"openvino_model.xml and openvino_model.bin: {apart.bytes / 1e6:.1f} MB in all" in said(apart)
    assert "openvino/openvino_model.xml, openvino/openvino_model.bin; " in section(apart)
    assert "model.onnx: " in said(artefact_of(exported[0], "onnxruntime", "float32"))
