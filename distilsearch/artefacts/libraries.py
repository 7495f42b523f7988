"""The optional libraries behind the files: loaded when first used, named with what installs them, and kept quiet.

All of them report their use over the network unless told otherwise, from their import on. OpenVINO and NNCF do without
where the package `openvino_telemetry` is missing, so here they are imported as if it were. onnxruntime looks once, when
it is loaded, at a switch; without it, it also leaves a number for this machine in the user's cache folder.
"""

import contextlib
import importlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from distilsearch.errors import InputError

TELEMETRY = "openvino_telemetry"
SWITCH = "ORT_DISABLE_TELEMETRY"
EXTRAS = {"onnx": "onnx", "onnxruntime": "onnx", "onnxscript": "onnx", "openvino": "openvino", "nncf": "openvino"}
"""The packages, and the extra of ours that brings each."""
BUILDS = {"onnxruntime": ("onnxruntime", "onnxruntime-gpu")}
"""Packages that bring a module, where that is more than the one of its name."""
HARMLESS = (  # what the exporter and the quantisers say of themselves and of torch, whatever is exported
    (r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning),
    (r"# The axis name: .* will not be used, since it shares", UserWarning),
)
NOISY_LOGGERS = ("torch.onnx", "nncf", "root")


def library(name: str) -> Any:
    """A package or a module of one; `InputError` says what to install where it is missing."""
    version_of(name.partition(".")[0])
    before = logging.getLoggerClass()
    with without_telemetry(), quietly():
        try:
            return importlib.import_module(name)
        finally:
            logging.setLoggerClass(before)  # nncf makes every logger of the process its own


def version_of(package: str) -> str:
    """The installed version, without loading the package; `InputError` says what to install where there is none."""
    for build in BUILDS.get(package, (package,)):
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version(build)
    raise InputError(f"{package} is not installed, and this needs it: pip install 'distilsearch[{EXTRAS[package]}]'")


@contextlib.contextmanager
def without_telemetry() -> Iterator[None]:
    """Within it, what is imported reports nothing to anybody, then or later; what is loaded already keeps silent."""
    with _switched_off(), _missing(TELEMETRY):
        yield


@contextlib.contextmanager
def _switched_off() -> Iterator[None]:
    """Within it, onnxruntime's switch is set."""
    before = os.environ.get(SWITCH)
    os.environ[SWITCH] = "1"
    try:
        yield
    finally:
        os.environ.pop(SWITCH, None)
        os.environ.update({SWITCH: before} if before is not None else {})


@contextlib.contextmanager
def _missing(package: str) -> Iterator[None]:
    """Within it, a package cannot be imported; where somebody else has, it is without its voice."""
    if (loaded := sys.modules.get(package)) is not None:
        with _withdrawn(loaded.Telemetry):
            yield
        return
    sys.modules[package] = None  # type: ignore[assignment]  # the import system's own sign for "there is none"
    try:
        yield
    finally:
        del sys.modules[package]


@contextlib.contextmanager
def _withdrawn(telemetry: Any) -> Iterator[None]:
    """Somebody else's import has opened it: within, no consent is given, and nothing is sent."""
    before = telemetry.send_event, telemetry.start_session, telemetry.end_session

    def silent(*_: Any, **__: Any) -> None:
        return None

    telemetry.send_event = telemetry.start_session = telemetry.end_session = silent
    try:
        yield
    finally:
        telemetry.send_event, telemetry.start_session, telemetry.end_session = before


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Within it, the exporter's and the quantisers' advice about themselves reaches neither warnings nor the log."""
    loggers = [logging.getLogger(None if name == "root" else name) for name in NOISY_LOGGERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for message, category in HARMLESS:
            warnings.filterwarnings("ignore", message, category)
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
