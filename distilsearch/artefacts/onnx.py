"""Torch modules as ONNX files, and such files in int8.

Weights lie in the file itself, or beside it in `<name>.data` where they are too many for one protobuf; what copies or
hashes a file asks `parts_of`. Weights become int8 per output channel and symmetric. Without samples activations are
scaled as they come (dynamic); with samples their scales are measured once and written into the file (static).
"""

import importlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from distilsearch.errors import InputError

from .dynamic import int8_of
from .files import artefact_error, moved_into_place
from .libraries import library, quietly, version_of

if TYPE_CHECKING:
    from torch import Tensor, nn

Arrays = Mapping[str, npt.NDArray[Any]]

INSIDE_BYTES = 1 << 30  # of weights; a protobuf holds at most 2 GiB


def to_onnx(
    module: "nn.Module",
    inputs: "Mapping[str, Tensor]",
    file: Path,
    *,
    outputs: Sequence[str],
    dynamic: Mapping[str, Mapping[int, str]] | None = None,
) -> None:
    """Write a module as an ONNX file: `forward` takes `inputs` by name and returns as many tensors as `outputs` names.

    `dynamic` names the axes of inputs that may have any size; axes of one name are always of one size.

    Raises:
        InputError: the packages are missing, or ONNX cannot express the module; the message names the operator.
    """
    import torch

    for package in ("onnx", "onnxscript"):
        version_of(package)
    large = sum(p.numel() * p.element_size() for p in module.parameters()) > INSIDE_BYTES
    with moved_into_place(file) as made, quietly(), torch.no_grad():
        try:
            program = torch.onnx.export(
                module, (), kwargs=dict(inputs), dynamo=True, verbose=False, input_names=list(inputs),
                output_names=list(outputs), dynamic_shapes=_shapes(inputs, dynamic or {}),
            )  # fmt: skip
            assert program is not None  # only the older exporter returns nothing
            _clear_names(program.model.graph, {*inputs, *outputs})
            _clear_origins(program.model)
            program.save(made, external_data=large)
        except torch.onnx.errors.OnnxExporterError as error:
            raise artefact_error(file, "ONNX cannot express this model", _deepest(error)) from error


def _shapes(inputs: "Mapping[str, Tensor]", dynamic: Mapping[str, Mapping[int, str]]) -> dict[str, dict[int, str]]:
    """The dynamic axes of each input as torch wants them; how long they may be is seen from the module."""
    if strange := set(dynamic) - set(inputs):
        raise InputError(f"dynamic axes are named of {', '.join(sorted(strange))}, and the inputs are {list(inputs)}")
    return {name: dict(dynamic.get(name, {})) for name in inputs}


def _clear_names(graph: Any, taken: set[str]) -> None:
    """Rename what bears the name of an input or output within the graph: the exporter names values after operators."""
    ends = {id(value) for value in (*graph.inputs, *graph.outputs)}
    for value in (*graph.initializers.values(), *(value for node in graph for value in node.outputs)):
        if value.name in taken and id(value) not in ends:
            value.name = f"{value.name}_inside"


def _clear_origins(model: Any) -> None:
    """Forget where values and operators came from: the exporter notes stack traces, with this machine's folders."""
    for graph in model.graphs():
        for node in graph:
            for noted in (node, *node.outputs):
                noted.metadata_props.clear()
        for value in (*graph.inputs, *graph.initializers.values()):
            value.metadata_props.clear()


def _deepest(error: BaseException) -> BaseException:
    """Where an error began: the exporter wraps the operator's own message in advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def quantised(file: Path, to: Path, *, samples: Iterable[Arrays] | None = None) -> None:
    """Write an ONNX file with its products in int8: dynamic without samples, static with.

    `samples` are inputs by name, of which at least one is needed; each is run once through the float model.

    Raises:
        InputError: the packages are missing, the file is damaged, or there is nothing to learn scales from.
    """
    quantisation = library("onnxruntime.quantization")
    for package in ("onnx", "onnxruntime"):
        version_of(package)
    signed = quantisation.QuantType.QInt8
    with moved_into_place(to) as made, quietly():
        try:
            if samples is None and (model := _dynamic(file)) is not None:
                made.write_bytes(model.SerializeToString())
            elif samples is None:
                quantisation.quantize_dynamic(file, made, per_channel=True, weight_type=signed)
            else:
                reader = _reader(samples)
                quantisation.quantize_static(
                    file, made, reader, per_channel=True, weight_type=signed, op_types_to_quantize=["MatMul", "Gemm"]
                )
        except _damage() as error:
            raise artefact_error(file, "this is no ONNX file, or a damaged one", error) from error


def _dynamic(file: Path) -> Any | None:
    """The model of a file in dynamic int8; None where that is the library's to make."""
    return int8_of(library("onnx").load(file)) if len(parts_of(file)) == 1 else None


def _damage() -> tuple[type[Exception], ...]:
    """What is raised for bytes that are no ONNX."""
    return library("onnx").checker.ValidationError, importlib.import_module("google.protobuf.message").DecodeError


def _reader(samples: Iterable[Arrays]) -> Any:
    """Samples as the quantiser reads them; `InputError` where there is none."""
    listed = [dict(sample) for sample in samples]
    if not listed:
        raise InputError("scales of int8 are measured on samples, and there are none: give at least one input")

    class Reader(library("onnxruntime.quantization").CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = iter(listed)

        def get_next(self) -> dict[str, npt.NDArray[np.generic]] | None:
            return next(self.left, None)

    return Reader()


def parts_of(file: Path) -> list[Path]:
    """The files that an ONNX file consists of: itself, and its weights where they lie beside it."""
    data = file.with_name(file.name + ".data")
    return [file, data] if data.exists() else [file]
