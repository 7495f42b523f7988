"""What can be told of an export before anything is loaded: its names, its packages, and the folder it goes to.

Nothing here loads torch or a runtime.
"""

import math
from collections.abc import Sequence
from pathlib import Path

from distilsearch.artefacts.libraries import version_of
from distilsearch.errors import InputError
from distilsearch.places import EXPORT, check_apart, own_folder

from ..teachers.named import QUICKSTART, check_names
from .artefact import layout, named

Way = tuple[str, str]  # a runtime and a precision

MOST_LOST = 0.05  # what int8 may add to the loss: 1 - agreement with its own checkpoint, or nats of words
PACKAGES = {"onnxruntime": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("onnx", "onnxscript", "openvino")}
INT8 = {"onnxruntime": (), "openvino": ("nncf",)}
CALIBRATED: Way = ("openvino", "int8")  # that there is none of without text


def check_ways(ways: Sequence[Way], text: bool) -> None:
    """Refuse runtimes and precisions that nobody knows, packages that are missing, and int8 without what it needs.

    Args:
        text: whether text was given that scales of int8 can be measured on.
    """
    for runtime, dtype in ways:
        layout(runtime, dtype)
        for package in (*PACKAGES[runtime], *(INT8[runtime] if dtype == "int8" else ())):
            version_of(package)
        if (runtime, dtype) == CALIBRATED and not text:
            raise InputError(
                "int8 of openvino is calibrated on text: name some that is like what will be read (--text)"
            )


def check_export(
    model: str, out: Path | str, ways: Sequence[Way], text: Sequence[str], most_lost: float = MOST_LOST
) -> Path:
    """The absolute path of a folder that a model may be exported into; an `InputError` says what is wrong."""
    if not 0 < most_lost < math.inf:
        raise InputError(f"what int8 may add to the loss is a number above 0, such as {MOST_LOST}; got {most_lost}")
    check_ways(ways, bool(text))
    check_names([model], text)
    if model != QUICKSTART and Path(model).expanduser().is_dir():
        check_apart(Path(out).expanduser(), Path(model), "the model")
    return own_folder(out, EXPORT)


def ways_of(runtimes: Sequence[str], dtypes: Sequence[str]) -> tuple[Way, ...]:
    """Every runtime in every precision, each once, in order.

    >>> ways_of(["onnxruntime"], ["float32", "int8"])
    (('onnxruntime', 'float32'), ('onnxruntime', 'int8'))
    """
    return tuple(dict.fromkeys((runtime, dtype) for runtime in runtimes for dtype in dtypes))


def in_words(way: Way) -> str:
    """A way by one name."""
    return named(*way)
