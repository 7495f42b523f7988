"""Exported files by onnxruntime; int8 is dynamic and per channel, as the served files are.

A pool of threads goes on spinning after a request, and would take the cores from whatever is timed next: here it stops
with the request. A graphics card is used through the provider of its name, where the installed onnxruntime has it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distilsearch.artefacts.files import artefact_error
from distilsearch.artefacts.libraries import library, version_of
from distilsearch.artefacts.onnx import quantised
from distilsearch.artefacts.running import onnx_errors, session_options
from distilsearch.errors import DeviceError
from distilsearch.operators import Serving

from ..device import Facts
from .exported import Call, ExportedRuntime, check_exporter
from .graphs import Array
from .runtime import Host

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxRuntime(ExportedRuntime):
    """Sessions of one request at a time."""

    devices = tuple(PROVIDERS)

    def facts(self) -> Facts:
        """Its version, and how int8 is made."""
        check_exporter()
        return {"onnxruntime": version_of("onnxruntime"), "int8": "dynamic per channel", "spinning": "in requests"}

    def quantised(self, file: Path, inputs: Mapping[str, Array]) -> Path:
        """Weights in int8; activations are scaled as they come."""
        small = file.with_name("int8.onnx")
        quantised(file, small)
        return small

    def loop(self, file: Path, inputs: Mapping[str, Array], host: Host, serving: Serving) -> Call:
        """Inputs and outputs bound where they are."""
        session, values = self._session(file, host, serving), library("onnxruntime").OrtValue
        binding = session.io_binding()
        for name, array in inputs.items():
            binding.bind_ortvalue_input(name, values.ortvalue_from_numpy(array, host.name))
        for output in session.get_outputs():
            binding.bind_output(output.name, host.name)

        def call() -> None:
            session.run_with_iobinding(binding)
            binding.synchronize_outputs()

        return call

    def request(self, file: Path, inputs: Mapping[str, Array], host: Host, serving: Serving) -> Call:
        """Arrays in, arrays out."""
        session = self._session(file, host, serving)
        return lambda: session.run(None, inputs)

    def _session(self, file: Path, host: Host, serving: Serving) -> Any:
        onnxruntime, provider = library("onnxruntime"), PROVIDERS[host.name]
        if provider not in onnxruntime.get_available_providers():
            there = ", ".join(onnxruntime.get_available_providers())
            raise DeviceError(
                f"the installed onnxruntime has no {provider} (it has {there}): serve on the cpu, or install the build"
                " of onnxruntime for this device, such as `pip install onnxruntime-gpu` in place of onnxruntime"
            )
        try:
            return onnxruntime.InferenceSession(file, session_options(serving.resolved_threads), providers=[provider])
        except onnx_errors() as error:
            raise artefact_error(file, "onnxruntime cannot run this", error) from error
