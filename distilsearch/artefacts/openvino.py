"""ONNX files as OpenVINO's (`.xml`, its weights in `.bin` beside it), and those in int8 by NNCF.

Nothing here reports anything to anybody: see `libraries`. int8 is static: activations have scales of their own, learnt
from samples; weights are int8 per output channel.
"""

import contextlib
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from distilsearch.errors import InputError

from .files import artefact_error, moved_into_place
from .libraries import library, quietly, without_telemetry
from .onnx import Arrays


def to_openvino(source: Path, file: Path) -> None:
    """Write an ONNX file as OpenVINO's `file` (.xml) and its weights, in the precision that they have.

    Raises:
        InputError: the package is missing, the source is damaged, or OpenVINO cannot express it.
    """
    openvino = library("openvino")
    model = read(source)
    with moved_into_place(_named(file)) as made:
        openvino.save_model(model, made, compress_to_fp16=False)


def quantised(file: Path, to: Path, *, samples: Iterable[Arrays], corrected: bool = True) -> None:
    """Write an OpenVINO model with its products in int8, scales learnt from `samples` (inputs by name, at least one).

    `corrected`: whether biases make up for what rounding shifts; that costs most of the time and changes no operator.

    Raises:
        InputError: a package is missing, the file is damaged, or there is nothing to learn scales from.
    """
    listed = [dict(sample) for sample in samples]
    if not listed:
        raise InputError("scales of int8 are measured on samples, and there are none: give at least one input")
    openvino, nncf = library("openvino"), library("nncf")
    model = read(file)
    with without_telemetry(), quietly(), contextlib.redirect_stdout(io.StringIO()):  # it draws bars there
        small = nncf.quantize(
            model,
            nncf.Dataset(listed),
            subset_size=len(listed),
            model_type=nncf.ModelType.TRANSFORMER,
            advanced_parameters=nncf.AdvancedQuantizationParameters(disable_bias_correction=not corrected),
        )
    with moved_into_place(_named(to)) as made:
        openvino.save_model(small, made, compress_to_fp16=False)


def read(file: Path) -> Any:
    """OpenVINO's model of an ONNX file or one of its own; `InputError` where it is damaged or foreign."""
    openvino = library("openvino")
    try:
        return openvino.Core().read_model(file)
    except RuntimeError as error:
        raise artefact_error(file, "OpenVINO cannot read this file", error) from error


def parts_of(file: Path) -> list[Path]:
    """The files that an OpenVINO model consists of."""
    return [file, file.with_suffix(".bin")]


def _named(file: Path) -> Path:
    if file.suffix != ".xml":
        raise InputError(f"an OpenVINO model is named *.xml, its weights *.bin beside it; got {file.name}")
    return file
