"""Whole encoders as they are written down: the models' numbers, and the exporter's nodes and kernels."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from distilsearch.architecture import Architecture
from distilsearch.artefacts.libraries import library
from distilsearch.artefacts.running import compile_options, opened
from distilsearch.families import family
from distilsearch.profiling.runtimes import files
from distilsearch.profiling.runtimes.encoders import encoder_model, fresh
from distilsearch.profiling.runtimes.fusion import kernels

SIZES: dict[str, Any] = {
    "layers": 2, "width": 48, "heads": 3, "ffn": 80, "vocabulary": 90, "positions": 40, "types": 2,
    "inherit": "first", "activation": "gelu", "head": "embedding", "pool": "mean",
}  # fmt: skip
STUDENTS = [
    Architecture("bert", SIZES),
    Architecture("bert", SIZES | {"pool": "cls", "activation": "swish", "types": 1}),
    Architecture("bert", SIZES | {"head": "mlm", "activation": "tanh"}),
    Architecture("roberta", SIZES | {"types": 1}),
    Architecture("roberta", SIZES | {"head": "mlm", "activation": "relu", "types": 1}),
]
PADDING = {"bert": 0, "roberta": 1}


def request_of(student: Architecture) -> dict[str, np.ndarray]:
    """Three texts, one of them shorter."""
    ids = np.random.default_rng(0).integers(5, SIZES["vocabulary"], size=(3, 9))
    mask = np.ones_like(ids)
    mask[1, 5:] = 0
    ids[1, 5:] = PADDING[student.family]
    return {"input_ids": ids, "attention_mask": mask}


def parameters(student: Architecture, model: Any) -> Mapping[str, np.ndarray]:
    """All of a model's parameters, none as it was at the beginning, by their names below the base model."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)), alpha=0.1)
    return {name.removeprefix(f"{student.family}."): value.numpy() for name, value in model.state_dict().items()}


def written(model: Any, folder: Path) -> Path:
    file = folder / "written.onnx"
    file.write_bytes(model.SerializeToString())
    return file


def openvino_kinds(file: Path) -> Counter[str]:
    """The kernels that OpenVINO chose; its counters leave out what took no time."""
    model = library("openvino").Core().compile_model(file, "CPU", compile_options(1)).get_runtime_model()
    return Counter(str(node.get_rt_info()["layerType"].get()) for node in model.get_ops())


@pytest.mark.parametrize("student", STUDENTS, ids=lambda one: f"{one.family} {one['head']} {one['pool']}")
def test_a_written_encoder_computes_what_the_model_does(student: Architecture, tmp_path: Path) -> None:
    builder = family(student.family)
    model = builder.build(student)
    values, given = parameters(student, model), request_of(student)

    def weights(name: str, *shape: int) -> np.ndarray:
        assert values[name].shape == shape
        return values[name]

    graph = encoder_model(student, weights)
    assert graph is not None
    onnx.checker.check_model(graph, full_check=True)
    (answer,) = opened(written(graph, tmp_path), "onnxruntime", 1)(given).values()
    with torch.no_grad():
        theirs = builder.serve(model, student, *map(torch.tensor, given.values())).numpy()
    np.testing.assert_allclose(answer, theirs, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("student", [STUDENTS[0], STUDENTS[4]], ids=lambda one: one.family)
def test_a_written_encoder_is_what_the_exporter_writes_and_runs_the_same_kernels(
    student: Architecture, tmp_path: Path
) -> None:
    shallow = Architecture(student.family, {**student.values, "layers": 1})
    theirs = files.export_model(shallow, tmp_path / "exported.onnx")
    ours = written(encoder_model(shallow), tmp_path)
    nodes = [Counter(node.op_type for node in onnx.load(file).graph.node) for file in (ours, theirs)]
    assert nodes[0] == nodes[1]
    ran = [kernels(file, "onnxruntime", request_of(student)).counts for file in (ours, theirs)]
    assert ran[0] == ran[1]
    assert ran[0]["SkipLayerNormalization"] >= 2
    chosen = [openvino_kinds(file) for file in (ours, theirs)]
    for kind in ("FullyConnected", "MatMul", "MVN", "Softmax"):
        assert chosen[0][kind] == chosen[1][kind] > 0


@pytest.mark.parametrize(
    "other", [Architecture("bert", SIZES | {"activation": "mish"}), Architecture("bert", SIZES | {"pool": "max"})]
)
def test_what_has_no_text_is_left_to_the_exporter(
    other: Architecture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert encoder_model(other) is None
    assert encoder_model(Architecture("llama", {"head": "causal"})) is None
    asked: list[Architecture] = []

    def export(one: Architecture, file: Path) -> Path:
        asked.append(one)
        return file

    monkeypatch.setattr(files, "export_model", export)
    with files.exported(other):
        assert asked == [other]
    with files.exported(STUDENTS[0]) as file:
        assert asked == [other]
        assert {"input_ids", "attention_mask"} == {value.name for value in onnx.load(file).graph.input}


def test_fresh_parameters_are_neither_one_or_nought_throughout_nor_alike() -> None:
    assert not np.array_equal(fresh("query.weight", 8, 8), fresh("key.weight", 8, 8))
    for name, middle in (("a.LayerNorm.weight", 1), ("lm_head.layer_norm.weight", 1), ("a.LayerNorm.bias", 0)):
        values = fresh(name, 64)
        assert values.dtype == np.float32
        assert values.std() > 0
        assert abs(values.mean() - middle) < 0.1
