"""Exported files by TensorRT, through onnxruntime's provider of that name.

It builds an engine of each file when that is opened, and leaves to CUDA what it does not know, as where it serves.
int8 as it is made for onnxruntime says nothing to it, so there is float32 alone; of that it may cut products to TF32.
"""

from importlib import metadata

from distilsearch.artefacts.libraries import version_of

from ..device import Facts
from .exported import check_exporter
from .onnxruntime import PROVIDERS, OnnxRuntime

PROVIDER = "TensorrtExecutionProvider"
PACKAGES = ("tensorrt", "tensorrt-cu13", "tensorrt-cu12")  # that may bring it, beside the system's own


class TensorRt(OnnxRuntime):
    """Sessions whose graphs are engines of TensorRT."""

    devices = ("cuda",)
    dtypes = ("float32",)
    prepare_seconds = 10.0
    advice = (
        "serve with runtime onnxruntime, or install `pip install onnxruntime-gpu tensorrt` in place of onnxruntime, in"
        " versions that fit each other"
    )

    def facts(self) -> Facts:
        """Versions of onnxruntime and of TensorRT, as far as packages say it."""
        check_exporter()
        return {"onnxruntime": version_of("onnxruntime"), "provider": PROVIDER, "tensorrt": _version()}

    def providers(self, device: str) -> dict[str, dict[str, str]]:
        """TensorRT, then CUDA for what it leaves; no engine of another session is read."""
        return {PROVIDER: {"trt_engine_cache_enable": "0", "trt_fp16_enable": "0"}, PROVIDERS[device]: {}}


def _version() -> str:
    for package in PACKAGES:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return "the system's own"
